//! Where and as whom.

use std::sync::Arc;
use std::time::Duration;

use reveille_account::HostName;

use crate::identity::Identities;
use crate::known_hosts::HostKeyPolicy;

/// A host to connect to, with everything that deciding has left behind.
#[derive(Debug, Clone)]
pub struct Target {
    /// The inventory's name, for messages.
    pub name: HostName,
    /// DNS name or IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// What to authenticate with.
    pub identities: Arc<Identities>,
    /// What to do about host keys.
    pub host_keys: HostKeyPolicy,
    /// The jump host in front, if there is one. Every target has a connection of its own to it, because one unread
    /// channel would stop all others on a shared one.
    pub jump: Option<Arc<Target>>,
}

// === impl Target ===

impl Target {
    /// `address:port`, IPv6 in brackets.
    pub fn endpoint(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }

    /// The endpoint whose limit on new connections this target meets first: the outermost jump host, or itself.
    pub fn first_endpoint(&self) -> String {
        self.jump
            .as_ref()
            .map_or_else(|| self.endpoint(), |jump| jump.first_endpoint())
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
    /// Opening a channel, and the reply to the request to run a command; each.
    pub channel: Duration,
    /// Time between keep-alives; a connection that leaves three unanswered is lost.
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
            keep_alive: Duration::from_secs(15),
        }
    }
}
