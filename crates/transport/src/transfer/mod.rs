//! Copies files and directories in both directions over a command channel: this needs no SFTP server, and `become`
//! works as for commands.
//!
//! A file is sent to a temporary name beside its destination, checked, and renamed into place; a directory is unpacked
//! beside its destination, and each of its files is renamed into place. SHA-256 finds content that the host already
//! has, which is not sent again, and an interrupted copy is continued where it stopped. Whether anything changed is
//! decided by content, mode and owner.
//!
//! ```text
//!             host: it is there, with this hash ── have ──▶ mode and owner only
//!  orders ──▶ host: so many blocks of it are ──── n ─────▶ the rest
//!             host: nothing ────────────────────── 0 ─────▶ all of it
//! ```

mod compare;
mod digest;
mod download;
mod home;
mod listed;
mod original;
mod place;
mod pull;
mod push;
mod script;
mod stream;
mod tree;
mod upload;

use std::path::{Component, Path};

use bytes::{Bytes, BytesMut};

use crate::error::ExecError;
use crate::exec::Input;
use crate::session::Session;
use crate::supervisor::channel::{Channel, ChannelError};
use crate::supervisor::frames::Piece;

pub use compare::{SHOWN_BYTES, compare};
pub use download::download;
pub use original::Original;
pub use pull::Fetched;
pub use upload::{Sent, upload};

/// The destination of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The remote path; `~` and `~USER` at its beginning are home directories. If it is an existing directory, a file goes
    /// into it under `name`.
    pub path: String,
    /// The name of the copy. A directory goes to `path/name`, or, if `name` is empty, its contents go to `path`.
    pub name: String,
    /// Octal mode of files; by default a file gets the mode of the file that it replaces, or 0644, and the files of a
    /// directory keep theirs.
    pub mode: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Group.
    pub group: Option<String>,
}

/// What a copy would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The file or directory on the host.
    pub path: String,
    /// Each change in a few words; empty if nothing would change.
    pub changes: Vec<String>,
    /// The content of the host's file, if it exists and is small.
    pub before: Option<Bytes>,
    /// The content that it would get, if it is small.
    pub after: Option<Bytes>,
}

/// A failed copy.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The command behind the copy could not be started: also if the login shell or `become` did not let us.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The connection was lost; the next attempt continues where this one stopped.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The host reported a failure.
    #[error("{0}")]
    Remote(String),
    /// The local side failed.
    #[error("{0}")]
    Local(#[from] std::io::Error),
}

// === impl TransferError ===

impl TransferError {
    /// The error for an unexpected frame.
    fn said(words: &str) -> Self {
        Self::Remote(words.strip_prefix("error ").unwrap_or(words).to_owned())
    }
}

impl From<ChannelError> for TransferError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Exec(error) => Self::Exec(error),
            ChannelError::Lost(why) => Self::Lost(why),
            ChannelError::Said(words) => Self::Remote(words),
        }
    }
}

/// Names for the host, each ended by NUL.
fn list(names: impl IntoIterator<Item: AsRef<[u8]>>) -> Bytes {
    let mut list = BytesMut::new();
    for name in names {
        list.extend_from_slice(b"./");
        list.extend_from_slice(name.as_ref());
        list.extend_from_slice(b"\0");
    }
    list.freeze()
}

/// Sends all of the input. If the host has given up, the caller reads its reason.
async fn send_all(input: &Input, bytes: Bytes) {
    let _ = input.send(bytes).await;
    let _ = input.end().await;
}

/// Reads the data before the frame `end`; more than `limit` bytes are `too_long`.
async fn read_all(
    channel: &mut Channel,
    session: &Session,
    limit: usize,
    too_long: &str,
) -> Result<Vec<u8>, TransferError> {
    let mut data = Vec::new();
    loop {
        match channel.piece().await {
            Some(Piece::Data(bytes)) if data.len() + bytes.len() <= limit => data.extend_from_slice(&bytes),
            Some(Piece::Data(_)) => return Err(TransferError::Remote(too_long.to_owned())),
            Some(Piece::Frame(words)) if words == "end" => return Ok(data),
            Some(Piece::Frame(words)) => return Err(TransferError::said(&words)),
            None => return Err(TransferError::Lost(session.why_closed())),
        }
    }
}

/// The last component of a remote path, if it is a valid local file name.
pub fn safe_name(path: &str) -> Option<&str> {
    let name = Path::new(path).components().next_back()?;
    match name {
        Component::Normal(name) => name.to_str().filter(|name| !name.chars().any(char::is_control)),
        _ => None,
    }
}

/// Whether a host's word is a hash: 64 hexadecimal digits.
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
