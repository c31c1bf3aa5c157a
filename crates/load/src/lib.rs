//! Load testing of HTTP services, with numbers that can't be misread.
//!
//! A *scenario* describes what users do: classes of users with weights, tasks, waits, checks, and values that are captured
//! from answers or read from files. A *bootstrap* runs once for the whole test and gives all users the same values.
//! *Stages* set how many users there are (closed model), or how often arrivals come (open model).
//!
//! The main types: [`Scenario`]; [`engine::Options`], how a test runs; [`engine::conduct`], which runs it;
//! [`engine::Outcome`], all numbers; [`report::Summary`], from which every report is made.
//!
//! The path of a request through the crate:
//!
//! 1. [`Scenario::parse`] (`scenario/parse.rs`) reads the file, or returns every mistake with file, line, column and
//!    caret.
//! 2. `engine/conductor.rs` runs the bootstrap and starts shards: threads here (`engine/driver.rs`), or in worker
//!    processes (`engine/worker.rs`). Shards share nothing while a test runs. Each knows the whole schedule and takes its
//!    part of it.
//! 3. A user (`engine/user.rs`) is one future. `engine/request.rs` fills in its next step, `engine/exchange.rs` sends it
//!    over `engine/client.rs` (HTTP/1.1 in `engine/http1/mod.rs`, HTTP/2 with hyper), and `engine/judge.rs` checks the
//!    answer.
//! 4. `stats/tally.rs` counts in the shard, `stats/totals.rs` adds up in the conductor once a second, and
//!    `report/mod.rs` makes the reports.
//!
//! `program/mod.rs` is the command `reveille-load`. Four numbers are always kept apart: *offered* (requests that the
//! scenario was to send), *started*, *completed* and *failed*. Latencies are counted from the intended start and from the
//! actual one.
//!
//! ```
//! use reveille_load::scenario::{Given, Scenario};
//!
//! let text = r#"
//! base_url: http://127.0.0.1:8080
//! tasks:
//!   - get: /
//!     expect: {status: 200}
//! stages:
//!   - {ramp: 100, over: 30s}
//!   - {hold: 5m}
//! thresholds: ["p99 < 500ms", "errors < 1%"]
//! "#;
//! let scenario = Scenario::parse(text, "load.yaml", &Given::default()).map_err(|mistakes| mistakes[0].to_string())?;
//! assert_eq!(scenario.schedule().most_users(), 100);
//! # Ok::<(), String>(())
//! ```

pub mod engine;
mod import;
mod mask;
pub mod program;
pub mod report;
pub mod scenario;
mod script;
pub mod stats;
mod target;

use std::collections::BTreeMap;

pub use reveille_account::SourceError;
pub use scenario::Scenario;

/// The variables of the environment that are text.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
