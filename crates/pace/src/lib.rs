//! Pace: when something may happen, and how much of it at once.
//!
//! Nothing here knows what is paced. The engine asks before it connects, tries again or gives up:
//!
//! - how many at once: a [`Gate`] whose limit can change while it is in use, and [`Handshakes`], which slows down for
//!   endpoints that push back;
//! - how many the machine can bear: [`admission`], from memory and pressure;
//! - how long to wait: [`Backoff`] with full jitter, seeded;
//! - how often: a [`RetryBudget`] for the fleet, and a [`Breaker`] for each group;
//! - how long to bear silence: the [`watchdog`], which chooses and judges [`Deadline`]s;
//! - how many may fail, and how many go first: [`Portion`] and [`batches`];
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
