//! The simulator: the real engine, from a seed.
//!
//! The main types: [`Scenario`], a job, hosts, faults by their places, reboots, and controllers that die or freeze at a
//! crossing; [`play`] takes [`reveille_fleet::run`] through it; [`Report`], which [`Rule`]s were broken, by what was
//! committed and by what really ran. Dispatcher, host loop, watchdog, supervisor client and judge are the ones that
//! ship, on one thread with a paused clock. Equal scenarios give equal traces.
//!
//! A scenario through the crate:
//!
//! 1. `scenario.rs` reads it from YAML, or `random.rs` draws it from a seed (`chance.rs`).
//! 2. `run.rs` starts controllers one after the other; `plan.rs` makes what `reveille run` and `reveille resume` would
//!    give the engine.
//! 3. The engine meets two seams: sessions in memory (`network.rs`), with the drill's hosts at their far end
//!    (`world.rs`), and the ledger in memory. At every crossing of a seam the controller may die or stand still
//!    (`life.rs`).
//! 4. `check.rs`, `bounds.rs` and `folded.rs` check every start and every commit.
//! 5. `shrink.rs` makes a scenario that breaks a rule small; `crossings.rs` plays one once for each crossing.
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
