//! Becomes another user on the host by sudo, su or doas, with or without a password.
//!
//! The other user's shell first prints a random mark. Until then, all output belongs to the program that changes the
//! user, and none of the command's input is sent. So only that program can read a password, and a refusal can't be
//! confused with a failure of the command.
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
//! sudo reads a password from standard input, and we set its prompt. su and doas read it from a terminal, and some
//! sudoers files require one; then the command gets a raw terminal, which merges its standard output and standard
//! error. A raw terminal has no end of input, so input is sent in pieces with their length, and the command itself
//! reads from and writes to pipes.

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
    /// The password that the program asks for: the user's own for sudo and doas, the other user's for su.
    pub password: Option<Secret>,
    /// Run it on a terminal even if the password does not need one (`requiretty` in sudoers is detected automatically).
    pub terminal: bool,
}

// === impl Become ===

impl Become {
    /// With sudo, without a password.
    pub fn sudo(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            method: BecomeMethod::Sudo,
            password: None,
            terminal: false,
        }
    }

    /// The same method for another user. The password is kept, unless it is the previous user's own.
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

    /// Whether the command will run on a terminal, as far as is known in advance.
    pub fn needs_terminal(&self) -> bool {
        self.terminal || (self.password.is_some() && self.method != BecomeMethod::Sudo)
    }
}

/// The class of a refusal by `method`, from the text that came instead of the mark and the exit status.
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
