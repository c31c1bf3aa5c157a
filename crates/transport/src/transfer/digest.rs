//! Hashes of files, and what identifies a version of one.

use std::fs::Metadata;
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// How many bytes to read at a time while computing a hash.
const READ: usize = 256 * 1024;
/// The length of an identity, in hexadecimal digits.
pub(super) const IDENTITY: usize = 16;

/// The hexadecimal SHA-256 of `source`.
pub(super) fn hash_of(mut source: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(HEXLOWER.encode(&hasher.finalize())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A short name that identifies `parts`.
pub(super) fn identity<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    HEXLOWER.encode(&hasher.finalize())[..IDENTITY].to_owned()
}

/// A file's modification time as bytes.
pub(super) fn stamp(metadata: &Metadata) -> [u8; 16] {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    modified
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
        .to_le_bytes()
}
