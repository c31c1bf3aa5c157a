//! Separates the supervisor's frames from the command's output, which shares the stream.
//!
//! A frame is the byte 0x1e, the nonce of the channel, a space, words, a newline. The nonce is random and sent on
//! standard input only, so the command can't forge frames. Bytes that may be the beginning of a frame are held back
//! until this is decided.

use bytes::{Bytes, BytesMut};

/// The longest frame.
const FRAME_LIMIT: usize = 4096;

/// A piece of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the command (or noise, before the first frame).
    Data(Bytes),
    /// The words of a frame.
    Frame(String),
}

/// Splits a stream into frames and data.
#[derive(Debug)]
pub(crate) struct Splitter {
    mark: Vec<u8>,
    held: BytesMut,
}

// === impl Splitter ===

impl Splitter {
    pub(crate) fn new(nonce: &str) -> Self {
        Self {
            mark: format!("\u{1e}{nonce} ").into_bytes(),
            held: BytesMut::new(),
        }
    }

    /// Takes a chunk and returns the pieces that are complete.
    pub(crate) fn feed(&mut self, chunk: Bytes) -> Vec<Piece> {
        if self.held.is_empty() && !chunk.contains(&self.mark[0]) {
            return if chunk.is_empty() {
                Vec::new()
            } else {
                vec![Piece::Data(chunk)]
            };
        }
        self.held.extend_from_slice(&chunk);
        let mut pieces = Vec::new();
        loop {
            let start = self.start_of_frame();
            if start > 0 {
                pieces.push(Piece::Data(self.held.split_to(start).freeze()));
            }
            if self.held.len() < self.mark.len() {
                return pieces;
            }
            let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else {
                if self.held.len() > FRAME_LIMIT {
                    pieces.push(Piece::Data(self.held.split().freeze()));
                }
                return pieces;
            };
            let frame = self.held.split_to(end + 1);
            pieces.push(Piece::Frame(
                String::from_utf8_lossy(&frame[self.mark.len()..end]).into_owned(),
            ));
        }
    }

    /// Returns the bytes that were held back, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| self.held.split().freeze())
    }

    /// Where a frame starts, or could start; the length if nowhere.
    fn start_of_frame(&self) -> usize {
        let mut from = 0;
        while let Some(found) = self.held[from..].iter().position(|byte| *byte == self.mark[0]) {
            let start = from + found;
            let rest = &self.held[start..];
            let common = rest.len().min(self.mark.len());
            if rest[..common] == self.mark[..common] {
                return start;
            }
            from = start + 1;
        }
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let mut splitter = Splitter::new("n0");
        let (mut data, mut frames) = (Vec::new(), Vec::new());
        for chunk in chunks {
            for piece in splitter.feed(Bytes::copy_from_slice(chunk)) {
                match piece {
                    Piece::Data(bytes) => data.extend_from_slice(&bytes),
                    Piece::Frame(words) => frames.push(words),
                }
            }
        }
        data.extend(splitter.finish().unwrap_or_default());
        (data, frames)
    }

    #[test]
    fn frames_and_data() {
        let (data, frames) = split(&[b"noise\x1en0 hello x\nab\x1ec\x1en1 no\n\x1en0 end", b" exit 0\n"]);
        assert_eq!(data, b"noiseab\x1ec\x1en1 no\n");
        assert_eq!(frames, ["hello x", "end exit 0"]);
    }

    proptest! {
        #[test]
        fn where_chunks_end_does_not_matter(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..12),
                Just(b"\x1en0 end exit 0\n".to_vec()),
                Just(b"\x1en0".to_vec()),
                Just(b"\x1e".to_vec()),
            ], 0..8),
            cuts in prop::collection::vec(1usize..9, 1..20),
        ) {
            let whole = parts.concat();
            let mut chunks = Vec::new();
            let mut rest = whole.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(split(&chunks), split(&[&whole]));
        }
    }
}
