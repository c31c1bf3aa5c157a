//! Pace: when something may happen, and how much of it at once.
//!
//! Nothing here knows what is paced. The engine asks before it connects, tries again or gives up:
//!
//! | question | answered by | file |
//! |---|---|---|
//! | how many at once | [`Gate`], whose limit can change while in use; [`Handshakes`], slower for endpoints that push back | `gate.rs`, `handshakes.rs` |
//! | how many handshakes the CPU bears | [`Governor`] | `governor.rs` |
//! | how many sessions the memory bears | [`admission`] | `admission/control.rs` |
//! | how long to wait | [`Backoff`], seeded, with full jitter | `backoff.rs` |
//! | how many retries, for all hosts together | [`RetryBudget`] | `budget.rs` |
//! | whether a whole group fails alike | [`Breaker`] | `breaker.rs` |
//! | how long to bear silence | [`watchdog`], which chooses [`Deadline`]s and judges looks | `watchdog/mod.rs` |
//! | how many may fail, how many go first | [`Portion`], [`batches`] | `portion.rs` |
//!
//! A host meets them in this order: batch, slot, turn to shake hands, right to a session, back-off after a failed try,
//! budget and breaker before a recovery, and the watchdog while a step runs. The breaker holds a group of which many
//! fail alike:
//!
//! ```text
//! closed ── enough hosts fail alike ──► open ── hold over ──► probing ── the probe ends ──► closed
//!                                        ▲                       │
//!                                        └──── it fails alike ───┘
//! ```
//!
//! Time comes from tokio's clock or from the caller, so that tests can stop it.
//!
//! ```
//! use std::time::Duration;
//! use reveille_pace::{Backoff, Portion, batches};
//!
//! let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 42);
//! assert!(backoff.wait() <= Duration::from_millis(500));
//! assert!(backoff.wait() <= Duration::from_secs(1));
//!
//! let serial: Vec<Portion> = ["1", "5%", "25%"].map(|text| text.parse().unwrap()).into();
//! assert_eq!(batches(&serial, 100).collect::<Vec<_>>(), [1, 5, 25, 25, 25, 19]);
//! ```

pub mod admission;
mod backoff;
mod breaker;
mod budget;
mod deadline;
mod gate;
mod governor;
mod handshakes;
mod portion;
pub mod watchdog;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerRule, Opened, Pass};
pub use budget::RetryBudget;
pub use deadline::Deadline;
pub use gate::{Gate, Permit};
pub use governor::Governor;
pub use handshakes::{HandshakePermit, Handshakes};
pub use portion::{Portion, PortionError, batches};
