//! The complete way to a host, as the ledger records it.

use std::path::{Path, PathBuf};

use reveille_account::{BecomeMethod, HostKeyPolicy, TransportKind};
use serde::{Deserialize, Serialize};

/// How to reach a host, and which user to become there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Way {
    /// The last connection, to the host itself.
    #[serde(flatten)]
    pub link: Link,
    /// Jump hosts, the nearest to this machine first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jump: Vec<Link>,
    /// The user that steps become by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate: Option<String>,
    /// The user that steps become when they ask for it.
    pub becomes: String,
    /// The program that changes the user.
    #[serde(skip_serializing_if = "is_default")]
    pub become_method: BecomeMethod,
    /// The inventory has a password for the login. It is not recorded, so that a resumed run has to find it again.
    #[serde(skip_serializing_if = "is_default")]
    pub password: bool,
    /// The inventory has a password for becoming another user.
    #[serde(skip_serializing_if = "is_default")]
    pub become_password: bool,
    /// The host must not be dispatched.
    #[serde(skip_serializing_if = "is_default")]
    pub not_ready: bool,
    /// Further routes to the host, from the inventory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Separates the host from others on which the same work takes a different time, such as its instance type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What carries the session.
    #[serde(skip_serializing_if = "is_default")]
    pub transport: TransportKind,
    /// The file that the system's `ssh` reads instead of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_config: Option<PathBuf>,
    /// Further `-o` options of the system's `ssh`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_options: Vec<String>,
}

/// One connection of a way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Name or IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// Key files from an option or the inventory; the usual ones if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PathBuf>,
    /// Key files from ssh_config; missing ones are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_keys: Vec<PathBuf>,
    /// Key files to offer if there are no others: a jump host gets those of the host behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_keys: Vec<PathBuf>,
    /// Certificate files from ssh_config.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<PathBuf>,
    /// Do not offer the agent's other keys.
    #[serde(skip_serializing_if = "is_default")]
    pub keys_only: bool,
    /// The agent to ask for keys.
    #[serde(skip_serializing_if = "is_default")]
    pub agent: Agent,
    /// How to treat its host key, if that differs from the run's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<HostKeyPolicy>,
    /// The name under which its host key is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key_alias: Option<String>,
    /// Known-hosts files instead of the run's; new keys go to the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<Vec<PathBuf>>,
    /// How long its TCP connection may take, in milliseconds, if that differs from the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// Keep-alive interval in milliseconds, if that differs from the default; zero means never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive_interval_ms: Option<u64>,
    /// How many keep-alives may stay unanswered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive_count: Option<u32>,
}

/// A further route to a host, by another address, port or jump host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Name or IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// Jump hosts, the nearest to this machine first; none for those of the usual way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Vec<Link>>,
}

/// The agent to ask for keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// The one in `SSH_AUTH_SOCK` when the run starts or resumes.
    #[default]
    Usual,
    /// No agent.
    None,
    /// The one at this socket.
    Socket(PathBuf),
}

// === impl Way ===

impl Way {
    /// A direct connection with one key and no agent.
    pub fn plain(address: String, port: u16, user: &str, key: PathBuf) -> Self {
        Self {
            link: Link {
                address,
                port,
                user: user.to_owned(),
                keys: vec![key],
                keys_only: true,
                agent: Agent::None,
                ..Link::default()
            },
            becomes: "root".to_owned(),
            ..Self::default()
        }
    }

    /// This machine; `user` is the user who runs this process.
    pub fn this_machine(user: &str) -> Self {
        Self {
            link: Link {
                address: "localhost".to_owned(),
                user: user.to_owned(),
                ..Link::default()
            },
            becomes: "root".to_owned(),
            transport: TransportKind::Local,
            ..Self::default()
        }
    }
}

// === impl Link ===

impl Link {
    /// Makes its paths absolute, because a run may be resumed from another directory.
    pub(crate) fn anchor(&mut self) {
        let lists = [
            &mut self.keys,
            &mut self.more_keys,
            &mut self.last_keys,
            &mut self.certificates,
        ];
        for path in lists.into_iter().chain(&mut self.known_hosts).flatten() {
            *path = from_anywhere(path);
        }
        if let Agent::Socket(path) = &mut self.agent {
            *path = from_anywhere(path);
        }
    }
}

/// Returns an absolute path. `~` is expanded when the file is opened, and `none` is not a file.
pub(crate) fn from_anywhere(path: &Path) -> PathBuf {
    if path.starts_with("~") || path.as_os_str() == "none" {
        return path.to_owned();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Replaces `~` in a path with the home directory.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_way_reads_back() {
        let way = Way {
            link: Link {
                address: "web1".to_owned(),
                port: 22,
                user: "me".to_owned(),
                host_key: Some(HostKeyPolicy::Off),
                agent: Agent::Socket("/run/agent".into()),
                ..Link::default()
            },
            become_method: BecomeMethod::Doas,
            transport: TransportKind::Openssh,
            ..Way::default()
        };
        let text = serde_json::to_string(&way).expect("a record");
        assert_eq!(serde_json::from_str::<Way>(&text).expect("the same"), way);
        assert!(
            text.contains(r#""host_key":"off""#) && text.contains(r#""transport":"openssh""#),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_policy_is_refused() {
        let error = serde_json::from_str::<Way>(r#"{"address":"a","port":1,"user":"u","host_key":"lax"}"#)
            .expect_err("unknown");
        assert!(error.to_string().contains("lax"), "{error}");
    }
}
