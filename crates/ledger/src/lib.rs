//! The ledger: the durable record of what every run was going to do and what became of it.
//!
//! A state directory holds one [`Ledger`]: the database `ledger.db` (SQLite), a `reserve` that is given back when the
//! disk is full, and for each run a directory `runs/<uuid>/` with its `lock` and, under `out/`, the [output] of
//! its hosts.
//!
//! What goes in: a [`RunSpec`] and a roll, committed together before anything is dispatched; then [`Entry`]s, one for
//! everything that happens. What comes out: events in the order of their numbers, and the answers that are derived from
//! them: the [account](Ledger::account), the [`Audit`], what happened so far, [replayed](Ledger::replay) for a resume.
//!
//! The ledger is a *stage*, not a subscriber. Callers hand batches of entries to the one thread that writes a run; it
//! numbers them, writes them and what follows from them in one transaction, together with whatever else is queued, and
//! only after its commit answers the callers and publishes the events. So nothing is shown, and nothing remote is
//! started, that is not on disk.
//!
//! A run has one owner: it holds the run's lock, and an *epoch* that each transaction checks. Who takes a run over
//! raises the epoch, and a former owner that still lives is refused from then on.
//!
//! ```
//! use reveille_account::{Class, EventKind, Outcome, RunState};
//! use reveille_ledger::{Ledger, RollEntry, RunKind, RunSpec};
//!
//! # let directory = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let ledger = Ledger::open(directory.path())?;
//! let roll = [RollEntry::new("web1"), RollEntry::new("web2")];
//! let handle = ledger.create_run(&RunSpec::new(RunKind::Exec, "uptime"), &roll)?;
//! let host = &roll[0].host;
//! handle.record_host(host, EventKind::Dispatched).await?;
//! let outcome = Box::new(Outcome::new(Class::Ok, ""));
//! handle.record_host(host, EventKind::OutcomeReached { outcome }).await?;
//!
//! let account = ledger.account(handle.run())?;
//! assert_eq!(account.to_string(), "2 planned = 1 success + 1 pending");
//! handle.set_state(RunState::Closed, None).await?;
//! assert_eq!(ledger.audit(handle.run())?.forgotten, ["web2".into()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod audit;
mod disk;
mod error;
pub mod export;
mod find;
mod handle;
mod ledger;
#[cfg(feature = "memory")]
pub mod memory;
pub mod output;
mod project;
mod prune;
mod read;
mod replay;
mod schema;
mod spec;
mod writer;

pub use audit::{Audit, Selector, UnknownSelector};
pub use disk::{LedgerState, RESERVE_BYTES};
pub use error::{Error, Result};
pub use handle::{Entry, Follow, RunHandle, Ticket};
pub use ledger::Ledger;
pub use read::{Events, HostOutcome};
pub use replay::{Kept, Replayed, RoundHost, StepResult};
pub use spec::{RollEntry, RunKind, RunRecord, RunSpec};
pub use writer::{BUSY_INTERVAL, COMMIT_INTERVAL, QUEUE_BATCHES};

#[cfg(test)]
mod tests;
