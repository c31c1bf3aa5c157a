//! What ends the program early.

/// A message for the user, and the exit status.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: u8,
    pub(crate) text: String,
}

// === impl Problem ===

impl Problem {
    /// Bad input: nothing was sent.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self {
            code: 2,
            text: text.into(),
        }
    }

    /// A failure of this program or its machine.
    pub(crate) fn ours(text: impl Into<String>) -> Self {
        Self {
            code: 1,
            text: text.into(),
        }
    }
}
