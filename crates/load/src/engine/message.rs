//! Messages between the conductor and the threads and workers that run users.
//!
//! Within a process these are values in channels; to and from a worker each is a line of JSON. Nothing in them assumes a
//! single machine, except that `Begin` means now.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use serde::{Deserialize, Serialize};

use crate::stats::Delta;
use reveille_document::value_of;

/// What the bootstrap captured.
pub(crate) type Captured = BTreeMap<String, serde_json::Value>;

/// Takes the events of shards, each with the shard's number.
pub(crate) type Tell = Arc<dyn Fn(usize, Event) + Send + Sync>;

/// To a shard or a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// The test begins now.
    Begin,
    /// Use these values of the bootstrap.
    Share { generation: u64, values: Captured },
    /// Reset the numbers; later deltas carry this epoch.
    Reset { epoch: u32 },
    /// Let users finish what they are doing, and stop.
    Stop,
    /// Cut off what still runs.
    Cut,
}

/// From a shard or a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Ready; waits for `Begin`.
    Ready,
    /// What was counted since the last report.
    Counted(Box<Delta>),
    /// The users have ended, and everything was reported.
    Ended,
    /// The shard failed.
    Broken(String),
}

/// The bootstrap's values, which all users share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    /// Raised with each refresh.
    pub(crate) generation: u64,
    pub(crate) values: BTreeMap<String, Value>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(generation: u64, values: &Captured) -> Self {
        Self {
            generation,
            values: values
                .iter()
                .map(|(name, value)| (name.clone(), value_of(value)))
                .collect(),
        }
    }
}
