//! Passwords and passphrases.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A password or a passphrase. It shows itself nowhere: not in messages, not in `Debug`, and its memory is overwritten
/// when the last clone goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

// === impl Secret ===

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text, for the one place that it is sent to.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The text as a line of input.
    pub(crate) fn line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", self.reveal()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_nothing() {
        let secret = Secret::new("opensesame");
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret)),
            "Secret Some(\n    Secret,\n)"
        );
    }
}
