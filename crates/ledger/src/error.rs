//! Errors of the ledger.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reveille_account::{HostName, RunId, WorkerId};

use crate::writer::is_full;

/// A failure of the ledger, worded for the operator. Cheap to clone, because one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state directory can't be made or used.
    #[error("can't use {} as the state directory: {reason}; set another one with --state-dir", path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// The state directory is on a filesystem whose locks can't be trusted.
    #[error(
        "{} is on a network filesystem ({filesystem}), where locks and syncs can't be trusted; \
         set a local directory with --state-dir", path.display()
    )]
    NetworkFilesystem {
        /// The directory.
        path: PathBuf,
        /// The filesystem's name.
        filesystem: &'static str,
    },
    /// A command that only reads found no ledger.
    #[error("no ledger in {}: no run has used this state directory yet", path.display())]
    NoLedger {
        /// The directory.
        path: PathBuf,
    },
    /// The file is not a ledger.
    #[error("{} is not a ledger: {reason}; move it away or set another --state-dir", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// How it was recognised.
        reason: &'static str,
    },
    /// The file was written by a newer version of the program.
    #[error(
        "{} has schema version {found}, but this program supports up to {known}; use the newer program that wrote it",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest supported version.
        known: i64,
    },
    /// No run matches.
    #[error("no run matches {0:?}; `reveille runs` lists all runs")]
    NoSuchRun(String),
    /// More than one run matches.
    #[error("{text:?} is ambiguous: {}; type more of the id", candidates.join(" or "))]
    AmbiguousRun {
        /// The text given.
        text: String,
        /// Some of the runs that match.
        candidates: Vec<String>,
    },
    /// Another controller owns the run.
    #[error("{run} is being worked on by {worker}, started by {user}; wait for it or stop it")]
    Held {
        /// The run.
        run: RunId,
        /// The controller's machine and process id.
        worker: WorkerId,
        /// The user who started it.
        user: String,
    },
    /// Another controller took over the run while this one was still writing.
    #[error("another controller took over {run}; this one (epoch {epoch}) stops writing")]
    Fenced {
        /// The run.
        run: RunId,
        /// This controller's epoch.
        epoch: u64,
    },
    /// A host is on the roll twice.
    #[error("{host} is on the roll twice")]
    TwiceOnRoll {
        /// The host.
        host: HostName,
    },
    /// The engine recorded a fact again that may exist only once, which is a bug.
    #[error("{host} already has {what} in round {round}; the second one was not recorded")]
    Duplicate {
        /// The host.
        host: HostName,
        /// `an outcome`, `another intent for step 2, attempt 1`.
        what: String,
        /// The round.
        round: u32,
    },
    /// No space is left, even after the reserve was released.
    #[error("the disk that holds {} is full; free some space, then `reveille resume`", path.display())]
    DiskFull {
        /// The state directory.
        path: PathBuf,
    },
    /// The run's writer stopped earlier, because of an error that was reported then.
    #[error("the ledger stopped writing {run} after an earlier error")]
    Stopped {
        /// The run.
        run: RunId,
    },
    /// A file could not be read or written.
    #[error("can't {doing} {}: {source}", path.display())]
    Io {
        /// `read`, `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's message.
        source: Arc<io::Error>,
    },
    /// SQLite failed.
    #[error("can't {doing} the ledger: {source}")]
    Sqlite {
        /// `read`, `write`.
        doing: &'static str,
        /// SQLite's message.
        source: Arc<rusqlite::Error>,
    },
    /// Stored data can't be read.
    #[error("the ledger contains unreadable data ({what}): {reason}")]
    Damaged {
        /// The kind of data.
        what: String,
        /// Why it can't be read.
        reason: String,
    },
    /// An export would overwrite something that is not an export.
    #[error("{} exists and was not made by `reveille export`; it was not changed", path.display())]
    ForeignTarget {
        /// The directory.
        path: PathBuf,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Error ===

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            doing,
            path,
            source: Arc::new(source),
        }
    }

    /// Whether the disk is full. A quota that is used up looks the same.
    pub fn is_full(&self) -> bool {
        match self {
            Error::DiskFull { .. } => true,
            Error::Sqlite { source, .. } => is_full(source),
            _ => false,
        }
    }

    pub(crate) fn write(source: rusqlite::Error) -> Error {
        Error::Sqlite {
            doing: "write",
            source: Arc::new(source),
        }
    }

    pub(crate) fn damaged(what: impl Into<String>, reason: &dyn std::fmt::Display) -> Error {
        Error::Damaged {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

/// A failed query; code that writes uses [`Error::write`].
impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Error::Sqlite {
            doing: "read",
            source: Arc::new(source),
        }
    }
}
