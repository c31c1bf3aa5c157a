//! Admission: how many sessions this machine can sustain.
//!
//! ```text
//! /proc, /sys/fs/cgroup ──► Sources ──► Readings ──┐
//!                                                  ├──► Admission ──► Step ──► Gate, Governor, an event
//! open sessions, time ──────────────────────────────┘
//! ```
//!
//! A byte budget comes first: sessions, at their measured cost, must fit into what the control group or the machine has
//! left. Pressure only ever *slows*, because others may cause it: it leaves at least [`Thresholds::least`] sessions,
//! and the limit grows again once it is over.
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
pub use parse::Pressure;
pub use sources::{Headroom, Readings, Sources};
