//! Passwords, passphrases and tokens.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Text that no screen, log or error may show. `Debug` shows nothing of it, and its memory is wiped when its last clone goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

// === impl Secret ===

impl Secret {
    /// Takes text that is secret from now on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text as a line of input.
    pub fn line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", self.expose()))
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Whether a variable of this name holds a secret, which no screen and no file may show.
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
