//! The engine of a run: every host that is dispatched ends with exactly one outcome.
//!
//! In go a run that the ledger holds (its roll is on disk), a job, and a [`HostPlan`] for each host that has no outcome
//! yet; out comes how the run ended, everything else being in the ledger. A dispatcher admits hosts as sessions allow; a
//! task a host takes it through its life:
//!
//! ```text
//!             ┌───────────────── wait, jitter ◄───────────────┐
//!             ▼                                               │ a try failed and another may help
//!  queued ─► connecting ──► authenticated ──► step k, attempt m ──► … ──► outcome
//!             │     ▲                          │        │
//!             │     └── the connection broke ──┘        └─► the attempt failed: again, or give up
//!             └─► tries used up, or a class that trying does not change ──────────► outcome
//! ```
//!
//! A host task consumes itself on the way to its outcome. One that panics is caught by its supervisor, which records an
//! outcome of class `internal` in its stead. One that is stopped in the middle leaves none: the host stays *running*
//! in the account, and a resumed run finds it by its intent.
//!
//! The order of commits is: the intent of a step before its command is sent; its end together with the intent of the
//! next; the outcome; and only then is what the host kept of the work removed.

mod ask;
mod attempt;
mod begun;
mod clean;
mod connect;
mod copy;
mod elsewhere;
mod engine;
mod failed;
mod failpoint;
mod gatekeeper;
mod heal;
mod host;
mod look;
mod once;
mod output;
mod plan;
mod reboot;
mod step;
mod stop;
mod trial;
mod watchdog;
mod work;

pub use clean::{CleanPlan, Cleaned, clean};
pub use engine::{RunEnd, run};
pub use heal::place;
pub use plan::{HostPlan, Route, RunPlan, Settings, VarsOf};
pub use stop::{Stop, Stopped, Stopper, stopper};

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
