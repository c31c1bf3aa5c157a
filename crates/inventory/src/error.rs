//! Errors of inventories, worded for the operator.

use std::io;
use std::path::PathBuf;

use reveille_account::{HostName, Mistakes, SourceError};

/// Why an inventory can't be read, hosts can't be selected or a host's connection is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The `-i` argument is neither an existing file nor a list.
    #[error("no such file: `{argument}`\n  hint: for a single host write `{argument},`")]
    NoSuchFile {
        /// The argument as given.
        argument: String,
    },
    /// A file can't be read.
    #[error("failed to read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is larger than the bound.
    #[error("`{}` is larger than {} MiB, the limit for inventory files", path.display(), bound >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        bound: u64,
    },
    /// A known form of inventory that is not supported yet.
    #[error("{what} are not supported yet: `{name}`\n  hint: {hint}")]
    NotYet {
        /// The form, in the plural.
        what: &'static str,
        /// The file.
        name: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// An executable inventory or password program failed.
    #[error("the program `{program}` {what}{}", said(stderr))]
    Program {
        /// The file.
        program: String,
        /// What happened, as a predicate.
        what: String,
        /// The last part of its standard error, without control characters.
        stderr: String,
    },
    /// A vault password file contains no password.
    #[error("the vault password in `{file}` {problem}")]
    VaultPassword {
        /// The file.
        file: String,
        /// What is wrong with it, as a predicate.
        problem: &'static str,
    },
    /// The source names no host.
    #[error("`{name}` names no host")]
    NoHosts {
        /// The source as the user gave it.
        name: String,
    },
    /// Mistakes in a source.
    #[error("{0}")]
    Mistakes(Mistakes),
    /// A name that is not in the inventory.
    #[error("the inventory has no host `{0}`")]
    UnknownHost(HostName),
    /// The vars of a host don't state how to connect.
    #[error("can't tell how to reach {host}: {message}\n  --> {file}{}", at_line(*line))]
    Connection {
        /// The host.
        host: HostName,
        /// What is wrong, with the var's name.
        message: String,
        /// The file that sets the var.
        file: String,
        /// The line that sets it; 0 if unknown.
        line: usize,
    },
    /// A pattern that can't be parsed, or has a term that matches nothing.
    #[error("{0}")]
    Pattern(SourceError),
    /// The pattern's terms all match something, but no host is left.
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
