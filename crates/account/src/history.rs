//! Words for a host's history: machines, losses of attempts, rungs, reasons to halt.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Class, HostName};

/// Which machine an attempt ran on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineRef {
    /// The host's own machine, after this many replacements.
    Own(u32),
    /// Another host, which runs the step for this one.
    Delegate(HostName),
}

/// What a machine reported about itself before an attempt started there; `-` where it could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its boot id.
    pub boot: String,
    /// Its machine id.
    pub machine: String,
    /// Its node name.
    pub node: String,
    /// The random word in the run's directory there.
    pub mark: String,
}

/// Why an attempt ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// It never ran and never will; it uses up no attempt.
    Buried,
    /// The machine rebooted while it ran; its result is unknown.
    Rebooted,
    /// It vanished without an exit status.
    Gone,
    /// Its directory is gone, and it is unknown whether it ran.
    Wiped,
    /// It was not durable, and its connection or its controller went away.
    Plain,
}

/// A means to bring a failed host back, beyond retrying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Another route to the host.
    Route,
    /// The repair at this position of the job's steps.
    Repair(u32),
    /// A reboot.
    Reboot,
    /// Another machine.
    Replace,
}

/// Why a round dispatches no more hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltReason {
    /// More hosts failed than the run allows.
    MaxFail,
    /// A whole batch failed, or more of its hosts than the run allows.
    MaxFailBatch,
    /// All hosts of a batch failed.
    WholeBatch,
    /// A host of the canary batch failed.
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
    /// Whether it is the machine that the host started with.
    pub fn is_first(&self) -> bool {
        *self == Self::Own(0)
    }

    /// The delegate's name, if it is a delegate.
    pub fn delegate(&self) -> Option<&HostName> {
        match self {
            Self::Own(_) => None,
            Self::Delegate(name) => Some(name),
        }
    }
}

// === impl Loss ===

impl Loss {
    /// What is known about the attempt.
    pub fn words(self) -> &'static str {
        match self {
            Self::Buried => "it never started, and never will",
            Self::Rebooted => "the host rebooted while the command ran",
            Self::Gone => "the command and its supervisor vanished from the host without an exit status",
            Self::Wiped => "the command's files are gone from the host",
            Self::Plain => {
                "the connection or the controller went away while the step ran, and it is not durable"
            }
        }
    }

    /// The class of a host that fails because of it.
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
    /// The class of the hosts that are not dispatched because of it.
    pub fn class(self) -> Class {
        match self {
            Self::MaxFail | Self::MaxFailBatch | Self::WholeBatch | Self::Canary => Class::MaxFailReached,
            Self::Once | Self::Password => Class::Stopped,
        }
    }
}

impl fmt::Display for HaltReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MaxFail => "more hosts failed than the run allows",
            Self::MaxFailBatch => "more hosts of a batch failed than the run allows",
            Self::WholeBatch => "every host of a batch failed",
            Self::Canary => "a canary host failed",
            Self::Once => "a step that runs once for all hosts failed",
            Self::Password => "two hosts refused the password, so it was not offered to any other",
        })
    }
}
