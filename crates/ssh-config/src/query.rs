//! A query, and the machine and user it comes from.

use std::path::PathBuf;

use crate::tokens;

/// This machine and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The user's name.
    pub user: String,
    /// The user's home directory.
    pub home: PathBuf,
    /// The user's id.
    pub uid: u32,
    /// The name of this machine.
    pub host_name: String,
}

/// Asks how a host is reached.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The name as given to `ssh`.
    pub host: &'a str,
    /// A user that overrides the configuration.
    pub user: Option<&'a str>,
    /// A port that overrides the configuration.
    pub port: Option<u16>,
    /// This machine.
    pub local: &'a Local,
    /// Whether to run the commands of `Match exec`; if not, they count as failed, with a warning.
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
    /// A query without overrides; commands of `Match exec` are run, as `ssh` runs them.
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
