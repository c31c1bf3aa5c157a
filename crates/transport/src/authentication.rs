//! The credentials for logging in to a target.

use crate::identity::Identities;
use reveille_text::Secret;

/// The credentials to offer to a host, in OpenSSH's order: keys, keyboard-interactive, password.
#[derive(Debug, Default)]
pub struct Authentication {
    /// Keys, certificates and the agent.
    pub identities: Identities,
    /// The user's password. It answers keyboard-interactive too, if that asks one hidden question.
    pub password: Option<Secret>,
    /// Offer the password even if the host key is seen for the first time on this very connection. A man in the middle
    /// could get it then.
    pub password_to_new_hosts: bool,
}

// === impl Authentication ===

impl Authentication {
    /// Only keys.
    pub fn keys(identities: Identities) -> Self {
        Self {
            identities,
            ..Self::default()
        }
    }

    /// Whether there is nothing to offer.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.password.is_none()
    }
}

impl From<Identities> for Authentication {
    fn from(identities: Identities) -> Self {
        Self::keys(identities)
    }
}
