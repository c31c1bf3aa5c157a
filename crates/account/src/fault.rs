//! Mistakes in one line of a file, before the file's name and line number are known.

use reveille_text::is_secret;

use crate::SourceError;

/// A mistake in a piece of text, at a byte offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, in bytes from the start of the piece.
    pub offset: usize,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

/// A line of a file, as a mistake in it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The file's name as the user gave it.
    pub file: &'a str,
    /// Its number, from 1.
    pub number: usize,
    /// Its text, without its line ending.
    pub text: &'a str,
    /// The text came from a vault and must not be shown.
    pub hidden: bool,
}

// === impl Fault ===

impl Fault {
    /// A fault without a hint.
    pub fn new(offset: usize, message: impl Into<String>) -> Self {
        Self {
            offset,
            message: message.into(),
            hint: None,
        }
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault, with its offset counted from the start of a text that contains the piece at `offset`.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        self.offset += offset;
        self
    }
}

// === impl Line ===

impl Line<'_> {
    /// The error for `fault` in this line. It shows no excerpt of a line that sets a secret.
    pub fn error(&self, fault: Fault) -> SourceError {
        let mut offset = fault.offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        SourceError {
            message: fault.message,
            file: self.file.to_owned(),
            line: self.number,
            column: self.text[..offset].chars().count() + 1,
            excerpt: if self.hidden || self.holds_secret() {
                String::new()
            } else {
                self.text.chars().take(400).collect()
            },
            hint: fault.hint,
        }
    }

    /// Whether the line sets a value under a secret name.
    fn holds_secret(&self) -> bool {
        self.text.match_indices(['=', ':']).any(|(at, _)| {
            let before = self.text[..at].trim_end().trim_end_matches(['"', '\'']);
            let start = before
                .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
                .map_or(0, |at| at + 1);
            before.get(start..).is_some_and(is_secret)
        })
    }
}
