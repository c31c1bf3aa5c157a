//! How an attempt of a step ended.
//!
//! ```text
//!               ┌ Over      by itself, or killed at a deadline
//!  attempt ─────┼ Refused   nothing ran for certain
//!               ├ Vanished  it ran and is gone without a status
//!               ├ Lost      the connection broke; nothing ran, or durable work continues
//!               └ Unknown   it is unknown what ran
//! ```

use std::time::Duration;

use reveille_account::Class;
use reveille_transport::ExecError;
use reveille_transport::supervisor::SuperviseError;

use crate::Failure;
use crate::watchdog::Lasted;

/// Bytes of each stream that a host keeps of a durable command.
pub(crate) const SPOOL_CAP: u64 = 64 << 20;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is over, by itself or killed by us.
    Over(Over),
    /// Nothing ran for certain.
    Refused { class: Class, message: String },
    /// The connection broke before anything was sent.
    NotSent { message: String },
    /// The connection broke. Durable work continues and can be re-attached.
    Lost { message: String },
    /// It can't be killed and may run forever.
    Survives { class: Class, message: String },
    /// It ran and is gone without a result.
    Vanished { message: String },
    /// It never started, and its token makes sure that it never will.
    Never,
    /// The host has no trace of it.
    Absent,
    /// Another machine answered.
    Elsewhere,
    /// It is unknown whether it ran, and there is nothing to ask.
    Unknown { message: String },
}

/// An attempt that is over.
#[derive(Debug, Default)]
pub(crate) struct Over {
    pub(crate) exit_status: Option<i32>,
    pub(crate) signal: Option<String>,
    /// Whether the host changed, as far as is known; a command that ran counts as a change.
    pub(crate) changed: bool,
    pub(crate) killed: Option<Kill>,
    /// Why a copy failed, which has no exit status.
    pub(crate) failed: Option<String>,
    /// How long a command took that ended by itself.
    pub(crate) lasted: Option<Lasted>,
    /// Some of its output was lost.
    pub(crate) missed: bool,
    /// How long it ran, if not measured from its start here.
    pub(crate) ran: Option<Duration>,
}

/// A kill, for a deadline that passed or a fatal line.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) class: Class,
    pub(crate) deadline: Duration,
    /// From the last progress to the kill; `None` for a copy, which is not watched.
    pub(crate) lag: Option<Duration>,
    /// Whether all processes of the command are known to be gone.
    pub(crate) verified: bool,
    pub(crate) evidence: String,
}

impl Kill {
    /// What happened, as the beginning of a message.
    pub(crate) fn what(&self) -> &'static str {
        match self.class {
            Class::WatchdogIdle => "killed for silence",
            Class::FatalPattern if self.verified => "the command was killed",
            Class::FatalPattern => "the command was killed, but processes that it started may still run",
            Class::AsksAQuestion => "killed because it waits for input",
            _ => "killed for running too long",
        }
    }
}

/// The end of durable work that failed to start.
pub(crate) fn refused(error: SuperviseError) -> Result<Ended, Failure> {
    Ok(match error {
        SuperviseError::Exec(ExecError::Refused { class, message }) => Ended::Refused { class, message },
        SuperviseError::Exec(error) => Ended::Lost {
            message: error.to_string(),
        },
        SuperviseError::Lost(message) => Ended::Lost { message },
        SuperviseError::Fenced(epoch) => return Err(Failure::Fenced(epoch)),
    })
}
