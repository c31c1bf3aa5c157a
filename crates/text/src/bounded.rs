//! Reads whole files up to a limit. Devices and pipes do not report a length, and a wrong path may name an endless
//! file, so the bytes are counted while they are read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::Bytes;

/// Why a file was not read. The text completes "can't read FILE: …".
#[derive(Debug)]
pub enum ReadError {
    /// The system refused.
    Io(io::Error),
    /// The file is longer than the limit.
    TooLong {
        /// The limit in bytes.
        most: u64,
    },
    /// The file is not UTF-8.
    NotText {
        /// The first line that is not, from 1.
        line: usize,
    },
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
///
/// The file can't be read, or is longer.
pub fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(most);
    bytes_into(
        Vec::with_capacity(usize::try_from(length).unwrap_or(0)),
        file,
        most,
    )
}

/// Like [`bytes`], as text.
///
/// # Errors
///
/// The file can't be read, is longer, or is not UTF-8.
pub fn text(path: &Path, most: u64) -> Result<String, ReadError> {
    text_from(bytes(path, most)?)
}

/// Reads at most `most` bytes from a source.
///
/// # Errors
///
/// The source can't be read, or is longer.
pub fn bytes_of(source: impl Read, most: u64) -> Result<Vec<u8>, ReadError> {
    bytes_into(Vec::new(), source, most)
}

/// Like [`bytes_of`], as text.
///
/// # Errors
///
/// The source can't be read, is longer, or is not UTF-8.
pub fn text_of(source: impl Read, most: u64) -> Result<String, ReadError> {
    text_from(bytes_of(source, most)?)
}

fn bytes_into(mut bytes: Vec<u8>, source: impl Read, most: u64) -> Result<Vec<u8>, ReadError> {
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLong { most });
    }
    Ok(bytes)
}

fn text_from(bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        ReadError::NotText {
            line: before.split(|byte| *byte == b'\n').count(),
        }
    })
}

// === impl ReadError ===

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::TooLong { most } => write!(formatter, "it is larger than {}", limit(*most)),
            Self::NotText { line } => write!(formatter, "line {line} is not text in UTF-8"),
        }
    }
}

/// A limit in the unit it was set in: `4 MiB`, `64 KiB`.
fn limit(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => Bytes(bytes).to_string(),
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused() {
        let error = text(Path::new("/dev/zero"), 16 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 16 MiB");
        assert_eq!(text(Path::new("/dev/null"), 0).unwrap(), "");
        assert!(matches!(bytes(Path::new("/nowhere"), 1), Err(ReadError::Io(_))));
    }

    #[test]
    fn the_limit_is_exact_and_the_line_that_is_not_text_is_named() {
        assert_eq!(text_of(&b"1\n2\n"[..], 4).unwrap(), "1\n2\n");
        let error = text_of(&b"1\n2\n"[..], 3).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 3 B");
        let error = text_of(&b"1\n\xff\n"[..], 4).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not text in UTF-8");
    }
}
