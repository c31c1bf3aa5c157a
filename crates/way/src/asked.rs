//! The operator's options, before any host is known.

use std::path::PathBuf;
use std::time::Duration;

use reveille_account::{BecomeMethod, Given, HostKeyPolicy, TransportKind};

/// Options for all hosts, which win over the inventory and ssh_config.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Log in as this user.
    pub user: Option<Given<String>>,
    /// Log in with these private keys.
    pub keys: Vec<Given<PathBuf>>,
    /// Connect to this port.
    pub port: Option<Given<u16>>,
    /// Read this file instead of the user's and the system's ssh_config; `none` for no file.
    pub ssh_config: Option<PathBuf>,
    /// What carries the sessions.
    pub transport: Option<Given<TransportKind>>,
    /// Become another user.
    pub escalate: Option<Given<bool>>,
    /// The user to become.
    pub become_user: Option<Given<String>>,
    /// The program that changes the user.
    pub become_method: Option<Given<BecomeMethod>>,
    /// How long name resolution, and then the TCP connection, may take.
    pub connect_timeout: Option<Given<Duration>>,
    /// How to treat host keys.
    pub host_key: Option<Given<HostKeyPolicy>>,
}
