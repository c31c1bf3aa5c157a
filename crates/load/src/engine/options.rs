//! How a test runs.

use std::time::Duration;

use crate::scenario::Given;

/// Options of a test.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads with users in this process, or in each worker.
    pub threads: usize,
    /// Worker processes; 0 runs the users in this process.
    pub workers: usize,
    /// How long users may continue after the end.
    pub grace: Duration,
    /// When numbers are reset.
    pub reset_at: Vec<Duration>,
    /// The random seed.
    pub seed: u64,
    /// What workers read the scenario from.
    pub source: Source,
}

/// The scenario as it travels to workers.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// The file's name.
    pub file: String,
    /// The file's text.
    pub text: String,
    /// What it was read with.
    pub given: Given,
}
