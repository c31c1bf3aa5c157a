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
    /// The connection was accepted and closed before the banner.
    pub(crate) throttled: bool,
    /// Whether the password was offered and did not let us in.
    pub password_refused: bool,
}

/// Whether a connection failed because the host, or the bastion in front of it, limits new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Nothing suggests it.
    No,
    /// It was accepted and closed before the banner, which has other causes too.
    Likely,
    /// sshd said so.
    Stated,
}

/// What sshd writes when it limits new connections; from 9.8 on for MaxStartups and PerSourcePenalties alike.
const LIMITS: [&str; 2] = ["MaxStartups", "Not allowed at this time"];

// === impl ConnectError ===

impl ConnectError {
    /// Whether a limit on new connections is the reason.
    pub fn throttle(&self) -> Throttle {
        if LIMITS.iter().any(|words| self.message.contains(words)) {
            Throttle::Stated
        } else if self.throttled {
            Throttle::Likely
        } else {
            Throttle::No
        }
    }

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
