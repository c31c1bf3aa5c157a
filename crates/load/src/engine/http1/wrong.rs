//! Errors of the decoder.

/// Why bytes are not an answer in HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Wrong(String);

impl Wrong {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
