//! Files of bounded length. Devices and pipes do not say how long they are, so it is counted while they are read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The bytes of a file that has no more than `most`.
pub(crate) fn bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// The same, as text.
pub(crate) fn text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, most)?).map_err(|_| io::Error::other("it is not text (UTF-8)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_without_an_end_is_read() {
        assert!(text(Path::new("/dev/zero"), 1 << 20).is_err());
        assert_eq!(text(Path::new("/dev/null"), 1 << 20).ok().as_deref(), Some(""));
    }
}
