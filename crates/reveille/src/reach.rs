//! How hosts are reached: the command line, the inventory and `~/.ssh/config`, the strongest first, come to one way for
//! each host. The way is recorded with the roll; keys are read from it when a run starts or goes on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_inventory::ssh_config::{
    IdentityAgent, Local, Query, Resolved, SshConfig, StrictHostKeyChecking,
};
use reveille_inventory::{BecomeMethod, Connection, Hop, Transport};
use serde::{Deserialize, Serialize};

use crate::cli::{self, HostKey, Reach};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::routes::Route;
use crate::state;

/// A file that keeps nothing.
pub(crate) const NOWHERE: &str = "/dev/null";
/// Jump hosts that name further jump hosts, to this depth.
const MAX_JUMPS: usize = 8;

/// How a host is reached, with every option applied; recorded with the roll.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reached {
    #[serde(flatten)]
    pub(crate) way: Way,
    /// Jump hosts, the nearest to this machine first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) jump: Vec<Way>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) escalate: Option<String>,
    pub(crate) becomes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) become_method: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) not_ready: bool,
    /// Further ways to the host, from the inventory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<Route>,
    /// What tells it from hosts on which the same takes another time, such as its instance type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// `openssh` or `local`; native if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<String>,
    /// The file that the system's `ssh` reads instead of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Further options of the system's `ssh`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ssh_options: Vec<String>,
}

/// One connection on the way to a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Way {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// Key files that were named; the usual ones if none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<PathBuf>,
    /// Key files of `~/.ssh/config`, which may be of no use here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_keys: Vec<PathBuf>,
    /// Key files that are offered when there is nothing else: a jump host's are those of the host behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) last_keys: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<PathBuf>,
    /// The agent's other keys are not offered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keys_only: bool,
    #[serde(skip_serializing_if = "Agent::is_usual")]
    pub(crate) agent: Agent,
    /// A policy of its own, as `--host-key` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_key_alias: Option<String>,
    /// Known hosts of its own, the one that is written to first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) known_hosts: Option<Vec<PathBuf>>,
    /// How long its TCP connection may take, if it is not the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect_timeout_ms: Option<u64>,
    /// How often its silence is met with a question, zero for never, if it is not the usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alive_interval_ms: Option<u64>,
    /// Such questions that may stay unanswered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alive_count: Option<u32>,
}

/// Which agent is asked for keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Agent {
    /// That of `SSH_AUTH_SOCK`, at the time.
    #[default]
    Usual,
    None,
    Socket(PathBuf),
}

/// Finds the ways to hosts.
pub(crate) struct Finder<'a> {
    reach: &'a Reach,
    local: Local,
    usual: SshConfig,
    /// Files that the inventory names for some hosts.
    others: HashMap<PathBuf, SshConfig>,
    user: String,
    printer: &'a Printer,
    told: std::collections::HashSet<String>,
}

// === impl Agent ===

impl Agent {
    fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}

// === impl Reached ===

impl Reached {
    /// A plain way to an address with one key and no agent, for the drill.
    pub(crate) fn plain(address: String, port: u16, user: &str, key: PathBuf) -> Self {
        Self {
            way: Way {
                address,
                port,
                user: user.to_owned(),
                keys: vec![key],
                keys_only: true,
                agent: Agent::None,
                ..Way::default()
            },
            becomes: "root".to_owned(),
            ..Self::default()
        }
    }

    /// The machine that Reveille runs on.
    pub(crate) fn this_machine() -> Self {
        Self {
            way: Way {
                address: "localhost".to_owned(),
                user: state::user(),
                ..Way::default()
            },
            becomes: "root".to_owned(),
            transport: Some("local".to_owned()),
            ..Self::default()
        }
    }
}

// === impl Way ===

impl Way {
    /// Has its files found from any directory: a run may be resumed in another one.
    fn anchor(&mut self) {
        let lists = [
            &mut self.keys,
            &mut self.more_keys,
            &mut self.last_keys,
            &mut self.certificates,
        ];
        for path in lists.into_iter().chain(&mut self.known_hosts).flatten() {
            *path = from_anywhere(path);
        }
    }
}

// === impl Finder ===

impl<'a> Finder<'a> {
    /// Reads the user's and the system's configuration of `ssh`, or the one that was named.
    pub(crate) fn new(reach: &'a Reach, printer: &'a Printer) -> Result<Self, Failure> {
        let usual = match &reach.ssh_config {
            None => SshConfig::load(None, None)?,
            Some(path) if path.as_os_str() == "none" => SshConfig::default(),
            Some(path) => SshConfig::only(path)?,
        };
        for warning in usual.warnings() {
            printer.warning(&warning.to_string());
        }
        Ok(Self {
            reach,
            local: Local::current(),
            usual,
            others: HashMap::new(),
            user: state::user(),
            printer,
            told: std::collections::HashSet::new(),
        })
    }

    /// The way to a host, from what the inventory says of it.
    pub(crate) fn find(&mut self, connection: Connection, job_becomes: bool) -> Result<Reached, Failure> {
        let reach = self.reach;
        let file = connection.ssh.config_file.clone();
        let wanted_user = reach.user.clone().or_else(|| connection.user.clone());
        let wanted_port = reach.port.or(connection.port);
        let resolved = self.resolve(
            file.as_deref(),
            &connection.address,
            wanted_user.as_deref(),
            wanted_port,
        )?;
        let becomes = reach
            .become_user
            .clone()
            .or(connection.becomes.user)
            .unwrap_or_else(|| "root".to_owned());
        let wanted =
            reach.escalate || reach.become_user.is_some() || job_becomes || connection.escalate.is_some();
        let method = reach
            .become_method
            .map_or(connection.becomes.method, |method| match method {
                cli::BecomeMethod::Sudo => BecomeMethod::Sudo,
                cli::BecomeMethod::Su => BecomeMethod::Su,
                cli::BecomeMethod::Doas => BecomeMethod::Doas,
            });
        let mut jump = Vec::new();
        let hops = connection.jump.clone().or_else(|| resolved.proxy_jump.clone());
        self.jump(file.as_deref(), &hops.unwrap_or_default(), &mut jump, 0)?;
        let mut way = self.way(&resolved, true);
        way.keys = if reach.key.is_empty() {
            connection.key_files
        } else {
            reach.key.clone()
        };
        for hop in &mut jump {
            hop.last_keys.clone_from(&way.keys);
        }
        let ssh = connection.ssh;
        way.keys_only = ssh.identities_only.unwrap_or(way.keys_only);
        way.host_key_alias = ssh.host_key_alias.or(way.host_key_alias);
        if let Some(strict) = ssh.strict_host_key_checking.filter(|_| reach.host_key.is_none()) {
            way.host_key = policy(strict).map(str::to_owned);
        }
        if !ssh.user_known_hosts_files.is_empty() {
            let files = ssh.user_known_hosts_files.iter();
            way.known_hosts = Some(files.map(|file| expand_home(Path::new(file))).collect());
        }
        if let Some(within) = ssh.connect_timeout {
            way.connect_timeout_ms = self.timeout(within);
        }
        way.alive_interval_ms = ssh.server_alive_interval.map(millis).or(way.alive_interval_ms);
        way.alive_count = ssh.server_alive_count_max.or(way.alive_count);
        way.anchor();
        jump.iter_mut().for_each(Way::anchor);
        let mut ssh_options = Vec::new();
        let mut transport = match (reach.transport, connection.transport) {
            (Some(cli::Transport::Openssh), _) => Some("openssh"),
            (Some(cli::Transport::Local), _) | (None, Transport::Local) => Some("local"),
            (Some(cli::Transport::Native), _) | (None, Transport::Ssh) => None,
        };
        let proxy = ssh.proxy_command.or_else(|| resolved.proxy_command.clone());
        if let Some(proxy) = proxy.filter(|_| transport.is_none()) {
            if reach.transport.is_some() {
                return Err(Failure::usage(format!(
                    "{} is reached by a ProxyCommand, which native SSH can't run; use --transport openssh",
                    connection.address
                )));
            }
            self.tell_once("hosts with a ProxyCommand are reached by the system's ssh".to_owned());
            transport = Some("openssh");
            ssh_options.push(format!("ProxyCommand={proxy}"));
        }
        Ok(Reached {
            way,
            jump,
            escalate: wanted.then(|| becomes.clone()),
            becomes,
            become_method: match method {
                BecomeMethod::Sudo => None,
                BecomeMethod::Su => Some("su".to_owned()),
                BecomeMethod::Doas => Some("doas".to_owned()),
            },
            not_ready: connection.not_ready,
            routes: Vec::new(),
            label: None,
            transport: transport.map(str::to_owned),
            ssh_config: file
                .or_else(|| reach.ssh_config.clone())
                .map(|file| from_anywhere(&file)),
            ssh_options,
        })
    }

    fn resolve(
        &mut self,
        file: Option<&Path>,
        host: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<Resolved, Failure> {
        if let Some(file) = file
            && !self.others.contains_key(file)
        {
            let config = if file.as_os_str() == "none" {
                SshConfig::default()
            } else {
                SshConfig::only(file)?
            };
            self.others.insert(file.to_owned(), config);
        }
        let config = file.and_then(|file| self.others.get(file)).unwrap_or(&self.usual);
        let mut query = Query::new(host, &self.local);
        query.user = user;
        query.port = port;
        let resolved = config.resolve(&query)?;
        for warning in &resolved.warnings {
            self.tell_once(warning.to_string());
        }
        Ok(resolved)
    }

    /// The connections through jump hosts, to the host that is reached as `last` says.
    pub(crate) fn through(&mut self, hops: &[Hop], last: &Way) -> Result<Vec<Way>, Failure> {
        let mut ways = Vec::new();
        self.jump(None, hops, &mut ways, 0)?;
        for hop in &mut ways {
            hop.last_keys.clone_from(&last.keys);
        }
        Ok(ways)
    }

    /// Adds the jump hosts, and those in front of the first, to the way.
    fn jump(
        &mut self,
        file: Option<&Path>,
        hops: &[Hop],
        ways: &mut Vec<Way>,
        depth: usize,
    ) -> Result<(), Failure> {
        for (index, hop) in hops.iter().enumerate() {
            let resolved = self.resolve(file, &hop.address, hop.user.as_deref(), hop.port)?;
            if let Some(before) = resolved
                .proxy_jump
                .as_ref()
                .filter(|_| index == 0 && !hops.is_empty())
            {
                if depth == MAX_JUMPS {
                    return Err(Failure::usage(format!(
                        "the jump hosts of {} name each other without end",
                        hop.address
                    )));
                }
                self.jump(file, before, ways, depth + 1)?;
            }
            let mut way = self.way(&resolved, false);
            if !self.reach.key.is_empty() {
                way.keys.clone_from(&self.reach.key);
            }
            ways.push(way);
        }
        Ok(())
    }

    /// What the configuration of `ssh` says of one connection.
    fn way(&self, resolved: &Resolved, is_last: bool) -> Way {
        // A jump host without a user of its own gets ours.
        let user = resolved
            .user
            .clone()
            .or_else(|| self.reach.user.clone().filter(|_| !is_last))
            .unwrap_or_else(|| self.user.clone());
        let host_key = match self.reach.host_key {
            Some(_) => None,
            None => resolved
                .strict_host_key_checking
                .and_then(policy)
                .map(str::to_owned),
        };
        let known_hosts = resolved.user_known_hosts_files.as_ref().map(|user| {
            let global = resolved.global_known_hosts_files.clone();
            let global = global.unwrap_or_else(|| vec!["/etc/ssh/ssh_known_hosts".into()]);
            let mut files = user.clone();
            if files.is_empty() {
                // New keys are kept nowhere; in no case in the system's file, which comes next.
                files.push(NOWHERE.into());
            }
            files.extend(global);
            files
        });
        Way {
            address: resolved.host_name.clone(),
            port: resolved.port.unwrap_or(22),
            user,
            keys: Vec::new(),
            more_keys: resolved.identity_files.clone(),
            last_keys: Vec::new(),
            certificates: resolved.certificate_files.clone(),
            keys_only: resolved.identities_only.unwrap_or(false),
            agent: match &resolved.identity_agent {
                None | Some(IdentityAgent::Environment) => Agent::Usual,
                Some(IdentityAgent::None) => Agent::None,
                Some(IdentityAgent::Socket(path)) => Agent::Socket(path.clone()),
            },
            host_key,
            host_key_alias: resolved.host_key_alias.clone(),
            known_hosts,
            connect_timeout_ms: resolved.connect_timeout.and_then(|within| self.timeout(within)),
            alive_interval_ms: resolved.server_alive_interval.map(millis),
            alive_count: resolved.server_alive_count_max,
        }
    }

    /// What the command line says wins.
    fn timeout(&self, within: Duration) -> Option<u64> {
        let unsaid = self.reach.connect_timeout.is_none();
        u64::try_from(within.as_millis()).ok().filter(|_| unsaid)
    }

    fn tell_once(&mut self, words: String) {
        if !self.told.contains(&words) {
            self.printer.warning(&words);
            self.told.insert(words);
        }
    }
}

/// The policy that `StrictHostKeyChecking` asks for; `ask` leaves it to ours.
fn policy(strict: StrictHostKeyChecking) -> Option<&'static str> {
    match strict {
        StrictHostKeyChecking::Yes => Some(HostKey::Strict.as_str()),
        StrictHostKeyChecking::No => Some(HostKey::Off.as_str()),
        StrictHostKeyChecking::AcceptNew => Some(HostKey::AcceptNew.as_str()),
        StrictHostKeyChecking::Ask => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A path with `~` for the home directory.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), state::home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// A path as it is found from any directory; `~` is left to whoever opens the file, and `none` is no file.
fn from_anywhere(path: &Path) -> PathBuf {
    if path.starts_with("~") || path.as_os_str() == "none" {
        return path.to_owned();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
