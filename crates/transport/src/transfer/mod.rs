//! Files and directories there and back, over a command channel: no SFTP server is needed, and `become` works as for
//! commands.
//!
//! A file arrives under a temporary name beside its destination, is checked, and is renamed into place; a directory is
//! unpacked beside its destination, and each of its files is renamed into place. What the host has already, told by
//! SHA-256, is not sent again, and a copy that broke off goes on where it stopped. Whether anything changed is told by
//! content, mode and owner.
//!
//! ```text
//!             host: it is there, with this hash ── have ──▶ mode and owner only
//!  orders ──▶ host: so many blocks of it are ──── n ─────▶ the rest
//!             host: nothing ────────────────────── 0 ─────▶ all of it
//! ```

mod download;
mod original;
mod pull;
mod push;
mod script;
mod stream;
mod tree;
mod upload;

use std::path::{Component, Path};

use crate::error::ExecError;
use crate::supervisor::channel::ChannelError;

pub use download::{Fetched, download};
pub use original::Original;
pub use upload::{Sent, upload};

/// Where something goes and what it becomes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The remote path. A file goes into a directory that is there under `name`.
    pub path: String,
    /// The name of what is copied. A directory goes to `path/name`, or, if this is empty, what is in it goes to `path`.
    pub name: String,
    /// Octal mode of files; without it a file gets that of the file it replaces, or 0644, and the files of a directory
    /// keep theirs.
    pub mode: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Group.
    pub group: Option<String>,
}

/// Something that was not copied.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The command behind the copy could not be started.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The connection broke; another try goes on where this one stopped.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The host said why not.
    #[error("{0}")]
    Remote(String),
    /// The local side failed.
    #[error("{0}")]
    Local(#[from] std::io::Error),
    /// The login shell or `become` gave us no way to run the copy.
    #[error("{message}")]
    Refused {
        /// `no_shell`, `become_failed` or `become_missing`.
        class: reveille_account::Class,
        /// What was seen.
        message: String,
    },
}

// === impl TransferError ===

impl TransferError {
    /// What a frame says that is not the one that was waited for.
    fn said(words: &str) -> Self {
        Self::Remote(words.strip_prefix("error ").unwrap_or(words).to_owned())
    }
}

impl From<ChannelError> for TransferError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Exec(error) => Self::Exec(error),
            ChannelError::Lost(why) => Self::Lost(why),
            ChannelError::Refused { class, message } => Self::Refused { class, message },
            ChannelError::Said(words) => Self::Remote(words),
        }
    }
}

/// The last component of a remote path, if it is fit to be a local file name.
pub fn safe_name(path: &str) -> Option<&str> {
    let name = Path::new(path).components().next_back()?;
    match name {
        Component::Normal(name) => name.to_str().filter(|name| !name.chars().any(char::is_control)),
        _ => None,
    }
}

/// What a host says of a hash: 64 hexadecimal digits.
fn is_hash(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_local_files() {
        assert_eq!(safe_name("/etc/passwd"), Some("passwd"));
        assert_eq!(safe_name("../../x"), Some("x"));
        for bad in ["", "/", "..", "a/..", "x/\u{1b}[2J"] {
            assert_eq!(safe_name(bad), None, "{bad}");
        }
    }
}
