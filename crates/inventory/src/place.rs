//! Places in a line of a file, and what is wrong there.

use reveille_account::SourceError;

use reveille_document::is_secret;

/// Something wrong in a piece of text, at a byte offset of that piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// One line of a file, by which mistakes in it are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) file: &'a str,
    /// From 1.
    pub(crate) number: usize,
    pub(crate) text: &'a str,
    /// The text is secret: it came from a vault.
    pub(crate) hidden: bool,
}

// === impl Fault ===

impl Fault {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self {
            offset,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault seen from a text that has the faulty piece at `offset`.
    pub(crate) fn shifted(mut self, offset: usize) -> Self {
        self.offset += offset;
        self
    }
}

// === impl Line ===

impl Line<'_> {
    /// A fault whose offset counts from the start of this line.
    pub(crate) fn error(&self, fault: Fault) -> SourceError {
        let mut offset = fault.offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        SourceError {
            message: fault.message,
            file: self.file.to_owned(),
            line: self.number,
            column: self.text[..offset].chars().count() + 1,
            // A line that holds a password is never shown.
            excerpt: if self.hidden || self.holds_secret() {
                String::new()
            } else {
                self.text.chars().take(400).collect()
            },
            hint: fault.hint,
        }
    }

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
