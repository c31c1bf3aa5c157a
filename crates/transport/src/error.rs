//! Failures of the way to a host.

use reveille_account::{Class, Phase};

/// A connection that did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The phase that failed.
    pub phase: Phase,
    /// Its class.
    pub class: Class,
    /// What happened, in words.
    pub message: String,
    /// Whether it looks like the host's (or bastion's) limit on new connections rather than a fault: accepted, then
    /// closed before the banner, or told so.
    pub throttled: bool,
    /// Whether the password was offered and did not let us in.
    pub password_refused: bool,
}

// === impl ConnectError ===

impl ConnectError {
    pub(crate) fn new(phase: Phase, class: Class, message: impl Into<String>) -> Self {
        Self {
            phase,
            class,
            message: message.into(),
            throttled: false,
            password_refused: false,
        }
    }
}

/// A command that could not be started, or of which it is not known whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The host said no: nothing ran.
    #[error("{message}")]
    Refused {
        /// `channel_refused` or `exec_refused`.
        class: Class,
        /// What the host said.
        message: String,
    },
    /// The connection broke before the request was sent: nothing ran.
    #[error("the connection was lost before the command was sent: {0}")]
    NotSent(String),
    /// The request was sent and never answered: it may have run.
    #[error("the connection was lost while the command was being started: {0}")]
    Unanswered(String),
}
