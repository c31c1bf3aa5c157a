//! The simulator: the real engine, from a seed.
//!
//! A [`Scenario`] says what is asked of the engine and everything that happens meanwhile: a job, hosts, faults by their
//! places, reboots, controllers that die at the how many-th seam that they cross. [`play`] takes
//! [`reveille_fleet::run`] through it on one thread, with a clock that is paused: dispatcher, host loop, watchdog,
//! supervisor client and judge are the ones that ship. Below them are two seams: sessions whose bytes stay in memory, with
//! the drill's hosts at their far end, and a ledger that keeps its run in a vector. Equal scenarios give equal traces.
//!
//! What comes out is a [`Report`]: which [`Rule`]s were broken, by what was committed and by what really ran.
//!
//! ```
//! use reveille_simulate::{Scenario, play};
//!
//! let scenario = Scenario::read(
//!     r#"
//! job: |
//!   steps:
//!     - {name: a, run: "perform a@{{ inventory_hostname }} for=3 out=20"}
//! hosts: [{name: h1}]
//! lives: [{dies_at: 1.5}]
//! "#,
//! )?;
//! let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
//! let report = play(&scenario, directory.path(), false)?;
//! assert_eq!(report.violations, []);
//! # Ok::<(), String>(())
//! ```

mod bounds;
mod chance;
mod check;
mod command;
mod crossings;
mod folded;
mod life;
mod network;
mod plan;
mod random;
mod run;
mod scenario;
mod shrink;
mod signal;
mod world;

pub use check::{Rule, Violation};
pub use crossings::{Deadly, at_every_crossing};
pub use folded::Met;
pub use random::{BROKEN, Broken, Kind, REPEATABLE, kinds, random};
pub use run::{Report, play};
pub use scenario::{
    Effect, Fault, Freeze, Happening, Happens, HostSpec, LifeSpec, Pacing, Point, Scenario, Seconds, What,
};
pub use shrink::shrink;
