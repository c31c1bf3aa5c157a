//! What can go wrong with the record.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reveille_account::{HostName, RunId, WorkerId};

/// A failure of the ledger, worded for the operator. Cheap to clone: one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state directory can't be made or used.
    #[error("can't use {} as the state directory: {reason}; name another one with --state-dir", path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The state directory is on a filesystem whose locks can't be trusted.
    #[error(
        "{} is on a network filesystem ({filesystem}), where locks and syncs can't be trusted; \
         name a local directory with --state-dir", path.display()
    )]
    NetworkFilesystem {
        /// The directory.
        path: PathBuf,
        /// The filesystem's name.
        filesystem: &'static str,
    },
    /// A command that only looks found nothing to look at.
    #[error("there is no ledger in {}: nothing was run with this state directory yet", path.display())]
    NoLedger {
        /// The directory.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a ledger: {reason}; move it away or name another --state-dir", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        reason: &'static str,
    },
    /// The file was written by a newer version of the program.
    #[error(
        "{} has schema version {found}, this program knows up to {known}; use the newer program that wrote it",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is understood.
        known: i64,
    },
    /// No run is called that.
    #[error("no run is called {0:?}; `reveille runs` lists them")]
    NoSuchRun(String),
    /// More than one run is called that.
    #[error("{text:?} may be {}; write more of it", candidates.join(" or "))]
    AmbiguousRun {
        /// What was asked for.
        text: String,
        /// Some of the runs it may be.
        candidates: Vec<String>,
    },
    /// Another controller owns the run.
    #[error("{run} is being worked on by {worker}, started by {user}; wait for it or stop it")]
    Held {
        /// The run.
        run: RunId,
        /// The controller's machine and process id.
        worker: WorkerId,
        /// Who started it.
        user: String,
    },
    /// Another controller took the run over while this one still wrote.
    #[error(
        "{run} was taken over by another controller (this one held epoch {epoch}); nothing more is written here"
    )]
    Fenced {
        /// The run.
        run: RunId,
        /// The epoch that this controller held.
        epoch: u64,
    },
    /// A host is twice on the roll.
    #[error("{host} is twice on the roll")]
    TwiceOnRoll {
        /// The host.
        host: HostName,
    },
    /// A fact that may exist only once was recorded again: a fault of the engine.
    #[error("{host} already has {what} in round {round}; it was not recorded twice")]
    Duplicate {
        /// The host.
        host: HostName,
        /// `an outcome`, `another intent for step 2, attempt 1`.
        what: String,
        /// The round.
        round: u32,
    },
    /// No space is left, not even after the reserve was given back.
    #[error("the disk that holds {} is full; free some space, then `reveille resume`", path.display())]
    DiskFull {
        /// The state directory.
        path: PathBuf,
    },
    /// The writer of this run ended earlier, because of an error that was reported then.
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
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// SQLite failed.
    #[error("can't {doing} the ledger: {source}")]
    Sqlite {
        /// `read`, `write`.
        doing: &'static str,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// Something stored can't be understood.
    #[error("the ledger holds something unreadable ({what}): {reason}")]
    Damaged {
        /// What it is.
        what: String,
        /// Why it can't be read.
        reason: String,
    },
    /// An export would overwrite something that is not an export.
    #[error("{} exists and was not made by `reveille export`; it is left as it is", path.display())]
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

    pub(crate) fn read(source: rusqlite::Error) -> Error {
        Error::Sqlite {
            doing: "read",
            source: Arc::new(source),
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
