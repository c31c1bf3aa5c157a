//! Words of a host's history: machines, ways in which an attempt is lost, rungs, reasons to halt.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Class, HostName};

/// Which machine an attempt ran on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineRef {
    /// The host's own machine, after so many replacements.
    Own(u32),
    /// Another host, which runs steps for this one.
    Delegate(HostName),
}

/// What a machine said of itself before an attempt was to start there; `-` is what it can't tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its boot.
    pub boot: String,
    /// Its machine id.
    pub machine: String,
    /// Its node name.
    pub node: String,
    /// The random word that stands in the directory of the run there.
    pub mark: String,
}

/// Why an attempt has no result of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// It never ran and never will; it uses up no attempt.
    Buried,
    /// The machine was booted again while it ran; its end is not known.
    Rebooted,
    /// It vanished without an exit status.
    Gone,
    /// Its directory is no longer there, and it can't be known whether it ran.
    Wiped,
    /// It was not durable, and its connection or its controller went away.
    Plain,
}

/// What may be done to bring a failed host back, beyond trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Another way to the host.
    Route,
    /// The repair at this position of the job's steps.
    Repair(u32),
    /// A reboot.
    Reboot,
    /// Another machine.
    Replace,
}

/// Why nothing more is dispatched in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltReason {
    /// More hosts failed than the run allows.
    MaxFail,
    /// More hosts of a batch failed than the run allows.
    MaxFailBatch,
    /// A host of the trial batch failed.
    Canary,
    /// A step that runs once for all hosts failed.
    Once,
    /// Two hosts refused the password.
    Password,
}

// === impl MachineRef ===

impl Default for MachineRef {
    fn default() -> Self {
        Self::Own(0)
    }
}

impl MachineRef {
    /// Whether it is the machine that the host had from the beginning.
    pub fn is_first(&self) -> bool {
        *self == Self::Own(0)
    }

    /// The other host, if it is one.
    pub fn delegate(&self) -> Option<&HostName> {
        match self {
            Self::Own(_) => None,
            Self::Delegate(name) => Some(name),
        }
    }
}

// === impl Loss ===

impl Loss {
    /// What is known of the attempt, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Buried => "it never started, and never will",
            Self::Rebooted => "the host was booted again while the command ran",
            Self::Gone => "the command and its supervisor vanished from the host without an exit status",
            Self::Wiped => "what the host kept of the command is no longer there",
            Self::Plain => {
                "the connection or the controller went away while the step ran, and it is not durable"
            }
        }
    }

    /// The class of a host that fails with it.
    pub fn class(self) -> Class {
        match self {
            Self::Gone => Class::EarlyExit,
            Self::Buried | Self::Rebooted | Self::Wiped | Self::Plain => Class::ConnectionLost,
        }
    }
}

// === impl Rung ===

impl Rung {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "another route",
            Self::Repair(_) => "the repair",
            Self::Reboot => "the reboot",
            Self::Replace => "the replacement",
        }
    }
}

// === impl HaltReason ===

impl HaltReason {
    /// The class of hosts that are not dispatched for it.
    pub fn class(self) -> Class {
        match self {
            Self::MaxFail | Self::MaxFailBatch | Self::Canary => Class::MaxFailReached,
            Self::Once | Self::Password => Class::Stopped,
        }
    }
}

impl fmt::Display for HaltReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MaxFail => "more hosts failed than the run allows",
            Self::MaxFailBatch => "every host of a batch failed, or more than the run allows",
            Self::Canary => "a host of the trial batch failed",
            Self::Once => "a step that runs once for all hosts failed",
            Self::Password => "two hosts refused the password, so it was offered to no other",
        })
    }
}
