//! What is known of a run and of each of its hosts, and the one decision what comes next.
//!
//! Everything that a later decision needs is an event. A [`HostHistory`] is the fold of a host's events, a
//! [`RunHistory`] that of the run's; [`decide`] says what a host does next, [`direct`] what the dispatcher does. All of
//! it is pure: no clock, no chance, no input or output. So a controller that goes on with the work of a dead one decides
//! as that would have done, because it decides from the same.
//!
//! ```text
//!  committed events ─ fold ─► HostHistory, RunView ┐
//!  this process alone ──────► Held ────────────────┴► decide ─► Next ─► performed by the engine ─► events
//! ```
//!
//! The rule that everything hangs on: a step may start on a machine in a round if of all earlier attempts of this host on
//! that machine none is open, and those of the same step and round are settled, or the step is idempotent. [`may_start`]
//! alone makes a [`Permit`], and only with one does the engine record an intent.
//!
//! ```
//! use reveille_account::{EventKind, MachineRef, StepRef};
//! use reveille_history::{Held, HostHistory, Next, Outline, RunView, StepOutline, decide, JobOutline};
//!
//! let job = JobOutline::of(vec![StepOutline::default()]);
//! let outline = Outline::new(&job);
//! let mut history = HostHistory::new(1);
//! history.apply(1, &EventKind::Dispatched).unwrap();
//! let held = Held::default();
//! assert_eq!(decide(&history, &held, &RunView::default(), &outline), Next::Prepare(0));
//! ```

mod attempt;
mod decide;
mod gatekeeper;
mod host;
mod outline;
mod rule;
mod run;

pub use attempt::{Attempt, Forbidden, Intent, Kind, Permit, State, absence, may_start};
pub use decide::{End, Failure, For, Held, Next, RunView, SkipReason, decide, once_of};
pub use gatekeeper::{Case, Ruling};
pub use host::{HostHistory, Trouble, Unfit};
pub use outline::{JobOutline, Outline, Role, StepOutline};
pub use rule::Rule;
#[cfg(feature = "mutants")]
pub use rule::switch_off;
pub use run::{Batch, HostState, OnceState, Order, RunHistory, RunOutline, direct};
