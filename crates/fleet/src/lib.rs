//! The engine of a run: every host that is dispatched ends with exactly one outcome.
//!
//! In go a run that the ledger holds (its roll is on disk), a job, and a [`HostPlan`] for each host that has no outcome
//! yet; out comes how the run ended, everything else being in the ledger. A dispatcher admits hosts as sessions allow; a
//! task a host takes it through its life: what `reveille_history` decides is performed here, and ends in events.
//!
//! ```text
//!  queued ─► turn ─► dispatched ─► decide ─► perform ─► events ─► decide ─► … ─► outcome
//! ```
//!
//! A host task consumes itself on the way to its outcome. One that panics is caught by its supervisor, which records an
//! outcome of class `internal` in its stead. One that is stopped in the middle leaves none: the host stays *running*
//! in the account, and a resumed run finds it by its history.
//!
//! The order of commits is: the intent of a step before its command is sent; its end together with the intent of the
//! next; the outcome; and only then is what the host kept of the work removed.

mod allowance;
mod ask;
mod clean;
mod connect;
mod copy;
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
pub use dispatch::{RunEnd, run};
pub use limits::{Fit, raise_descriptors, sessions};
pub use options::{Hurry, RunOptions, SESSIONS};
pub use plan::{HostPlan, RunPlan, Settings, VarsOf};
pub use recall::{Before, Recalled, RollHost, Settled, recall};
pub use recipe::{Prepared, RecipeError, RunHost, RunRecipe, Unrecorded, sha256};
pub use secrets::secrets;
pub use stop::{Stop, Stopped, Stopper, stopper};
pub use world::{OnRecord, Replacement, Replacing, World};

/// What ends a whole run rather than a host.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The ledger can't be written.
    #[error(transparent)]
    Ledger(#[from] reveille_ledger::Error),
    /// A host says that another controller has taken over.
    #[error("another controller (epoch {0}) has taken over this run; nothing more is done here")]
    Fenced(u64),
}
