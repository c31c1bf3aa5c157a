//! The configuration of one host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_account::{Origin, SourceError};

use crate::tokens::Tokens;
use crate::{Hop, Query};

/// The configuration of one host; settings without a value are none or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The name or address to connect to.
    pub host_name: String,
    /// `Port`, or the query's.
    pub port: Option<u16>,
    /// `User`, or the query's.
    pub user: Option<String>,
    /// `IdentityFile`, in the order to try them; `none` is left out.
    pub identity_files: Vec<PathBuf>,
    /// `IdentitiesOnly`.
    pub identities_only: Option<bool>,
    /// `IdentityAgent`.
    pub identity_agent: Option<IdentityAgent>,
    /// `CertificateFile`.
    pub certificate_files: Vec<PathBuf>,
    /// `ProxyJump`, the nearest to this machine first; empty for `none`.
    pub proxy_jump: Option<Vec<Hop>>,
    /// `ProxyCommand` as written; only the system's `ssh` can run it. None for `none`.
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
    /// `ServerAliveInterval`; zero means never.
    pub server_alive_interval: Option<Duration>,
    /// `ServerAliveCountMax`.
    pub server_alive_count_max: Option<u32>,
    /// `AddressFamily`.
    pub address_family: Option<AddressFamily>,
    /// `BindAddress`.
    pub bind_address: Option<String>,
    /// `ForwardAgent` as written: `yes`, `no`, a path or a variable.
    pub forward_agent: Option<String>,
    /// `PreferredAuthentications`.
    pub preferred_authentications: Option<String>,
    /// `BatchMode`.
    pub batch_mode: Option<bool>,
    /// The same values before tokens are expanded, as `ssh -G` prints them.
    pub written: Written,
    /// Options and conditions without effect.
    pub warnings: Vec<SourceError>,
    pub(crate) origins: Vec<(&'static str, Origin)>,
}

/// Values as written, with tokens, `~` and variables.
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
    /// `ProxyJump`; `none` for a direct connection.
    pub proxy_jump: Option<String>,
}

/// How to treat an unknown host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrictHostKeyChecking {
    /// Refuse it.
    Yes,
    /// Accept it, and a changed one too.
    No,
    /// Ask the user.
    Ask,
    /// Accept it, and refuse a changed one.
    AcceptNew,
}

/// Which agent holds keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityAgent {
    /// No agent.
    None,
    /// The one that `SSH_AUTH_SOCK` names.
    Environment,
    /// The one at this socket.
    Socket(PathBuf),
}

/// Which addresses of a name to use.
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
    /// Expands `~`, tokens and variables in a path that the caller has from elsewhere, such as an argument of `ssh`, for
    /// the connection that `query` asked for. `key_alias` is the name under which the host key is known, if not the
    /// host's.
    ///
    /// # Errors
    ///
    /// A token does not exist, or a variable is not set.
    pub fn path(&self, text: &str, query: &Query<'_>, key_alias: Option<&str>) -> Result<PathBuf, String> {
        self.tokens(query, key_alias).path(text)
    }

    /// Expands the tokens in jump hosts that the caller has from elsewhere, such as `%r@gate-%h`.
    ///
    /// # Errors
    ///
    /// A token does not exist.
    pub fn hops(&self, hops: &[Hop], query: &Query<'_>) -> Result<Vec<Hop>, String> {
        self.tokens(query, None).hops(hops)
    }

    fn tokens<'a>(&'a self, query: &'a Query<'_>, key_alias: Option<&'a str>) -> Tokens<'a> {
        let jump = self.proxy_jump.as_ref().and_then(|hops| hops.last());
        Tokens {
            local: query.local,
            host: &self.host_name,
            original: query.host,
            key_alias: key_alias.or(self.host_key_alias.as_deref()).unwrap_or(query.host),
            port: self.port.unwrap_or(22),
            user: self.user.as_deref().unwrap_or(&query.local.user),
            jump: jump.map_or("", |hop| &hop.address),
        }
    }

    /// The identity files, each with its line.
    pub fn identities(&self) -> impl Iterator<Item = (&Path, &Origin)> {
        self.placed("IdentityFile", &self.written.identity_files, &self.identity_files)
    }

    /// The certificate files, each with its line.
    pub fn certificates(&self) -> impl Iterator<Item = (&Path, &Origin)> {
        let written = &self.written.certificate_files;
        self.placed("CertificateFile", written, &self.certificate_files)
    }

    fn placed<'a>(
        &'a self,
        keyword: &'static str,
        written: &'a [String],
        paths: &'a [PathBuf],
    ) -> impl Iterator<Item = (&'a Path, &'a Origin)> {
        let lines = self.origins.iter().filter(move |(known, _)| *known == keyword);
        let lines = written.iter().zip(lines);
        let lines = lines.filter(|(text, _)| !text.eq_ignore_ascii_case("none"));
        paths
            .iter()
            .zip(lines)
            .map(|(path, (_, (_, origin)))| (path.as_path(), origin))
    }

    /// The line that sets an option, by its keyword as ssh_config(5) spells it; of several lines the first. None if no
    /// line sets the option for this host.
    pub fn origin(&self, keyword: &str) -> Option<&Origin> {
        let mut origins = self.origins.iter();
        origins
            .find(|(known, _)| *known == keyword)
            .map(|(_, origin)| origin)
    }
}

// === impl StrictHostKeyChecking ===

impl StrictHostKeyChecking {
    /// Parses the word of `ssh_config`, in any case.
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
