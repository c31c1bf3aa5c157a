//! Passwords, passphrases and tokens.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Text that no screen, log or error may show. `Debug` hides it, and its memory is wiped when the last clone is
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

// === impl Secret ===

impl Secret {
    /// Wraps a text that is secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// Returns the text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the text as a line of input.
    pub fn line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", self.expose()))
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Whether a variable of this name contains a secret, which no screen and no file may show.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "credential"]
        .iter()
        .any(|part| name.contains(part))
        && !name.ends_with("_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(…) Secret(…)");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(*secret.line(), "hunter2\n");
        assert_eq!(secret.clone(), secret);
    }

    #[test]
    fn names_tell_what_is_secret() {
        assert!(is_secret("db_Password") && is_secret("API_TOKEN"));
        assert!(!is_secret("user") && !is_secret("password_file"));
    }
}
