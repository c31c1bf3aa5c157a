//! Removes what an `ssh` process adds to the output of its command.

use std::collections::VecDeque;
use std::process::ExitStatus;

use bytes::Bytes;

use crate::heard::Heard;
use crate::signal::signal_name;
use crate::supervisor::frames::{Piece, Splitter};

/// How many pieces of output may come before a command announces that it begins.
const BEGINNING_LIMIT: usize = 16;
/// How much of each piece before the beginning to search for the reason of a refusal, in bytes.
const PIECE_LIMIT: usize = 16 * 1024;

/// Recognizes and removes the words that announce the beginning and the end of a command.
#[derive(Debug)]
pub(crate) struct Passage {
    splitter: Splitter,
    terminal: bool,
    queue: VecDeque<Heard>,
    begun: bool,
    end: Option<i32>,
    broken: bool,
}

// === impl Passage ===

impl Passage {
    /// For a command that prints `word` when it begins and when it ends.
    pub(crate) fn new(word: &str, terminal: bool) -> Self {
        Self {
            splitter: Splitter::new(word),
            terminal,
            queue: VecDeque::new(),
            begun: false,
            end: None,
            broken: false,
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Heard> {
        self.queue.pop_front()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The output that was not returned yet.
    pub(crate) fn said(&self) -> String {
        let mut said = Vec::new();
        for heard in &self.queue {
            if let Heard::Stdout(bytes) | Heard::Stderr(bytes) = heard {
                said.extend_from_slice(&bytes[..bytes.len().min(PIECE_LIMIT)]);
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Whether there is more output than expected before the beginning.
    pub(crate) fn said_much(&self) -> bool {
        self.queue.len() > BEGINNING_LIMIT
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn push(&mut self, heard: Heard) {
        let bytes = match heard {
            Heard::Stdout(bytes) if self.terminal => bytes,
            Heard::Stderr(bytes) if !self.terminal => bytes,
            other => return self.queue.push_back(other),
        };
        for piece in self.splitter.feed(bytes) {
            match piece {
                Piece::Data(bytes) => self.queue.push_back(self.output(bytes)),
                Piece::Frame(words) => match words.trim().split_once(' ') {
                    None => self.begun |= words.trim() == "begun",
                    Some((_, number)) => self.end = number.parse().ok(),
                },
            }
        }
    }

    /// Bytes of the stream that the words are on.
    fn output(&self, bytes: Bytes) -> Heard {
        if self.terminal {
            Heard::Stdout(bytes)
        } else {
            Heard::Stderr(bytes)
        }
    }

    /// The event for the end of the process.
    pub(crate) fn ended(&mut self, status: ExitStatus) -> Heard {
        if let Some(held) = self.splitter.finish() {
            self.queue.push_back(self.output(held));
        }
        // Shells report signals this way; 255 and other statuses without a usual signal are the command's own.
        let signal = self.end.and_then(|end| signal_name(end.saturating_sub(128)));
        let heard = match (self.end, status.code()) {
            (Some(_), _) if let Some(signal) = signal => Heard::ExitSignal(signal.to_owned()),
            (Some(end), _) => Heard::ExitStatus(u32::try_from(end).unwrap_or(255)),
            // A forced command does not print our words; 255 is `ssh`'s own failure.
            (None, Some(code @ 0..255)) if !self.begun => Heard::ExitStatus(code.unsigned_abs()),
            (None, _) => {
                self.broken = true;
                Heard::Lost
            }
        };
        self.queue.push_back(heard);
        self.queue.pop_front().unwrap_or(Heard::Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_high_status_is_a_signal_only_if_there_is_a_usual_one() {
        let ended = |status: i32| {
            let mut passage = Passage::new("word", false);
            let frames = format!("\u{1e}word begun\n\u{1e}word end {status}\n");
            passage.push(Heard::Stderr(frames.into()));
            passage.ended(ExitStatus::from_raw(255 << 8))
        };
        for status in [0, 1, 128, 138, 192, 255] {
            let heard = ended(status);
            assert!(
                matches!(heard, Heard::ExitStatus(number) if number == status.unsigned_abs()),
                "{status}: {heard:?}"
            );
        }
        for (status, name) in [(137, "KILL"), (143, "TERM")] {
            let heard = ended(status);
            assert!(
                matches!(&heard, Heard::ExitSignal(signal) if signal == name),
                "{heard:?}"
            );
        }
    }
}
