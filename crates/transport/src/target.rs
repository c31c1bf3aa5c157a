//! Targets: where to connect, as which user, and how.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{HostKeyPolicy, HostName};

use crate::authentication::Authentication;
use crate::known_hosts::KnownHosts;

/// A host to connect to, with all decisions made.
#[derive(Debug, Clone)]
pub struct Target {
    /// The name in the inventory, for messages.
    pub name: HostName,
    /// DNS name or IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The credentials.
    pub authentication: Arc<Authentication>,
    /// How to treat host keys.
    pub host_keys: HostKeyPolicy,
    /// The name for the lookup of the host's key, instead of address and port (ssh_config's `HostKeyAlias`).
    pub host_key_alias: Option<String>,
    /// Known hosts for this target, instead of the client's.
    pub known_hosts: Option<Arc<KnownHosts>>,
    /// The jump host in front, if there is one; it may have its own. Every target has its own connection to it, because
    /// on a shared connection one unread channel would block all others.
    pub jump: Option<Arc<Target>>,
    /// How long its TCP connection may take, instead of the client's limit (ssh_config's `ConnectTimeout`).
    pub connect_timeout: Option<Duration>,
    /// The keep-alive settings, instead of the client's (ssh_config's `ServerAliveInterval` and `ServerAliveCountMax`).
    pub keep_alive: KeepAlive,
    /// What carries the session.
    pub transport: Transport,
}

/// Keep-alive settings; the client's defaults apply where a field is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeepAlive {
    /// The interval; zero means never.
    pub interval: Option<Duration>,
    /// How many unanswered keep-alives end the connection.
    pub most: Option<u32>,
}

/// What carries a session.
#[derive(Debug, Clone, Default)]
pub enum Transport {
    /// SSH in this process.
    #[default]
    Native,
    /// The system's `ssh`, for what native SSH can't do.
    OpenSsh(Arc<OpenSsh>),
    /// No network: a shell on this machine, as the current user.
    Local,
}

/// How the system's `ssh` is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSsh {
    /// The program.
    pub program: PathBuf,
    /// Its configuration file, instead of the user's and the system's.
    pub config: Option<PathBuf>,
    /// Additional `-o` options. They are visible in the process list.
    pub options: Vec<String>,
}

// === impl Target ===

impl Target {
    /// A target that is reached directly and natively, with new host keys accepted.
    pub fn new(
        name: HostName,
        address: impl Into<String>,
        port: u16,
        user: impl Into<String>,
        authentication: Arc<Authentication>,
    ) -> Self {
        Self {
            name,
            address: address.into(),
            port,
            user: user.into(),
            authentication,
            host_keys: HostKeyPolicy::default(),
            host_key_alias: None,
            known_hosts: None,
            jump: None,
            connect_timeout: None,
            keep_alive: KeepAlive::default(),
            transport: Transport::default(),
        }
    }

    /// How long its TCP connection may take.
    pub(crate) fn connect_within(&self, deadlines: &Deadlines) -> Duration {
        self.connect_timeout.unwrap_or(deadlines.connect)
    }

    /// `address:port`, IPv6 in brackets.
    pub fn endpoint(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }

    /// The endpoint whose limit on new connections applies first: the outermost jump host, or this target.
    pub fn first_endpoint(&self) -> String {
        self.jump
            .as_ref()
            .map_or_else(|| self.endpoint(), |jump| jump.first_endpoint())
    }
}

// === impl OpenSsh ===

impl Default for OpenSsh {
    fn default() -> Self {
        Self {
            program: "ssh".into(),
            config: None,
            options: Vec::new(),
        }
    }
}

/// How long each phase of connecting may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Name resolution.
    pub resolve: Duration,
    /// TCP connection, all addresses of a name together.
    pub connect: Duration,
    /// From the open connection to the SSH identification line.
    pub banner: Duration,
    /// Key exchange, host key check included.
    pub key_exchange: Duration,
    /// Authentication.
    pub authentication: Duration,
    /// Opening a channel, and the reply to a command request; each.
    pub channel: Duration,
    /// The interval of keep-alives; a connection is lost after three unanswered ones.
    pub keep_alive: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            banner: Duration::from_secs(15),
            key_exchange: Duration::from_secs(15),
            authentication: Duration::from_secs(30),
            channel: Duration::from_secs(15),
            keep_alive: Duration::from_secs(10),
        }
    }
}
