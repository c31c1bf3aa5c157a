//! What goes wrong, worded for the operator.

use std::io;
use std::path::{Path, PathBuf};

use reveille_text::bounded::ReadError;

/// A file that can't be used. The snapshot that serves is not touched by it.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {reason}", path.display(), reason.place())]
pub struct BadFile {
    path: PathBuf,
    reason: Reason,
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("{0}")]
    Io(io::Error),
    #[error("longer than {} MiB, which no such file is; is it the right one?", longest >> 20)]
    TooLong { longest: u64 },
    #[error("the file is empty; was it being written? A writer renames a finished file into place")]
    Empty,
    #[error("no MirrorManager snapshot: {what} (at byte {offset}); is it the .proto file, complete?")]
    Malformed { offset: u64, what: &'static str },
    #[error("no MirrorManager snapshot, or only its end: it does not say when it was made (field 1, Time)")]
    NoTime,
    #[error("the snapshot names no directory; nothing could be answered from it")]
    NoDirectories,
    #[error("{what}")]
    Line { line: usize, what: String },
    #[error("{what}")]
    Place {
        line: usize,
        column: usize,
        what: String,
    },
    #[error("no line of it is a prefix and an AS number, as in `192.0.2.0/24 64496`")]
    NoNetworks,
    #[error("no line of it is a country and its continent, as in `DE,EU`")]
    NoCountries,
    #[error("no country database in MaxMind's format: {0}")]
    GeoIp(maxminddb::MaxMindDbError),
    #[error("{0}")]
    Mirrors(String),
}

// === impl BadFile ===

impl BadFile {
    pub(crate) fn new(path: &Path, reason: impl Into<Reason>) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

// === impl Reason ===

impl Reason {
    /// What follows the file's name, as editors understand it.
    fn place(&self) -> String {
        match self {
            Self::Line { line, .. } => format!(":{line}"),
            Self::Place { line, column, .. } => format!(":{line}:{column}"),
            _ => String::new(),
        }
    }
}

impl From<ReadError> for Reason {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::Io(error),
            ReadError::TooLong { most } => Self::TooLong { longest: most },
            ReadError::NotText { line } => Self::Line {
                line,
                what: "not text in UTF-8".to_owned(),
            },
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
