//! Why a command failed, and its exit status.

use reveille_mirrorlist::BadFile;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user's mistake: exit 2.
    Input(String),
    /// Our mistake, or the machine's: exit 1.
    Internal(String),
    /// The check found a problem, and printed it: exit 3.
    Found,
}

// === impl Failure ===

impl Failure {
    /// The message, if there is more to print, and the exit status.
    pub(crate) fn message(self) -> (Option<String>, u8) {
        match self {
            Self::Input(text) => (Some(text), 2),
            Self::Internal(text) => (Some(text), 1),
            Self::Found => (None, 3),
        }
    }
}

impl From<BadFile> for Failure {
    fn from(error: BadFile) -> Self {
        Self::Input(error.to_string())
    }
}
