//! Admission: how many sessions this machine can bear at the moment.
//!
//! ```text
//! /proc, /sys/fs/cgroup ──► Sources ──► Readings ──┐
//!                                                  ├──► Admission ──► Step ──► Gate, Governor, an event
//! sessions that are open, the time ────────────────┘
//! ```
//!
//! First a byte budget: sessions times what one was measured to cost must fit into what the control group, or the
//! machine, has left. Then pressure, which only ever *slows*: it may well be made by others, so it never goes below
//! [`Thresholds::least`] sessions, and what it took comes back when it is calm.
//!
//! ```
//! use std::time::Duration;
//! use reveille_pace::admission::{Admission, Pressure, Readings, Thresholds};
//! use tokio::time::Instant;
//!
//! let start = Instant::now();
//! let mut admission = Admission::new(Thresholds::default(), 512, 512);
//! let squeezed = Readings {
//!     memory: Some(Pressure { some: 14.0, full: 0.0 }),
//!     ..Readings::default()
//! };
//! let step = admission.observe(&squeezed, 512, start);
//! assert_eq!(step.sessions, 460);
//! assert_eq!(step.change.unwrap().to_string(), "memory pressure 14 %: 512 → 460 sessions");
//! ```

mod control;
mod parse;
mod sources;

pub use control::{Admission, Cause, Change, Step, Thresholds};
pub use sources::{Headroom, Pressure, Readings, Sources};
