//! The ledger: the durable record of what every run was going to do and what became of it.
//!
//! A state directory holds one [`Ledger`]: the database `ledger.db` (SQLite), a `reserve` that is released when the
//! disk is full, and for each run a directory `runs/<uuid>/` with its `lock` and the [output] of its hosts.
//!
//! The main types: [`RunSpec`] and [`RollEntry`], committed before anything is dispatched; [`RunHandle`], with which
//! the owner of a run writes; [`Entry`], one event to record; [`Follow`], which reads events as they are published;
//! [`Audit`].
//!
//! An event through the crate:
//!
//! 1. [`RunHandle::record`] (`handle.rs`) queues a batch of entries for the thread that writes the run (`writer.rs`).
//! 2. The thread checks the owner's epoch, numbers the events, and writes them with the rows that follow from them
//!    (`project.rs`) in one transaction, together with everything else that is queued.
//! 3. After the commit it answers the callers and publishes the events. Nothing is shown or started that is not on
//!    disk.
//! 4. Readers ask for events (`read.rs`), the account (`audit.rs`), what a resumed run must know (`replay.rs`), and
//!    artifacts (`export/mod.rs`).
//!
//! | table (`schema.rs`) | a row for each |
//! |---|---|
//! | `runs`, `epochs` | run; controller that took it over |
//! | `roll`, `dispatches`, `outcomes` | run, round and host; at most one outcome |
//! | `intents`, `results` | run, round, host, step and attempt; attempt 0 is a skipped step |
//! | `events` | event, as JSON, by its number in the run |
//! | `durations` | run time of a class of commands, which the watchdog learns from |
//!
//! A run has one owner, who holds the run's lock and an *epoch*. A controller that takes the run over
//! ([`Ledger::take_over`]) raises the epoch; a former owner that still lives is refused. Row ids never leave the crate.
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
//! assert_eq!(account.to_string(), "2 planned = 1 succeeded + 1 pending");
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
mod sql;
mod writer;

pub use audit::{Audit, Selector, UnknownSelector};
pub use disk::{LedgerState, RESERVE_BYTES};
pub use error::{Error, Result};
pub use find::RunLine;
pub use handle::{Entry, Follow, RunHandle, Ticket};
pub use ledger::Ledger;
pub use read::{Events, HostOutcome};
pub use replay::{Kept, Replayed, RoundHost};
pub use spec::{RollEntry, RunKind, RunRecord, RunSpec};
pub use writer::{BUSY_INTERVAL, COMMIT_INTERVAL, QUEUE_BATCHES};

#[cfg(test)]
mod tests;
