//! History: what is known of a run and of each of its hosts, and the one decision what comes next.
//!
//! Everything that a later decision needs is an event. Folding and deciding are pure: no clock, no chance, no input or
//! output. So a controller that resumes the work of a dead one decides as that one would have, because it decides from
//! the same.
//!
//! ```text
//!  committed events ─ fold ─► HostHistory, RunView ┐
//!  this process alone ──────► Held ────────────────┴► decide ─► Next ─► performed by the engine ─► events
//! ```
//!
//! The main types: [`HostHistory`], the fold of a host's events (`host.rs`), and [`RunHistory`], of the run's
//! (`run.rs`); [`Next`], what a host does next; [`Permit`], the right to start a step; [`Rule`], a rule by name, which
//! a simulation can switch off (`rule.rs`).
//!
//! A step through the crate:
//!
//! 1. [`decide`] (`decide.rs`) returns [`Next::Prepare`], then [`Next::Connect`] and [`Next::Start`] with a [`Permit`].
//!    `outline.rs` has what decisions need to know of the job.
//! 2. The engine records the intent; [`HostHistory::apply`] keeps it as an open [`Attempt`] (`attempt.rs`).
//! 3. If connection or controller are lost, [`decide`] returns [`Next::Attach`]. The answer ends the attempt, or
//!    [`absence`] rules what a missing directory means.
//! 4. If the step failed for good, the gatekeeper (`gatekeeper.rs`) rules which rung of recovery is next, if any.
//! 5. [`direct`] does for the dispatcher what [`decide`] does for a host: batches, halts, steps that run once.
//!
//! The rule behind it: a step may start on a machine in a round only if none of this host's earlier attempts on that
//! machine is open, and those of the same step and round are settled, or the step is idempotent. Only [`may_start`]
//! makes a permit.
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
mod permit;
mod rule;
mod run;
mod view;

pub use attempt::{Attempt, Intent, Kind, State, absence};
pub use decide::{End, Failure, For, Held, Next, SkipReason, decide, once_of};
pub use gatekeeper::{Case, Ruling};
pub use host::{HostHistory, Trouble, Unfit};
pub use outline::{JobOutline, Outline, Role, StepOutline};
pub use permit::{Forbidden, Permit, may_start};
pub use rule::Rule;
#[cfg(feature = "mutants")]
pub use rule::switch_off;
pub use run::{Batch, HostState, OnceState, Order, RunHistory, RunOutline, direct};
pub use view::RunView;
