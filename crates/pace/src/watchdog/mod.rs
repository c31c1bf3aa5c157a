//! The watchdog's judgement: how long to wait, and what to do when the wait is over.
//!
//! Nothing here looks at a clock, a host or a disk. The engine tells what it sees and when; the same calls give the same
//! answers, so a whole night of deadlines can be replayed (`cargo xtask bench watchdog`).
//!
//! ```text
//!            SilenceRule ─┐
//! History ──► TotalRule ──┴─► Choice ─► Watch ── a deadline nears ──► look ─► LookRule ─► Decision
//!    ▲                                   ▲  ▲                                   ▲
//!    └────── resolved durations ─────────┘  └── Stalls (the controller slept)   └── Cohort (many at once)
//! ```
//!
//! - [`Classes`] keeps the [`History`] of each class: durations of runs that ended by themselves, longest silences.
//! - [`SilenceRule`] and [`TotalRule`] turn that into deadlines. Each comes as a [`Choice`], which says why.
//! - [`Watch`] is one attempt: its deadlines, its progress, when to look next.
//! - [`LookRule`] decides after a look: [`Evidence`] in, [`Decision`] out.
//! - [`Cohort`] sees that many overrun together; [`Stalls`] that the controller itself was late.

mod choice;
mod classes;
mod cohort;
mod history;
mod look;
mod silence;
mod stalls;
mod total;
mod watch;
mod window;

pub use choice::{Choice, Reason};
pub use classes::Classes;
pub use cohort::{Cohort, CohortRule, Ending, Extensions, Together};
pub use history::History;
pub use look::{
    Case, Decision, Evidence, Extension, Holder, KillReason, LookRule, Looks, OnStuck, SetBy, Terms,
};
pub use silence::SilenceRule;
pub use stalls::Stalls;
pub use total::TotalRule;
pub use watch::{Limit, Watch};
