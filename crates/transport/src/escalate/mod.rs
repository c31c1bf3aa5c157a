//! Becoming another user on the host: by sudo, su or doas, with a password or without.
//!
//! The other user's shell first says a random mark; until it does, whatever comes is the program's that changes the
//! user, and nothing of the command's input is sent. So a password is only ever read by that program, and a refusal is
//! told from a failure of the command.
//!
//! ```text
//!               asks, and a password is there: sent, once
//!            ┌─────────────────────────────────────────┐
//!            ▼                                         │
//!  waiting ──┴─ mark ──► started: input may flow       │
//!     │  │                                             │
//!     │  └── asks ──► nothing was sent yet? ───────────┘
//!     │                 └── no: refused (become_failed)
//!     └── ends, or is silent for too long ──► refused (become_failed, become_missing)
//! ```
//!
//! sudo reads a password from standard input and is told what to ask with. su and doas read it from a terminal, and
//! some sudoers files insist on one: then the command gets a terminal that passes all bytes on as they are, which makes
//! one stream of its standard output and standard error. Input goes through it in pieces that carry their length,
//! because such a terminal knows no end; so the command itself reads a pipe, and writes to one.

mod start;
mod words;

use reveille_account::{BecomeMethod, Class};

use reveille_text::Secret;

pub(crate) use start::start;

/// Another user to run as, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Become {
    /// The user.
    pub user: String,
    /// The program that changes the user.
    pub method: BecomeMethod,
    /// What the program asks for: one's own password for sudo and doas, the other user's for su.
    pub password: Option<Secret>,
    /// Run it on a terminal even if it does not need one for the password (`requiretty` in sudoers is found out by
    /// itself).
    pub terminal: bool,
}

// === impl Become ===

impl Become {
    /// By sudo, without a password.
    pub fn sudo(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            method: BecomeMethod::Sudo,
            password: None,
            terminal: false,
        }
    }

    /// The same way to become another user. A password goes along unless it is the first user's own.
    #[must_use]
    pub fn for_user(&self, user: impl Into<String>) -> Self {
        let user = user.into();
        let same_password = self.method != BecomeMethod::Su || user == self.user;
        Self {
            password: self.password.clone().filter(|_| same_password),
            user,
            ..*self
        }
    }

    /// Whether the command will run on a terminal, as far as is known before.
    pub fn needs_terminal(&self) -> bool {
        self.terminal || (self.password.is_some() && self.method != BecomeMethod::Sudo)
    }
}

/// What a refusal by `method` means, from the text that came in place of the mark and the exit status.
fn judge(method: BecomeMethod, seen: &str, status: Option<u32>) -> Class {
    let missing = ["not found", "command not found", "No such file"]
        .iter()
        .any(|why| seen.contains(&format!("{method}: {why}")));
    if missing || status == Some(127) {
        Class::BecomeMissing
    } else {
        Class::BecomeFailed
    }
}
