//! The engine of a run: every host that is dispatched ends with exactly one outcome.
//!
//! The main types: [`RunRecipe`], what a run needs, with `record` and `restore`; [`RunPlan`] and [`HostPlan`], what the
//! engine is given; [`Recalled`], what earlier controllers left on record; [`RunEnd`], how the run ended. Everything
//! else is in the ledger. The engine decides nothing: it performs what `reveille_history` decides.
//!
//! ```text
//!  queued ─► turn ─► dispatched ─► decide ─► perform ─► events ─► decide ─► … ─► outcome
//! ```
//!
//! A host through the crate:
//!
//! 1. `recipe.rs` records the run and its roll, or restores them; `recall.rs` folds what is on record.
//! 2. `dispatch.rs`, the run's task, queues the host until it has a slot (`engine.rs`), a turn to try the password
//!    (`trial.rs`) and a turn to shake hands. Then it records the dispatch and starts the host's task.
//! 3. `host.rs` is that task: it decides, performs, and records, until there is an outcome. A host connects
//!    (`connect.rs`, `machine.rs`), prepares a step (`prepare.rs`, `secrets.rs`, `ask.rs`) and starts it or attaches to
//!    it (`start.rs`).
//! 4. An attempt runs in `durable.rs` (followed on the host) or `plain.rs` (commands, copies in `copy.rs`, waits);
//!    `work.rs` makes what is sent, `output.rs` records and judges what comes back.
//! 5. `watched.rs` keeps the attempt's deadlines; when one nears, `look.rs` looks at the host, `watchdog.rs` asks the
//!    rules of `reveille_pace`, and `way.rs` kills if they say so, over a second connection if need be.
//! 6. `settle.rs` and `ended.rs` make an end, a loss or a verdict of it. If the host failed, `heal.rs` takes the rung
//!    that the gatekeeper allows (`reboot.rs` among them), and `finish.rs` words the outcome.
//!
//! If a task panics, its supervisor records the outcome `internal`. A task that is stopped (`stop.rs`) records none:
//! the host stays *running* in the account, and a resumed run finds it by its history.
//!
//! What the engine takes from its machine besides network and ledger is [`World`], which a simulation replaces.
//!
//! ```
//! # use std::sync::Arc;
//! # use reveille_account::TransportKind;
//! # use reveille_fleet::{Recalled, RunEnd, RunHost, RunOptions, RunRecipe, Unrecorded, stopper};
//! # use reveille_job::Job;
//! # use reveille_ledger::{Ledger, RunKind};
//! # use reveille_way::{Nobody, Passwords, Way};
//! # let directory = tempfile::tempdir()?;
//! let way = Way { transport: TransportKind::Local, ..Way::default() };
//! let hosts = [RunHost { name: "here".into(), way, vars: serde_json::Map::new(), unrecorded: Vec::new() }];
//! let job = Job::command("true".into(), Default::default());
//! let (kind, options) = (RunKind::Exec, RunOptions::default());
//! let recipe = RunRecipe { kind, job, options, groups: Vec::new(), seed: 1, comment: None };
//!
//! let ledger = Ledger::open(directory.path())?;
//! let prepared = recipe.prepare(&hosts, &Passwords::default(), directory.path(), &Nobody)?;
//! let handle = recipe.record(&ledger, &hosts, "me".into(), "here".into())?;
//! let id = handle.run();
//! let recalled = Recalled::beginning(&hosts);
//! let hosts = hosts.map(|host| (host, None)).into();
//! let (plan, client) = recipe.plan(id, prepared, hosts, recalled, false, Unrecorded::default());
//! let (_stopper, stopped) = stopper();
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let end = runtime.block_on(reveille_fleet::run(handle, Arc::new(client), plan, stopped))?;
//! assert_eq!(end, RunEnd::Closed);
//! assert_eq!(ledger.account(id)?.to_string(), "1 planned = 1 succeeded");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allowance;
mod ask;
mod clean;
mod connect;
mod copy;
mod diff;
mod dispatch;
mod durable;
mod ended;
mod engine;
mod event;
mod failpoint;
mod finish;
mod heal;
mod host;
mod limits;
mod look;
mod machine;
mod message;
mod options;
mod originals;
mod output;
mod plain;
mod plan;
mod prepare;
mod prepared;
mod reboot;
mod recall;
mod recipe;
mod secrets;
mod settle;
mod start;
mod stop;
mod trial;
mod wait;
mod watchdog;
mod watched;
mod way;
mod work;
mod world;

pub use allowance::{Allowance, ClassAllowance, Judged};
pub use clean::{CleanPlan, Cleaned, clean};
pub use diff::{Preview, UNCHANGED};
pub use dispatch::{RunEnd, run};
pub use limits::{Fit, raise_descriptors, sessions};
pub use options::{Hurry, RunOptions, SESSIONS, Typed};
pub use plan::{HostPlan, RunPlan, Settings, VarsOf};
pub use recall::{Before, Recalled, RollHost, Settled, recall};
pub use recipe::{Prepared, RecipeError, RunHost, RunRecipe, Unrecorded, sha256};
pub use secrets::secrets;
pub use stop::{Stop, Stopped, Stopper, stopper};
pub use world::{Hear, OnRecord, Replacement, Replacing, World};

/// An error that ends the whole run, not just a host.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The ledger can't be written.
    #[error(transparent)]
    Ledger(#[from] reveille_ledger::Error),
    /// A host reports that another controller has taken over.
    #[error("another controller (epoch {0}) has taken over this run; this one stops")]
    Fenced(u64),
}
