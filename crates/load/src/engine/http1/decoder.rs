//! Decodes an answer from bytes, in any pieces.

use super::body::Body;
use super::head::{Head, MAX_HEAD};
use super::wrong::Wrong;

/// The most answers with a status of 1xx before the final one.
const MAX_INTERIM: u8 = 16;

/// An answer that is being read.
#[derive(Debug)]
pub(crate) struct Decoder {
    is_head: bool,
    /// The beginning of a head.
    partial: Vec<u8>,
    interim: u8,
    head: Option<Head>,
    surplus: bool,
    ended: bool,
}

// === impl Decoder ===

impl Decoder {
    pub(super) fn new(is_head: bool) -> Self {
        Self {
            is_head,
            partial: Vec::new(),
            interim: 0,
            head: None,
            surplus: false,
            ended: false,
        }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Wrong> {
        if self.head.is_some() {
            return self.content(bytes, sink);
        }
        if self.partial.is_empty() {
            let used = self.heads(bytes)?;
            return if self.head.is_some() {
                self.content(&bytes[used..], sink)
            } else {
                self.partial.extend_from_slice(&bytes[used..]);
                Ok(())
            };
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        // A head that comes byte by byte is not parsed again with each byte.
        let used = if bytes.contains(&b'\n') || all.len() >= MAX_HEAD {
            self.heads(&all)?
        } else {
            0
        };
        if self.head.is_some() {
            return self.content(&all[used..], sink);
        }
        all.drain(..used);
        self.partial = all;
        Ok(())
    }

    /// Takes heads from the front of `bytes`, up to the final answer's.
    fn heads(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let mut used = 0;
        while used < bytes.len() {
            let Some((head, length)) = Head::parse(&bytes[used..], self.is_head)? else {
                break;
            };
            used += length;
            match head.status {
                101 => return Err(Wrong::new("the service switched to another protocol")),
                100..=199 => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Err(Wrong::new("too many interim answers"));
                    }
                }
                _ => {
                    self.head = Some(head);
                    break;
                }
            }
        }
        Ok(used)
    }

    fn content(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Wrong> {
        if let Some(head) = &mut self.head {
            let used = head.body.take(bytes, sink)?;
            self.surplus |= used < bytes.len();
        }
        Ok(())
    }

    /// Notes the end of the connection; returns whether the answer is complete.
    pub(super) fn end(&mut self) -> bool {
        self.ended = true;
        self.is_done()
    }

    /// Whether a part of an answer has come.
    pub(super) fn has_begun(&self) -> bool {
        self.head.is_some() || self.interim > 0 || !self.partial.is_empty()
    }

    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    pub(super) fn is_done(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| head.body.is_done() || (self.ended && head.body == Body::ToTheEnd))
    }

    /// Whether the connection can be used again: the answer permits it, and nothing came after it.
    pub(super) fn keeps(&self) -> bool {
        self.is_done() && !self.surplus && !self.ended && self.head.as_ref().is_some_and(|head| head.keeps)
    }

    pub(super) fn into_head(self) -> Option<Head> {
        self.head
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a user sees of an answer.
    #[derive(Debug, PartialEq, Eq)]
    struct Seen {
        status: Option<u16>,
        content: Vec<u8>,
        done: bool,
        keeps: bool,
        wrong: bool,
    }

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, ends: bool) -> Seen {
        let (mut decoder, mut content, mut wrong) = (Decoder::new(false), Vec::new(), false);
        for piece in pieces {
            if decoder.is_done() && !piece.is_empty() {
                decoder.surplus = true;
                break;
            }
            let mut sink = |bytes: &[u8]| content.extend_from_slice(bytes);
            if decoder.take(piece, &mut sink).is_err() {
                wrong = true;
                break;
            }
            assert!(decoder.partial.len() <= MAX_HEAD);
        }
        if ends && !wrong {
            decoder.end();
        }
        Seen {
            status: decoder.head().map(|head| head.status),
            done: decoder.is_done(),
            keeps: !wrong && decoder.keeps(),
            wrong,
            content,
        }
    }

    fn once(text: &[u8], ends: bool) -> Seen {
        read([text], ends)
    }

    #[test]
    fn interim_answers_are_skipped() {
        let seen = once(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            false,
        );
        assert_eq!(
            (seen.status, &seen.content[..], seen.keeps),
            (Some(200), &b"ok"[..], true)
        );
        let endless = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(50);
        assert!(once(&endless, false).wrong);
        assert!(once(b"HTTP/1.1 101 Switching\r\n\r\n", false).wrong);
    }

    #[test]
    fn data_after_an_answer_ends_its_connection() {
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert!(once(answer, false).keeps);
        let seen = once(&[&answer[..], b"HTTP/1.1 200 OK\r\n\r\n"].concat(), false);
        assert!(seen.done && !seen.keeps && seen.content.is_empty());
    }

    #[test]
    fn the_end_of_a_connection_ends_only_bodies_without_a_length() {
        let seen = once(b"HTTP/1.1 200 OK\r\n\r\nall of it", true);
        assert!(seen.done && !seen.keeps);
        assert_eq!(seen.content, b"all of it");
        for cut in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            assert!(!once(cut.as_bytes(), true).done, "{cut:?}");
        }
    }

    /// An answer whose body is framed in one way or another.
    fn answer(framing: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
        let content = chunks.concat();
        let mut bytes = b"HTTP/1.1 200 OK\r\nserver: x\r\n".to_vec();
        match framing {
            0 => {
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
                bytes.extend_from_slice(&content);
            }
            1 => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    bytes.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\ntrailer: x\r\n\r\n");
            }
            _ => {
                bytes.extend_from_slice(b"\r\n");
                bytes.extend_from_slice(&content);
            }
        }
        bytes
    }

    /// Cuts `bytes` at places.
    fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut from = 0;
        let mut pieces = Vec::new();
        for place in places {
            pieces.push(&bytes[from..place]);
            from = place;
        }
        pieces.push(&bytes[from..]);
        pieces
    }

    proptest! {
        #[test]
        fn answers_arrive_in_any_pieces(
            framing in 0u8..3,
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = answer(framing, &chunks);
            let seen = read(cut(&bytes, &places), framing == 2);
            prop_assert_eq!(seen, Seen {
                status: Some(200),
                content: chunks.concat(),
                done: true,
                keeps: framing != 2,
                wrong: false,
            });
        }

        #[test]
        fn garbage_is_the_same_in_any_pieces(
            framing in 0u8..3,
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
            spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            ends: bool,
        ) {
            let mut bytes = answer(framing, &chunks);
            for (place, byte) in spoilt {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let whole = once(&bytes, ends);
            let pieces = read(cut(&bytes, &places), ends);
            if whole.wrong {
                // A head is parsed line by line: a mistake in its last line may not have been parsed yet.
                prop_assert!(!pieces.done);
            } else {
                prop_assert_eq!(pieces, whole);
            }
        }

        #[test]
        fn nothing_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6), ends: bool) {
            read(pieces.iter().map(Vec::as_slice), ends);
        }
    }
}
