//! What goes between the conductor and those who carry users.
//!
//! Inside of a process these are values in channels; to a worker process each is a line of JSON. Nothing in them assumes
//! one machine, except that the beginning is told as "now".

use std::collections::BTreeMap;

use minijinja::Value;
use serde::{Deserialize, Serialize};

use crate::stats::Delta;
use reveille_document::value_of;

/// To a shard or a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// The test begins now.
    Begin,
    /// The bootstrap's values, the first ones or newer ones.
    Share {
        generation: u64,
        values: BTreeMap<String, serde_json::Value>,
    },
    /// Zero all numbers; deltas from here on carry this epoch.
    Reset { epoch: u32 },
    /// Users end what they are doing, and stop.
    Stop,
    /// What still runs is cut off.
    Cut,
}

/// From a shard or a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Everything is prepared; waits for `Begin`.
    Ready,
    /// What was counted since the last one.
    Counted(Box<Delta>),
    /// The users are gone, and everything has been told.
    Ended,
    /// It can't go on.
    Broken(String),
}

/// What the bootstrap came to, for all users alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    /// Raised with each refresh.
    pub(crate) generation: u64,
    pub(crate) values: BTreeMap<String, Value>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(generation: u64, values: &BTreeMap<String, serde_json::Value>) -> Self {
        Self {
            generation,
            values: values
                .iter()
                .map(|(name, value)| (name.clone(), value_of(value)))
                .collect(),
        }
    }
}
