//! Why a configuration can't be used.

use std::io;
use std::path::{Path, PathBuf};

use reveille_account::{Mistakes, SourceError};

/// Why a configuration can't be read, or not resolved for a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be read.
    #[error("failed to read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Mistakes in the files.
    #[error("{0}")]
    Mistakes(Mistakes),
}

// === impl Error ===

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Error::Read {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<SourceError> for Error {
    fn from(mistake: SourceError) -> Self {
        Error::Mistakes(mistake.into())
    }
}
