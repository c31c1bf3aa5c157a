//! Load: many users over HTTP, and numbers that can't be misread.
//!
//! A *scenario* says what users do: classes of users with weights, tasks, waits, checks, and values that are captured from
//! answers or read from files. A *bootstrap* runs once for the whole test and gives all users the same values. *Stages*
//! say how many users there are (closed model), or how often somebody arrives (open model).
//!
//! What comes in is the text of a scenario, YAML read strictly: [`Scenario::parse`] returns every mistake with file, line,
//! column and caret. [`engine::conduct`] runs it, on threads of this process or in worker processes, and comes to an
//! [`engine::Outcome`]; [`report::Summary`] is what people and programs are told of it.
//!
//! Four numbers stand always apart: *offered* (what the scenario wanted to send), *started*, *completed*, *failed*.
//! Latencies are counted from the intended start and from the actual one.
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
pub mod stats;

use std::collections::BTreeMap;

pub use reveille_account::SourceError;
pub use scenario::Scenario;

/// The environment, as far as it is text.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
