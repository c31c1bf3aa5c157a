//! What is asked, and who asks.

use std::path::PathBuf;

use crate::tokens;

/// What is known of this machine and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The user's name.
    pub user: String,
    /// The user's home directory.
    pub home: PathBuf,
    /// The user's number.
    pub uid: u32,
    /// The name of this machine.
    pub host_name: String,
}

/// A question: how is this host reached?
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The name as it would be given to `ssh`.
    pub host: &'a str,
    /// A user that wins over the configuration.
    pub user: Option<&'a str>,
    /// A port that wins over the configuration.
    pub port: Option<u16>,
    /// This machine.
    pub local: &'a Local,
    /// Whether commands of `Match exec` may be run; if not, they count as failed, with a warning.
    pub run_exec: bool,
}

// === impl Local ===

impl Local {
    /// This machine and the user who runs this process.
    pub fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let name = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let user = tokens::user_of(uid).or(name).unwrap_or_else(|| "root".to_owned());
        Self {
            user,
            home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
            uid,
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

// === impl Query ===

impl<'a> Query<'a> {
    /// A question about a host, with nothing said beforehand; commands of `Match exec` are run, as `ssh` runs them.
    pub fn new(host: &'a str, local: &'a Local) -> Self {
        Self {
            host,
            user: None,
            port: None,
            local,
            run_exec: true,
        }
    }
}
