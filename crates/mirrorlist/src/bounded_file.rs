//! Reads whole files up to a limit: a device has no end, and a wrong file may be larger than memory.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::Reason;

/// Reads a file of at most `longest` bytes.
pub(crate) fn read(path: &Path, longest: u64) -> Result<Vec<u8>, Reason> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(longest);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(Reason::TooLong { longest });
    }
    Ok(bytes)
}

/// The same for text.
pub(crate) fn read_text(path: &Path, longest: u64) -> Result<String, Reason> {
    String::from_utf8(read(path, longest)?).map_err(|error| {
        let text_before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Reason::Line {
            line: text_before.split(|byte| *byte == b'\n').count(),
            what: "not text in UTF-8".to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        let error = read(Path::new("/dev/zero"), 16 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "longer than 16 MiB, which no such file is; is it the right one?"
        );
    }

    #[test]
    fn the_limit_is_exact_and_the_line_that_is_no_text_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "1\n2\n").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "1\n2\n");
        assert!(read_text(&path, 3).is_err());
        std::fs::write(&path, b"1\n\xff\n").unwrap();
        assert!(matches!(read_text(&path, 4), Err(Reason::Line { line: 2, .. })));
    }
}
