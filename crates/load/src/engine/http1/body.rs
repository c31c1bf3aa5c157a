//! Finds the end of an answer's body.

use super::wrong::Wrong;

/// The longest line before a chunk, in bytes.
const MAX_LINE: u32 = 8 << 10;
/// The longest trailers, in bytes.
const MAX_TRAILERS: u32 = 64 << 10;
/// The most hexadecimal digits of a chunk's size.
const MAX_DIGITS: u32 = 15;

/// What remains of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// No body.
    None,
    /// This many bytes.
    Length(u64),
    Chunked(Chunked),
    /// Everything until the connection ends.
    ToTheEnd,
}

/// ```text
///  size ──► extension ──► end of line ──► data ──► end of data ──► size …
///                               └─ size 0 ──► trailers ──► done
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunked {
    at: Place,
    /// The digits of the size, bytes of the line, or bytes of the trailers so far.
    seen: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size(u64),
    Extension(u64),
    /// After the carriage return.
    LineEnd(u64),
    Data(u64),
    DataReturn,
    DataEnd,
    /// At the beginning of a trailer's line, or in it.
    Trailer {
        empty: bool,
    },
    TrailerEnd {
        empty: bool,
    },
    Done,
}

// === impl Body ===

impl Body {
    pub(super) fn chunked() -> Self {
        Body::Chunked(Chunked {
            at: Place::Size(0),
            seen: 0,
        })
    }

    /// Takes the body's part from the front of `bytes`, passes its content to `sink`, and returns the length of the part.
    pub(super) fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Wrong> {
        match self {
            Body::None => Ok(0),
            Body::Length(left) => Ok(content(left, bytes, sink)),
            Body::Chunked(chunked) => chunked.take(bytes, sink),
            Body::ToTheEnd => {
                if !bytes.is_empty() {
                    sink(bytes);
                }
                Ok(bytes.len())
            }
        }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Body::None => true,
            Body::Length(left) => *left == 0,
            Body::Chunked(chunked) => chunked.at == Place::Done,
            Body::ToTheEnd => false,
        }
    }
}

/// Passes on at most `left` bytes.
fn content(left: &mut u64, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> usize {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    if length > 0 {
        sink(&bytes[..length]);
    }
    *left -= length as u64;
    length
}

// === impl Chunked ===

impl Chunked {
    fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Wrong> {
        let mut used = 0;
        while used < bytes.len() && self.at != Place::Done {
            if let Place::Data(left) = &mut self.at {
                used += content(left, &bytes[used..], sink);
                if *left == 0 {
                    self.at = Place::DataReturn;
                }
            } else {
                self.step(bytes[used])?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// Takes one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<(), Wrong> {
        self.seen += 1;
        self.at = match (self.at, byte) {
            (Place::Size(size), _) if byte.is_ascii_hexdigit() => {
                if self.seen > MAX_DIGITS {
                    return Err(Wrong::new("the size of a chunk is too large"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Place::Size(size << 4 | u64::from(digit))
            }
            (Place::Size(_), _) if self.seen == 1 => {
                return Err(Wrong::new("a chunk has no size"));
            }
            (Place::Size(size) | Place::Extension(size), b'\r') => Place::LineEnd(size),
            (Place::Size(size), b';' | b' ' | b'\t') => Place::Extension(size),
            (Place::Extension(size), _) if byte != b'\n' => {
                if self.seen > MAX_LINE {
                    return Err(Wrong::new("the line before a chunk is too long"));
                }
                Place::Extension(size)
            }
            (Place::LineEnd(size), b'\n') => {
                self.seen = 0;
                if size == 0 {
                    Place::Trailer { empty: true }
                } else {
                    Place::Data(size)
                }
            }
            (Place::DataReturn, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => {
                self.seen = 0;
                Place::Size(0)
            }
            (Place::Trailer { empty }, b'\r') => Place::TrailerEnd { empty },
            (Place::Trailer { .. }, _) if byte != b'\n' => {
                if self.seen > MAX_TRAILERS {
                    return Err(Wrong::new("the trailers are too long"));
                }
                Place::Trailer { empty: false }
            }
            (Place::TrailerEnd { empty: true }, b'\n') => Place::Done,
            (Place::TrailerEnd { empty: false }, b'\n') => Place::Trailer { empty: true },
            (Place::Size(_), _) => return Err(Wrong::new("the size of a chunk is not a number")),
            _ => return Err(Wrong::new("a chunk does not end with CR LF")),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, the number of bytes that are left over, and whether the body has ended.
    fn read(text: &str) -> Result<(String, usize, bool), Wrong> {
        let (mut body, mut all) = (Body::chunked(), Vec::new());
        let used = body.take(text.as_bytes(), &mut |bytes| all.extend_from_slice(bytes))?;
        let all = String::from_utf8(all).expect("text");
        Ok((all, text.len() - used, body.is_done()))
    }

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(
            read("5\r\nhello\r\n0\r\n\r\nrest"),
            Ok(("hello".to_owned(), 4, true))
        );
        assert_eq!(
            read("2;a=\"b\"\r\nhe\r\n0003 \r\nllo\r\n00\r\nx: y\r\nz:\r\n\r\n"),
            Ok(("hello".to_owned(), 0, true))
        );
        assert_eq!(read("A\r\nhello"), Ok(("hello".to_owned(), 0, false)));
    }

    #[test]
    fn invalid_chunks_are_errors() {
        for bad in [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "-5\r\nhello\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\rx",
            "0\r\n\n",
            "fffffffffffffffff\r\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let long = format!("5;{}", "x".repeat(MAX_LINE as usize + 1));
        assert!(read(&long).is_err());
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MAX_TRAILERS as usize / 6 + 2));
        assert!(read(&trailers).is_err());
    }
}
