//! Files as text: with a size limit, in UTF-8, decrypted if they are vaults.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use reveille_account::SourceError;
use reveille_text::bounded::{self, ReadError};
use zeroize::Zeroizing;

use super::builder::Builder;
use super::vault;
use crate::InventoryError;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads a file within the limit.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, InventoryError> {
    let fail = |source| InventoryError::read(path, source);
    bounded::bytes(path, MAX_FILE_BYTES).map_err(|error| match error {
        ReadError::Io(error) => fail(error),
        _ => InventoryError::TooLarge {
            path: path.to_owned(),
            bound: MAX_FILE_BYTES,
        },
    })
}

/// Reads the text of a file, encrypted or not.
pub(super) fn file_text(path: &Path, builder: &mut Builder) -> Result<Text, InventoryError> {
    let name = path.display().to_string();
    decrypted(decode(read_bytes(path)?, &name)?, &name, builder)
}

/// A file's text.
pub(super) struct Text {
    pub(super) text: Zeroizing<String>,
    /// The text came from a vault.
    pub(super) hidden: bool,
}

/// The text of a file, decrypted if it is a vault.
pub(super) fn decrypted(
    text: Zeroizing<String>,
    name: &str,
    builder: &mut Builder,
) -> Result<Text, InventoryError> {
    if !text.starts_with(vault::HEADER) {
        return Ok(Text { text, hidden: false });
    }
    let opened = builder
        .vault
        .open(&text)
        .map_err(|closed| closed.shown_at(|message| SourceError::whole(message, name)))?;
    let text = std::str::from_utf8(&opened)
        .map_err(|_| SourceError::whole("the content of this vault is not text in UTF-8", name))?;
    Ok(Text {
        text: Zeroizing::new(text.to_owned()),
        hidden: true,
    })
}

/// Decodes bytes, or reports where they stop being text.
pub(super) fn decode(bytes: Vec<u8>, name: &str) -> Result<Zeroizing<String>, SourceError> {
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let message = format!("this is a binary file: byte {at} is NUL");
        return Err(at_byte(&bytes, at, message, name));
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let message = format!("byte {at} (0x{:02x}) is not UTF-8", bytes[at]);
        at_byte(bytes, at, message, name)
    })
}

fn at_byte(bytes: &[u8], at: usize, message: String, name: &str) -> SourceError {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let (line, column) = reveille_document::position(&before, before.len());
    SourceError::at(message, name, "", line, column).hint("an inventory must be a text file in UTF-8")
}

/// The names in a directory, sorted.
pub(super) fn names(path: &Path) -> Result<Vec<OsString>, InventoryError> {
    let fail = |source| InventoryError::read(path, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        names.push(entry.map_err(fail)?.file_name());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_binary_file_are_counted() {
        let mistake = decode(b"web1\nweb\xff2".to_vec(), "h").expect_err("not UTF-8");
        assert_eq!((mistake.line, mistake.column), (2, 4));
        let mistake = decode(b"web1\n\0".to_vec(), "h").expect_err("NUL");
        assert_eq!((mistake.line, mistake.column), (2, 1));
    }
}
