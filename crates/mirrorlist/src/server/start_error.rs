//! Why a server does not start.

use std::path::PathBuf;

use crate::error::BadFile;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file can't be used.
    #[error(transparent)]
    BadFile(#[from] BadFile),
    /// The server can't listen on an address.
    #[error("can't listen on {address}: {error}{hint}")]
    Listen {
        /// The address, as it was given.
        address: String,
        /// The system's reason.
        error: std::io::Error,
        /// A hint what to try.
        hint: &'static str,
    },
    /// A log can't be opened.
    #[error("can't append to the log {}: {error}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// TLS can't be set up.
    #[error("{0}")]
    Tls(String),
    /// The system refuses a thread, a socket or a timer.
    #[error("can't start: {0}")]
    System(#[from] std::io::Error),
}
