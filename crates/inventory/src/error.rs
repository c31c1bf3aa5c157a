//! What can be wrong with an inventory, worded for the operator.

use std::io;
use std::path::PathBuf;

use reveille_account::{HostName, Mistakes, SourceError};

/// Why there is no inventory, no selection or no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The `-i` argument is no existing file and no list.
    #[error("no such file: `{argument}`\n  hint: for a single host write `{argument},`")]
    NoSuchFile {
        /// The argument as given.
        argument: String,
    },
    /// The system refused to read a file.
    #[error("failed to read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than the bound.
    #[error("`{}` is larger than {} MiB, the most that is read of an inventory", path.display(), bound >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, bytes.
        bound: u64,
    },
    /// A form of inventory that is known and not read.
    #[error("{what} are not read yet: `{name}`\n  hint: {hint}")]
    NotYet {
        /// The form, in the plural.
        what: &'static str,
        /// The file.
        name: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// An executable inventory did not give one, or a program no password.
    #[error("the program `{program}` {what}{}", said(stderr))]
    Program {
        /// The file.
        program: String,
        /// What happened, a predicate.
        what: String,
        /// The end of what it wrote on standard error, without control characters.
        stderr: String,
    },
    /// A file of a vault password has none.
    #[error("the vault password in `{file}` {problem}")]
    VaultPassword {
        /// The file.
        file: String,
        /// What is wrong with it, a predicate.
        problem: &'static str,
    },
    /// Nothing in it names a host.
    #[error("`{name}` names no host")]
    NoHosts {
        /// The source as the user gave it.
        name: String,
    },
    /// Mistakes in the text of a source.
    #[error("{0}")]
    Mistakes(Mistakes),
    /// A name that is not in the inventory.
    #[error("the inventory has no host `{0}`")]
    UnknownHost(HostName),
    /// The vars of a host don't say how to connect.
    #[error("failed to read how to reach {host}: {message}\n  --> {file}{}", at_line(*line))]
    Connection {
        /// The host.
        host: HostName,
        /// What is wrong, the var's name included.
        message: String,
        /// The file that sets the var.
        file: String,
        /// The line that sets it; 0 when not known.
        line: usize,
    },
    /// A pattern that can't be read, or has a term that matches nothing.
    #[error("{0}")]
    Pattern(SourceError),
    /// Every term of the pattern is known, and no host is left.
    #[error("the pattern `{pattern}` matches no host")]
    NothingMatches {
        /// All patterns, joined by commas.
        pattern: String,
    },
}

// === impl InventoryError ===

impl InventoryError {
    pub(crate) fn read(path: &std::path::Path, source: io::Error) -> Self {
        InventoryError::Read {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<SourceError> for InventoryError {
    fn from(mistake: SourceError) -> Self {
        InventoryError::Mistakes(mistake.into())
    }
}

fn said(stderr: &str) -> String {
    let mut text = String::new();
    for line in stderr.lines() {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

fn at_line(line: usize) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(":{line}")
    }
}
