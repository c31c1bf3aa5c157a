//! Why a chore failed, and its exit status.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::tell;

/// What went wrong.
#[derive(Debug)]
pub enum Failure {
    /// Something that the chore needs is missing, and nothing was done: exit 2.
    Missing(String),
    /// A command or a file operation failed: exit 1.
    Failed(String),
}

/// What a chore returns.
pub type Result<T = ()> = std::result::Result<T, Failure>;

// === impl Failure ===

impl Failure {
    /// A command or a file operation failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// Prints the failure and returns the exit status of the chore.
    pub fn report(&self) -> ExitCode {
        tell::line(&format!("error: {self}"));
        ExitCode::from(match self {
            Self::Missing(_) => 2,
            Self::Failed(_) => 1,
        })
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
