//! Outcomes: the one final status of a host in a round.

use serde::{Deserialize, Serialize};

use crate::{Class, PhaseTimings, Status, StepRef};

/// How a host ended in a round of a run. Immutable once committed; a later round records another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended as it did; determines the status.
    pub class: Class,
    /// What happened, in a sentence without a full stop; empty for a plain success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The step that decided it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepRef>,
    /// Attempts of that step.
    #[serde(default)]
    pub attempts: u32,
    /// Exit status of that step's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that killed that step's command, without `SIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The last lines of that step's standard output, invalid UTF-8 replaced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout_tail: String,
    /// The last lines of that step's standard error, invalid UTF-8 replaced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
    /// Whether the tails omit earlier output.
    #[serde(default)]
    pub truncated: bool,
    /// Connections tried.
    #[serde(default)]
    pub connects: u32,
    /// The classes of all failed connection tries, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Class>,
    /// From dispatch to the outcome, milliseconds.
    pub duration_ms: u64,
    /// Phases of the last successful connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<PhaseTimings>,
    /// Why no further recovery was tried; empty if none was considered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gatekeeper: String,
}

// === impl Outcome ===

impl Outcome {
    /// What separates the failure, in a message, from that of an `on_failed` step after it.
    pub const THEN: &'static str = "; then ";

    /// An outcome of `class` with all other fields empty.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            step: None,
            attempts: 0,
            exit_status: None,
            signal: None,
            stdout_tail: String::new(),
            stderr_tail: String::new(),
            truncated: false,
            connects: 0,
            causes: Vec::new(),
            duration_ms: 0,
            phases: None,
            gatekeeper: String::new(),
        }
    }

    /// The status of its class.
    pub fn status(&self) -> Status {
        self.class.status()
    }
}
