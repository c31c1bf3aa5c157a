//! How an attempt of a step ended.
//!
//! ```text
//!               ┌ Over      by itself, or killed when a deadline passed
//!  attempt ─────┼ Refused   surely nothing ran
//!               ├ Vanished  it ran and is gone without a status
//!               ├ Lost      the connection broke; nothing ran, or durable work goes on
//!               └ Unknown   it is not known what ran
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
    /// It is over, by itself or by our kill.
    Over(Over),
    /// Surely nothing ran.
    Refused { class: Class, message: String },
    /// The connection broke before anything was sent.
    NotSent { message: String },
    /// The connection broke. Durable work goes on and can be attached to.
    Lost { message: String },
    /// It was to be ended and can't be: it may run for ever.
    Survives { class: Class, message: String },
    /// It ran and is gone, and nobody can tell how it ended.
    Vanished { message: String },
    /// It never started, and its token never will.
    Never,
    /// Nothing of it is on the host.
    Absent,
    /// Another machine answered.
    Elsewhere,
    /// It may or may not have run, and there is nothing to ask.
    Unknown { message: String },
}

/// An attempt that is over.
#[derive(Debug, Default)]
pub(crate) struct Over {
    pub(crate) exit_status: Option<i32>,
    pub(crate) signal: Option<String>,
    /// Whether the host changed, as far as can be told: a command that ran is taken to have changed it.
    pub(crate) changed: bool,
    pub(crate) killed: Option<Kill>,
    /// Why a copy did not come about; it has no exit status that says so.
    pub(crate) failed: Option<String>,
    /// How long a command took that ended by itself.
    pub(crate) lasted: Option<Lasted>,
    /// Some of its output was lost.
    pub(crate) missed: bool,
    /// How long it ran, where that is not since its start here.
    pub(crate) ran: Option<Duration>,
}

/// A deadline that passed, and what was done about it.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) class: Class,
    pub(crate) deadline: Duration,
    /// From the last progress that was seen until then; a copy's is not watched.
    pub(crate) lag: Option<Duration>,
    /// Whether everything that belonged to the command is known to be gone.
    pub(crate) verified: bool,
    pub(crate) evidence: String,
}

impl Kill {
    /// What was done, as the beginning of a sentence.
    pub(crate) fn what(&self) -> &'static str {
        match self.class {
            Class::WatchdogIdle => "killed for silence",
            Class::AsksAQuestion => "ended because it asks a question",
            _ => "killed for taking too long",
        }
    }
}

/// What a failed start of durable work comes to.
pub(crate) fn refused(error: SuperviseError) -> Result<Ended, Failure> {
    Ok(match error {
        SuperviseError::Exec(ExecError::Refused { class, message })
        | SuperviseError::Refused { class, message } => Ended::Refused { class, message },
        SuperviseError::Exec(error) => Ended::Lost {
            message: error.to_string(),
        },
        SuperviseError::Lost(message) => Ended::Lost { message },
        SuperviseError::Fenced(epoch) => return Err(Failure::Fenced(epoch)),
    })
}
