//! Errors, worded for the operator.

use std::io;
use std::path::{Path, PathBuf};

use reveille_text::bounded::ReadError;

/// A file that can't be used. The snapshot in use stays.
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
    #[error("longer than {} MiB, the limit for such files; is it the right file?", longest >> 20)]
    TooLong { longest: u64 },
    #[error(
        "the file is empty; write a new file beside it and rename it, so that it is never read half-written"
    )]
    Empty,
    #[error("not a MirrorManager snapshot: {what} (at byte {offset}); is it the whole .proto file?")]
    Malformed { offset: u64, what: &'static str },
    #[error("not a MirrorManager snapshot, or only its end: the time of its creation is missing (field 1)")]
    NoTime,
    #[error("the snapshot has no directories, so no request could be answered")]
    NoDirectories,
    #[error("{what}")]
    Line { line: usize, what: String },
    #[error("{what}")]
    Place {
        line: usize,
        column: usize,
        what: String,
    },
    #[error("no line has a network and an AS number, such as `192.0.2.0/24 64496`")]
    NoNetworks,
    #[error("no line has a country and its continent, such as `DE,EU`")]
    NoCountries,
    #[error("not a country database in MaxMind's format: {0}")]
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
    /// The place behind the file's name, in the form that editors understand.
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
                what: "the file is not UTF-8 text".to_owned(),
            },
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
