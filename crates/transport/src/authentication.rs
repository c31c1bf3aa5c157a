//! With what a target is logged in to.

use crate::identity::Identities;
use reveille_text::Secret;

/// What may be offered to a host, in OpenSSH's order: keys, keyboard-interactive, password.
#[derive(Debug, Default)]
pub struct Authentication {
    /// Keys, certificates and the agent.
    pub identities: Identities,
    /// The user's password. It answers keyboard-interactive too, if that asks one hidden question.
    pub password: Option<Secret>,
    /// Offer the password also to a host whose key is seen for the first time in this very connection. Otherwise
    /// whoever sits in between would get it.
    pub password_to_new_hosts: bool,
}

// === impl Authentication ===

impl Authentication {
    /// Keys only.
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
