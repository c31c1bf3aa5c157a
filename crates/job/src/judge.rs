//! Decides whether a finished command succeeded, from its exit status and its output.

use regex::bytes::RegexSet;
use reveille_account::{Class, Stream};
use reveille_text::harmless::{self, line as line_of, shortened};

use crate::step::{Rules, StderrRule, Step};

/// How much of a line patterns see, in bytes; the rest is not kept.
pub const MAX_LINE_BYTES: usize = 64 << 10;

/// The character that begins an escape sequence.
const ESCAPE: u8 = 0x1b;
/// How much of a matching line a verdict shows, in characters.
const SHOWN: usize = 200;

/// A finished command with all its output.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finished<'a> {
    /// The exit status, if there is one.
    pub exit_status: Option<i32>,
    /// The signal that killed it, without `SIG`.
    pub signal: Option<&'a str>,
    /// All of its standard output.
    pub stdout: &'a [u8],
    /// All of its standard error.
    pub stderr: &'a [u8],
}

/// The verdict on a finished command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `ok`, or the class of the failure.
    pub class: Class,
    /// Why, in a sentence without full stop; empty for `ok`.
    pub message: String,
    /// The command exited with 0 and wrote nothing.
    pub empty_output: bool,
}

/// Judges a command while its output arrives, in chunks of any size; keeps at most one line of each stream.
///
/// Patterns see one line at a time, without its newline, and only its first 64 KiB.
#[derive(Debug)]
pub struct Judge<'a> {
    rules: &'a Rules,
    stdout: Line,
    stderr: Line,
    seen: Seen,
    any_output: bool,
    /// Some of the output was lost.
    missed: bool,
}

/// An incomplete line.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// Whether there is a line; it may be empty.
    begun: bool,
}

/// What the lines so far contained; the first line of each kind.
#[derive(Debug, Default)]
struct Seen {
    fatal_stdout: Option<String>,
    fatal_stderr: Option<String>,
    rejected: Option<String>,
    expected: bool,
}

// === impl Step ===

impl Step {
    /// Judges a command from its complete output.
    pub fn judge(&self, finished: &Finished<'_>) -> Verdict {
        let mut judge = self.judging();
        judge.feed(Stream::Stdout, finished.stdout);
        judge.feed(Stream::Stderr, finished.stderr);
        judge.finish(finished.exit_status, finished.signal)
    }

    /// A judge for one attempt of the step.
    pub fn judging(&self) -> Judge<'_> {
        Judge {
            rules: &self.rules,
            stdout: Line::default(),
            stderr: Line::default(),
            seen: Seen::default(),
            any_output: false,
            missed: false,
        }
    }
}

// === impl Judge ===

impl Judge<'_> {
    /// Takes the next bytes of a stream.
    pub fn feed(&mut self, stream: Stream, chunk: &[u8]) {
        self.any_output |= !chunk.is_empty();
        if !self.rules.reads(stream) {
            return;
        }
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line(stream).push(&rest[..end]);
            self.end_line(stream);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            self.line(stream).push(rest);
        }
    }

    /// Records that some of the output was lost, so patterns can't be decided.
    pub fn miss(&mut self) {
        self.any_output = true;
        self.missed = true;
    }

    /// Whether a line was fatal, so that the command has failed whatever else it does.
    pub fn is_fatal(&self) -> bool {
        self.seen.fatal_stdout.is_some() || self.seen.fatal_stderr.is_some()
    }

    /// Returns the verdict after the command and both streams have ended.
    pub fn finish(mut self, exit_status: Option<i32>, signal: Option<&str>) -> Verdict {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.line(stream).begun {
                self.end_line(stream);
            }
        }
        let (class, message) = self.class(exit_status, signal);
        Verdict {
            class,
            message,
            empty_output: exit_status == Some(0) && !self.any_output,
        }
    }

    fn class(&self, exit_status: Option<i32>, signal: Option<&str>) -> (Class, String) {
        let seen = &self.seen;
        if let Some(line) = seen.fatal_stdout.as_ref().or(seen.fatal_stderr.as_ref()) {
            return (Class::FatalPattern, format!("a fatal pattern matched: {line}"));
        }
        if let Some(signal) = signal {
            return (Class::KilledBySignal, format!("ended by SIG{signal}"));
        }
        let Some(status) = exit_status else {
            return (
                Class::EarlyExit,
                "the command ended without an exit status".into(),
            );
        };
        let ok = if self.rules.ok_codes.is_empty() {
            status == 0
        } else {
            self.rules.ok_codes.contains(&status)
        };
        if !ok {
            return (Class::CommandFailed, format!("exit status {status}"));
        }
        if let Some(line) = &seen.rejected {
            return (
                Class::StderrRejected,
                format!("standard error has a line that fails the step: {line}"),
            );
        }
        if self.missed && self.might_differ() {
            return (
                Class::ResultUnknown,
                "some of the output that decides about success was lost".to_owned(),
            );
        }
        if let Some(expect) = &self.rules.expect
            && !seen.expected
        {
            return (
                Class::ExpectMissing,
                format!("no line of standard output matches `{expect}`"),
            );
        }
        (Class::Ok, String::new())
    }

    /// Whether a lost line could change a good verdict.
    fn might_differ(&self) -> bool {
        self.rules.fatal.is_some()
            || !matches!(self.rules.stderr, StderrRule::Anything)
            || (self.rules.expect.is_some() && !self.seen.expected)
    }

    fn line(&mut self, stream: Stream) -> &mut Line {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let (line, fatal) = match stream {
            Stream::Stdout => (&mut self.stdout, &mut self.seen.fatal_stdout),
            Stream::Stderr => (&mut self.stderr, &mut self.seen.fatal_stderr),
        };
        line.begun = false;
        let bytes = line.bytes.strip_suffix(b"\r").unwrap_or(&line.bytes);
        // Patterns see a line with its colours and without them.
        let plain = bytes
            .contains(&ESCAPE)
            .then(|| harmless::block_of_bytes(bytes).into_bytes());
        let plain = || plain.iter().flat_map(|lines| lines.split(|byte| *byte == b'\n'));
        let matching = |set: &RegexSet| set.is_match(bytes) || plain().any(|line| set.is_match(line));
        let matches = |set: &Option<RegexSet>| set.as_ref().is_some_and(matching);
        if fatal.is_none() && matches(&self.rules.fatal) {
            *fatal = Some(shown(bytes));
        }
        match stream {
            Stream::Stdout => {
                if !self.seen.expected
                    && let Some(expect) = &self.rules.expect
                {
                    self.seen.expected = expect.is_match(bytes) || plain().any(|line| expect.is_match(line));
                }
            }
            Stream::Stderr => {
                let rejected = match &self.rules.stderr {
                    StderrRule::Anything => false,
                    StderrRule::Nothing => !bytes.trim_ascii().is_empty(),
                    StderrRule::Without(set) => matching(set),
                };
                if self.seen.rejected.is_none() && rejected && !matches(&self.rules.ignore_stderr) {
                    self.seen.rejected = Some(shown(bytes));
                }
            }
        }
        line.bytes.clear();
    }
}

// === impl Line ===

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        self.begun = true;
        let room = MAX_LINE_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

// === impl Rules ===

impl Rules {
    /// Whether any rule needs the lines of a stream.
    fn reads(&self, stream: Stream) -> bool {
        self.fatal.is_some()
            || match stream {
                Stream::Stdout => self.expect.is_some(),
                Stream::Stderr => !matches!(self.stderr, StderrRule::Anything),
            }
    }
}

/// A line for a message: valid text without control characters, shortened.
fn shown(line: &[u8]) -> String {
    shortened(&line_of(&String::from_utf8_lossy(line)), SHOWN)
}
