//! Why a chore did not get done, and the exit status that says so.

use std::fmt;
use std::io;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something that is needed is missing: exit 2, nothing was done.
    Missing(String),
    /// A command or a file operation failed: exit 1.
    Failed(String),
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

// === impl Failure ===

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Missing(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Missing(text) | Self::Failed(text)) = self;
        formatter.write_str(text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Missing(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
