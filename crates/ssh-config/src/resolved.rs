//! What the configuration says about one host.

use std::path::PathBuf;
use std::time::Duration;

use reveille_account::{Origin, SourceError};

use crate::Hop;

/// What the configuration says of a host; what it leaves open is none or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The name or address to connect to.
    pub host_name: String,
    /// `Port`, or the question's.
    pub port: Option<u16>,
    /// `User`, or the question's.
    pub user: Option<String>,
    /// `IdentityFile`, in the order to try them; `none` is left out.
    pub identity_files: Vec<PathBuf>,
    /// `IdentitiesOnly`.
    pub identities_only: Option<bool>,
    /// `IdentityAgent`.
    pub identity_agent: Option<IdentityAgent>,
    /// `CertificateFile`.
    pub certificate_files: Vec<PathBuf>,
    /// `ProxyJump`, from the nearest to this machine; empty for `none`.
    pub proxy_jump: Option<Vec<Hop>>,
    /// `ProxyCommand` as it is written; only the system's `ssh` can run it. None for `none`.
    pub proxy_command: Option<String>,
    /// `UserKnownHostsFile`; `none` is an empty list.
    pub user_known_hosts_files: Option<Vec<PathBuf>>,
    /// `GlobalKnownHostsFile`; `none` is an empty list.
    pub global_known_hosts_files: Option<Vec<PathBuf>>,
    /// `StrictHostKeyChecking`.
    pub strict_host_key_checking: Option<StrictHostKeyChecking>,
    /// `HostKeyAlias`, in lower case.
    pub host_key_alias: Option<String>,
    /// `ConnectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `ServerAliveInterval`; zero for never.
    pub server_alive_interval: Option<Duration>,
    /// `ServerAliveCountMax`.
    pub server_alive_count_max: Option<u32>,
    /// `AddressFamily`.
    pub address_family: Option<AddressFamily>,
    /// `BindAddress`.
    pub bind_address: Option<String>,
    /// `ForwardAgent`, as it is written: `yes`, `no`, a path or a variable.
    pub forward_agent: Option<String>,
    /// `PreferredAuthentications`.
    pub preferred_authentications: Option<String>,
    /// `BatchMode`.
    pub batch_mode: Option<bool>,
    /// The same values before tokens are put in, as `ssh -G` prints them.
    pub written: Written,
    /// What has no effect although it was written.
    pub warnings: Vec<SourceError>,
    pub(crate) origins: Vec<(&'static str, Origin)>,
}

/// Values with their tokens, `~` and variables as they stand in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// `IdentityFile`.
    pub identity_files: Vec<String>,
    /// `CertificateFile`.
    pub certificate_files: Vec<String>,
    /// `UserKnownHostsFile`.
    pub user_known_hosts_files: Vec<String>,
    /// `GlobalKnownHostsFile`.
    pub global_known_hosts_files: Vec<String>,
    /// `ProxyJump`; `none` if there shall be none.
    pub proxy_jump: Option<String>,
}

/// What to do about a host key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrictHostKeyChecking {
    /// Refuse it.
    Yes,
    /// Take it, and a changed one too.
    No,
    /// Ask the user.
    Ask,
    /// Take it, and refuse a changed one.
    AcceptNew,
}

/// Which agent holds keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityAgent {
    /// None.
    None,
    /// The one that `SSH_AUTH_SOCK` names.
    Environment,
    /// The one at this socket.
    Socket(PathBuf),
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// Both.
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

// === impl Resolved ===

impl Resolved {
    /// The line that sets an option, by its keyword as ssh_config(5) spells it; the first one of several files. None for
    /// an option that no line sets for this host.
    pub fn origin(&self, keyword: &str) -> Option<&Origin> {
        let mut origins = self.origins.iter();
        origins
            .find(|(known, _)| *known == keyword)
            .map(|(_, origin)| origin)
    }
}

// === impl StrictHostKeyChecking ===

impl StrictHostKeyChecking {
    /// The word of `ssh_config`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "yes" | "true" => Self::Yes,
            "no" | "false" | "off" => Self::No,
            "ask" => Self::Ask,
            "accept-new" => Self::AcceptNew,
            _ => return None,
        })
    }
}
