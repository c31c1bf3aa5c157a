//! The watchdog's decisions: how long to wait, and what to do then.
//!
//! Nothing here reads a clock, a host or a disk. The engine reports what it sees and when; the same calls give the same
//! answers, so a whole night of deadlines can be replayed (`cargo xtask bench watchdog`).
//!
//! ```text
//!            SilenceRule ─┐
//! History ──► TotalRule ──┴─► Choice ─► Watch ── a deadline nears ──► look ─► LookRule ─► Decision
//!    ▲                                   ▲  ▲                                   ▲
//!    └────── resolved durations ─────────┘  └── Stalls (the controller slept)   └── Cohort (many at once)
//! ```
//!
//! - [`Classes`] keeps the [`History`] of each class: durations and longest silences of runs that ended by themselves.
//! - [`SilenceRule`] and [`TotalRule`] derive deadlines from it. Each is a [`Choice`], with its reason.
//! - [`Watch`] is one attempt: its deadlines, its progress, and the time of the next check.
//! - [`LookRule`] decides after a check: [`Evidence`] in, [`Decision`] out.
//! - [`Cohort`] detects that many overrun together; [`Stalls`] that the controller itself was late.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use reveille_pace::watchdog::*;
//! use tokio::time::Instant;
//!
//! let start = Instant::now();
//! let class: Arc<str> = "apt-get install/micro".into();
//! let mut classes = Classes::default();
//! classes.seed(&class, [Duration::from_mins(3); 200], [Duration::from_secs(20); 200]);
//! let mut cohort = Cohort::default();
//! let stalls = Stalls::new(Duration::from_millis(250), start);
//!
//! // An attempt begins. Each deadline is recorded with the facts behind it.
//! let silence = classes.choose_silence(&class, 512, false, 0, 1);
//! let total = classes.choose_total(&class, 512, 0, 1);
//! let limit = |choice: &Choice| choice.limit.map(|length| Limit { length, by: SetBy::Auto });
//! let terms = Terms { idempotent: true, ..Terms::default() };
//! let mut watch = Watch::start(limit(&silence), limit(&total), terms, &mut cohort, start, stalls.lost());
//!
//! // It is silent; shortly before the deadline the engine checks it.
//! let rule = LookRule::default();
//! let (when, _) = watch.next(&rule, start, stalls.lost());
//! assert_eq!(when, start + Duration::from_secs(108));
//! let decision = watch.look(&rule, Evidence::Moves, classes.samples(&class), &mut cohort, when, stalls.lost());
//! assert!(matches!(decision, Decision::Extend { why: Extension::Slow, .. }));
//!
//! // It ends by itself, which gives a sample.
//! let now = start + Duration::from_mins(3);
//! let took = watch.end(true, &mut cohort, now, stalls.lost());
//! let silence = watch.longest_silence(now, stalls.lost());
//! classes.resolved(&class, took, silence, watch.total());
//! assert_eq!(classes.samples(&class), 201);
//! ```

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
