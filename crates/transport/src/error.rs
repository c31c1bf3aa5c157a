//! Connection and command errors.

use reveille_account::{Class, Phase};

/// A failed connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The phase that failed.
    pub phase: Phase,
    /// Its class.
    pub class: Class,
    /// What happened, as a sentence.
    pub message: String,
    /// The host accepted the connection and closed it before the banner.
    pub(crate) throttled: bool,
    /// Whether the password was offered and refused.
    pub password_refused: bool,
}

/// Whether a connection failed because the host, or its jump host, limits new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// There is no sign of a limit.
    No,
    /// The connection was accepted and closed before the banner, which has other causes too.
    Likely,
    /// sshd reported a limit.
    Stated,
}

/// sshd's messages when it limits new connections; since 9.8 the same for MaxStartups and PerSourcePenalties.
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

/// A command that was not started, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The host refused, or what answered was not what we need: no command ran.
    #[error("{message}")]
    Refused {
        /// `channel_refused`, `exec_refused`, `no_shell`, `become_failed`, `become_missing` or `transfer_failed`.
        class: Class,
        /// The host's reason.
        message: String,
    },
    /// The connection broke before the request was sent: nothing ran.
    #[error("the connection was lost before the command was sent: {0}")]
    NotSent(String),
    /// The request was sent but not answered: the command may have run.
    #[error("the connection was lost while the command was being started: {0}")]
    Unanswered(String),
}

// === impl ExecError ===

impl ExecError {
    pub(crate) fn refused(class: Class, message: impl Into<String>) -> Self {
        Self::Refused {
            class,
            message: message.into(),
        }
    }
}
