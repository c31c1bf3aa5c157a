//! Output of hosts as it arrives, in whole lines.

use std::collections::HashMap;

use reveille_account::{HostName, Stream};
use reveille_text::harmless;

/// Bytes of a line that are held until its end comes.
const LINE: usize = 16 * 1024;
/// Bytes that are held of all hosts together.
const ALL: usize = 16 * 1024 * 1024;
/// How long a part of a line is held on a terminal, in milliseconds.
const HELD_MS: u64 = 1000;

/// How a line of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line of standard output.
    Stdout,
    /// A line of standard error.
    Stderr,
    /// The host's line goes on.
    More,
    /// A step starts.
    Starts,
    /// A step has ended.
    Ended,
}

/// A line of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The host.
    pub host: HostName,
    /// How it begins.
    pub mark: Mark,
    /// The stream it came from.
    pub stream: Stream,
    /// The text, without control characters except for tabs.
    pub text: String,
}

/// Makes lines of the bytes that hosts send.
///
/// A line is given as soon as it is whole. A part of a line is held for a second if a person watches, otherwise until
/// its end; in any case only up to 16 KiB, and 16 MiB of all hosts.
#[derive(Debug)]
pub struct Lines {
    /// Whether parts of lines are given after a second.
    impatient: bool,
    parts: HashMap<(HostName, Stream), Part>,
    held: usize,
}

/// The part of a line that has come.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    /// When its first byte came, or when some of it was given.
    since_ms: u64,
    /// The beginning of this line has been given.
    given: bool,
    /// What was given last of a line that overwrites itself.
    state: String,
}

// === impl Mark ===

impl Mark {
    /// The character on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Mark::Stdout => "|",
            Mark::Stderr => "!",
            Mark::More => "+",
            Mark::Starts => ">",
            Mark::Ended => "=",
        }
    }
}

// === impl Lines ===

impl Lines {
    /// No host has said anything. With `impatient`, parts of lines are given after a second.
    pub fn new(impatient: bool) -> Self {
        Self {
            impatient,
            parts: HashMap::new(),
            held: 0,
        }
    }

    /// Takes bytes of a host, and adds the lines that are whole to `said`.
    pub fn take(&mut self, host: &HostName, stream: Stream, bytes: &[u8], now_ms: u64, said: &mut Vec<Said>) {
        let key = (host.clone(), stream);
        let mut part = self.parts.remove(&key).unwrap_or_default();
        self.held -= part.bytes.len();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            part.bytes.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            give(&key, &mut part, said);
            part = Part::default();
        }
        if !rest.is_empty() || part.given || !part.bytes.is_empty() {
            if part.bytes.is_empty() {
                part.since_ms = now_ms;
            }
            part.bytes.extend_from_slice(rest);
            while part.bytes.len() > LINE {
                let after = part.bytes.split_off(character_end(&part.bytes, LINE));
                give(&key, &mut part, said);
                part = Part {
                    bytes: after,
                    since_ms: now_ms,
                    given: true,
                    state: String::new(),
                };
            }
            if self.held + part.bytes.len() > ALL {
                give_part(&key, &mut part, now_ms, said);
            }
            self.held += part.bytes.len();
            self.parts.insert(key, part);
        }
    }

    /// Adds the parts of lines that have been held for long enough.
    pub fn due(&mut self, now_ms: u64, said: &mut Vec<Said>) {
        if !self.impatient {
            return;
        }
        for (key, part) in &mut self.parts {
            if !part.bytes.is_empty() && now_ms >= part.since_ms + HELD_MS {
                self.held -= part.bytes.len();
                give_part(key, part, now_ms, said);
                self.held += part.bytes.len();
            }
        }
    }

    /// A command of the host has ended: adds what is held of it.
    pub fn end(&mut self, host: &HostName, said: &mut Vec<Said>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let key = (host.clone(), stream);
            if let Some(mut part) = self.parts.remove(&key) {
                self.held -= part.bytes.len();
                if !part.bytes.is_empty() {
                    give(&key, &mut part, said);
                }
            }
        }
    }

    /// Some of the host's output was left out, so that parts of lines do not fit what comes.
    pub fn forget(&mut self, host: &HostName) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(part) = self.parts.remove(&(host.clone(), stream)) {
                self.held -= part.bytes.len();
            }
        }
    }
}

/// Gives a line that is whole, or as long as a line may be.
fn give(key: &(HostName, Stream), part: &mut Part, said: &mut Vec<Said>) {
    let bytes = part.bytes.strip_suffix(b"\r").unwrap_or(&part.bytes);
    let text = text_of(last_state(bytes));
    if part.given && (text.is_empty() || text == part.state) {
        return;
    }
    said.push(line(key, part.given, text));
}

/// Gives the part of a line that has come so far.
fn give_part(key: &(HostName, Stream), part: &mut Part, now_ms: u64, said: &mut Vec<Said>) {
    part.since_ms = now_ms;
    if part.bytes.contains(&b'\r') {
        // A line that overwrites itself: its newest state, and only that is kept.
        let bytes = part.bytes.strip_suffix(b"\r").unwrap_or(&part.bytes);
        let state = last_state(bytes).to_vec();
        let text = text_of(&state);
        if text != part.state && !text.is_empty() {
            said.push(line(key, part.given, text.clone()));
            part.given = true;
            part.state = text;
        }
        // What comes next may overwrite it.
        let end: &[u8] = if part.bytes.ends_with(b"\r") { b"\r" } else { b"" };
        part.bytes = [b"\r", &*state, end].concat();
        return;
    }
    let after = part.bytes.split_off(character_end(&part.bytes, part.bytes.len()));
    if !part.bytes.is_empty() {
        said.push(line(key, part.given, text_of(&part.bytes)));
        part.given = true;
    }
    part.bytes = after;
}

fn line((host, stream): &(HostName, Stream), goes_on: bool, text: String) -> Said {
    let mark = match stream {
        _ if goes_on => Mark::More,
        Stream::Stdout => Mark::Stdout,
        Stream::Stderr => Mark::Stderr,
    };
    Said {
        host: host.clone(),
        mark,
        stream: *stream,
        text,
    }
}

/// What is left on a terminal of a line that overwrites itself.
fn last_state(bytes: &[u8]) -> &[u8] {
    let at = bytes
        .iter()
        .rposition(|byte| *byte == b'\r')
        .map_or(0, |at| at + 1);
    &bytes[at..]
}

fn text_of(bytes: &[u8]) -> String {
    harmless::block_of_bytes(bytes).replace('\n', " ")
}

/// The end of the last whole character in the first `most` bytes; `most` if they are not UTF-8 there.
fn character_end(bytes: &[u8], most: usize) -> usize {
    let most = most.min(bytes.len());
    for back in 1..=3.min(most) {
        let byte = bytes[most - back];
        if byte & 0xc0 == 0x80 {
            continue;
        }
        let needs = match byte {
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => 1,
        };
        return if needs > back { most - back } else { most };
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that come of `pieces`, given half a second apart.
    fn lines(impatient: bool, pieces: &[&[u8]]) -> Vec<String> {
        let host = HostName::from("h");
        let mut lines = Lines::new(impatient);
        let mut said = Vec::new();
        let mut now = 0;
        for piece in pieces {
            lines.take(&host, Stream::Stdout, piece, now, &mut said);
            now += 500;
            lines.due(now, &mut said);
        }
        lines.end(&host, &mut said);
        said.into_iter()
            .map(|said| format!("{} {}", said.mark.as_str(), said.text))
            .collect()
    }

    #[test]
    fn a_line_is_given_when_it_is_whole() {
        assert_eq!(
            lines(true, &[b"one\ntw", b"o\nthree"]),
            ["| one", "| two", "| three"]
        );
        assert_eq!(lines(false, &[b"a", b"", b"", b"", b"b\n"]), ["| ab"]);
        assert_eq!(lines(true, &[b"a", b"", b"", b"", b"b\n"]), ["| a", "+ b"]);
        assert_eq!(lines(true, &[b"\n\n", b"x\r\n"]), ["| ", "| ", "| x"]);
    }

    #[test]
    fn characters_are_not_torn() {
        let euro = "€".as_bytes();
        assert_eq!(lines(true, &[&euro[..1], &euro[1..], b"\n"]), ["| €"]);
        let pieces: [&[u8]; 5] = [b"a", &euro[..2], b"", b"", &euro[2..]];
        assert_eq!(lines(true, &pieces), ["| a", "+ €"]);
        assert_eq!(lines(true, &[b"\xff\xfe\n"]), ["| \u{fffd}\u{fffd}"]);
    }

    #[test]
    fn a_line_that_overwrites_itself_shows_its_last_state() {
        assert_eq!(lines(true, &[b"1 %\r2 %\r3 %\n"]), ["| 3 %"]);
        let slow: [&[u8]; 6] = [b"37 %\r", b"50 %\r", b"61 %\r", b"61 %\r", b"61 %\r", b"100 %\n"];
        assert_eq!(lines(true, &slow), ["| 50 %", "+ 61 %", "+ 100 %"]);
        assert_eq!(lines(false, &slow), ["| 100 %"]);
        let slower: [&[u8]; 6] = [b"20 %\r", b"", b"", b"30 %\r", b"", b"end\n"];
        assert_eq!(lines(true, &slower), ["| 20 %", "+ 30 %", "+ end"]);
    }

    #[test]
    fn long_lines_are_given_in_parts() {
        let long = vec![b'x'; 40_000];
        let said = lines(false, &[&long, b"\n"]);
        let lengths: Vec<usize> = said.iter().map(|line| line.len() - 2).collect();
        assert_eq!(lengths, [LINE, LINE, 40_000 - 2 * LINE]);
        assert!(
            said[0].starts_with("| x") && said[1].starts_with("+ x"),
            "{}",
            &said[1][..3]
        );
    }

    #[test]
    fn what_is_held_of_all_hosts_is_bounded() {
        let mut lines = Lines::new(false);
        let mut said = Vec::new();
        for host in 0..2000 {
            let host = HostName::from(format!("h{host}"));
            lines.take(&host, Stream::Stdout, &[b'x'; 10_000], 0, &mut said);
        }
        assert!(lines.held <= ALL, "{}", lines.held);
        let all: usize = said.iter().map(|said| said.text.len()).sum();
        assert_eq!(all + lines.held, 2000 * 10_000);
    }

    proptest::proptest! {
        #[test]
        fn no_byte_is_lost(pieces in proptest::collection::vec("[a-z€é\n]{0,12}", 0..12), cuts in proptest::collection::vec(0usize..30, 0..12)) {
            let text: String = pieces.concat();
            let mut bytes = text.as_bytes();
            let mut torn: Vec<&[u8]> = Vec::new();
            for cut in cuts {
                let (piece, rest) = bytes.split_at(cut.min(bytes.len()));
                torn.push(piece);
                bytes = rest;
            }
            torn.push(bytes);
            let whole = lines(false, &torn);
            let expected: Vec<String> = text.lines().map(|line| format!("| {line}")).collect();
            proptest::prop_assert_eq!(whole, expected);
            let parts: String = lines(true, &torn)
                .iter()
                .map(|line| if line.starts_with('+') { line[2..].to_owned() } else { format!("\n{}", &line[2..]) })
                .collect();
            let lines: Vec<&str> = text.lines().collect();
            let expected = if lines.is_empty() { String::new() } else { format!("\n{}", lines.join("\n")) };
            proptest::prop_assert_eq!(parts, expected);
        }
    }
}
