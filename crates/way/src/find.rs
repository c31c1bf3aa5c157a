//! Finds the way to a host: command line, inventory, ssh_config, defaults, in this order.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_account::{BecomeMethod, Given, HostKeyPolicy, HostName, Origin, TransportKind};
use reveille_inventory::{Connection, Inventory};
use reveille_ssh_config::{Hop, IdentityAgent, Local, Query, Resolved, SshConfig, StrictHostKeyChecking};
use reveille_text::duration;

use crate::way::{Agent, Link, Way, from_anywhere};
use crate::{Asked, Error, Operator, Reasons, routes};

/// A file that keeps nothing.
pub(crate) const NOWHERE: &str = "/dev/null";
/// How deep jump hosts may name further jump hosts.
const MAX_JUMPS: usize = 8;
const DEFAULT: Origin = Origin::Default("default");

/// Finds the ways to hosts.
pub struct Finder<'a> {
    asked: &'a Asked,
    operator: &'a dyn Operator,
    local: Local,
    usual: SshConfig,
    /// Configuration files that the inventory sets for some hosts.
    others: HashMap<PathBuf, SshConfig>,
    /// Warnings that were shown; each is shown once.
    warned: RefCell<HashSet<String>>,
}

// === impl Finder ===

impl<'a> Finder<'a> {
    /// Reads the user's and the system's ssh_config, or the file given by option.
    ///
    /// # Errors
    ///
    /// The file can't be read or has mistakes.
    pub fn new(asked: &'a Asked, operator: &'a dyn Operator) -> Result<Self, Error> {
        let usual = match &asked.ssh_config {
            None => SshConfig::load(None, None)?,
            Some(path) => SshConfig::only(path)?,
        };
        for warning in usual.warnings() {
            operator.warn(&warning.to_string());
        }
        Ok(Self {
            asked,
            operator,
            local: Local::current(),
            usual,
            others: HashMap::new(),
            warned: RefCell::default(),
        })
    }

    /// The user who runs this process.
    pub fn user(&self) -> &str {
        &self.local.user
    }

    /// Finds the way to a host of the inventory, and records the reasons for it.
    ///
    /// # Errors
    ///
    /// The host does not exist, one of its vars is not valid, or ssh_config can't be resolved for it.
    pub fn find(&mut self, inventory: &Inventory, host: &str, reasons: &mut Reasons) -> Result<Way, Error> {
        let connection = inventory.connection(host)?;
        let way = self.connect(&connection, reasons)?;
        routes::complete(&HostName::from(host), way, inventory, self)
    }

    fn connect(&mut self, connection: &Connection, reasons: &mut Reasons) -> Result<Way, Error> {
        let asked = self.asked;
        let file = connection.ssh.config_file.clone().map(|file| file.value);
        let resolved = self.resolve(
            file.as_deref(),
            &connection.address.value,
            value(asked.user.as_ref().or(connection.user.as_ref())).map(String::as_str),
            value(asked.port.as_ref().or(connection.port.as_ref())).copied(),
        )?;
        let mut link = self.link(&resolved, connection, reasons)?;
        if reasons.are_kept() {
            // ssh_config's values matter only where nothing stronger is set.
            let alone = self.resolve(file.as_deref(), &connection.address.value, None, None)?;
            reasons.add_overridden("port", given(&alone, "Port", alone.port), ToString::to_string);
            reasons.add_overridden("user", given(&alone, "User", alone.user.clone()), String::clone);
        }
        let query = Query::new(&connection.address.value, &self.local);
        let of_inventory = connection.jump.as_ref().map(|hops| {
            let expanded = resolved.hops(&hops.value, &query).map_err(|why| {
                Error::input(format!(
                    "can't use the jump host of {} ({}): {why}",
                    query.host, hops.origin
                ))
            })?;
            Ok::<_, Error>(Given::new(expanded, hops.origin.clone()))
        });
        let jump_hosts = reasons.first(
            "jump",
            [
                of_inventory.transpose()?,
                given(&resolved, "ProxyJump", resolved.proxy_jump.clone()),
            ],
            |hops| show_hops(hops),
        );
        let jump = self.through(file.as_deref(), &jump_hosts.unwrap_or_default(), &link)?;
        link.anchor();
        let (transport, ssh_options) = self.transport(connection, &resolved, reasons)?;
        if transport == TransportKind::Local {
            // Nothing else is used without a connection.
            reasons.keep_only("transport");
        }
        let (escalate, becomes, become_method) = self.becomes(connection, reasons);
        Ok(Way {
            link,
            jump,
            escalate,
            becomes,
            become_method,
            password: connection.password.is_some(),
            become_password: connection.become_password.is_some(),
            not_ready: connection.not_ready,
            routes: Vec::new(),
            label: None,
            transport,
            ssh_config: file
                .or_else(|| asked.ssh_config.clone())
                .map(|file| from_anywhere(&file)),
            ssh_options,
        })
    }

    /// Builds the connection to the host itself.
    fn link(
        &self,
        resolved: &Resolved,
        connection: &Connection,
        reasons: &mut Reasons,
    ) -> Result<Link, Error> {
        let asked = self.asked;
        let ssh = &connection.ssh;
        let text = String::clone;
        let said = |keyword, value: Option<String>| given(resolved, keyword, value);
        let mut link = self.configured(resolved);
        reasons.first(
            "address",
            [
                said("HostName", Some(resolved.host_name.clone())),
                Some(connection.address.clone()),
            ],
            text,
        );
        reasons.first(
            "port",
            [
                asked.port.clone(),
                connection.port.clone(),
                given(resolved, "Port", resolved.port),
                Some(Given::new(22, DEFAULT)),
            ],
            ToString::to_string,
        );
        reasons.first(
            "user",
            [
                asked.user.clone(),
                connection.user.clone(),
                said("User", resolved.user.clone()),
                Some(Given::new(
                    self.local.user.clone(),
                    Origin::Default("the user who runs Reveille"),
                )),
            ],
            text,
        );
        let query = Query::new(&connection.address.value, &self.local);
        let alias = value(ssh.host_key_alias.as_ref()).map(String::as_str);
        let expanded = |path: &Path| {
            let text = path.to_string_lossy();
            let expanded = resolved.path(&text, &query, alias);
            expanded
                .map_err(|why| Error::input(format!("can't use the path {text} for {}: {why}", query.host)))
        };
        let keys = if asked.keys.is_empty() {
            let keys = connection.key_files.iter();
            keys.map(|key| Ok(Given::new(expanded(&key.value)?, key.origin.clone())))
                .collect::<Result<_, Error>>()?
        } else {
            asked.keys.clone()
        };
        for key in keys {
            reasons.note("key", &key, |path| path.display().to_string());
            link.keys.push(key.value);
        }
        let shown = |path: &&Path| path.display().to_string();
        for (path, origin) in resolved.identities() {
            reasons.note("key", &Given::new(path, origin.clone()), shown);
        }
        for (path, origin) in resolved.certificates() {
            reasons.note("certificate", &Given::new(path, origin.clone()), shown);
        }
        if let Some(agent) = given(resolved, "IdentityAgent", resolved.identity_agent.as_ref()) {
            reasons.note("agent", &agent, |agent| match agent {
                IdentityAgent::None => "none".to_owned(),
                IdentityAgent::Environment => "SSH_AUTH_SOCK".to_owned(),
                IdentityAgent::Socket(path) => path.display().to_string(),
            });
        }
        link.keys_only = reasons
            .first(
                "keys only",
                [
                    ssh.identities_only.clone(),
                    given(resolved, "IdentitiesOnly", resolved.identities_only),
                ],
                ToString::to_string,
            )
            .unwrap_or(false);
        link.host_key_alias = reasons.first(
            "host key alias",
            [
                ssh.host_key_alias.clone(),
                said("HostKeyAlias", resolved.host_key_alias.clone()),
            ],
            text,
        );
        // With `ask`, the run's policy decides.
        let strict = resolved.strict_host_key_checking;
        let strict = given(resolved, "StrictHostKeyChecking", strict);
        let strict = ssh.strict_host_key_checking.clone().or(strict);
        let own =
            strict.and_then(|strict| policy(strict.value).map(|policy| Given::new(policy, strict.origin)));
        link.host_key = value(own.as_ref().filter(|_| asked.host_key.is_none())).copied();
        reasons.first(
            "host key",
            [
                asked.host_key.clone(),
                own,
                Some(Given::new(HostKeyPolicy::default(), DEFAULT)),
            ],
            ToString::to_string,
        );
        let files = resolved.user_known_hosts_files.clone();
        let mut known = given(resolved, "UserKnownHostsFile", files);
        if let Some(files) = &ssh.user_known_hosts_files {
            let named = files
                .value
                .iter()
                .filter(|file| !file.eq_ignore_ascii_case("none"));
            let paths = named.map(|file| expanded(Path::new(file)));
            let paths = paths.collect::<Result<_, _>>()?;
            known = Some(Given::new(paths, files.origin.clone()));
        }
        let files = resolved.global_known_hosts_files.clone();
        let global = given(resolved, "GlobalKnownHostsFile", files);
        for files in [&known, &global].into_iter().flatten() {
            reasons.note("known hosts", files, |files| show_paths(files));
        }
        link.known_hosts = known.map(|files| with_global(files.value, resolved));
        let within = reasons.first(
            "connect timeout",
            [
                asked.connect_timeout.clone(),
                ssh.connect_timeout.clone(),
                given(resolved, "ConnectTimeout", resolved.connect_timeout),
            ],
            |within| duration::shown(*within),
        );
        // The command line's value applies to the whole run already.
        link.connect_timeout_ms = within.filter(|_| asked.connect_timeout.is_none()).map(millis);
        let interval = reasons.first(
            "keep-alive",
            [
                ssh.server_alive_interval.clone(),
                given(resolved, "ServerAliveInterval", resolved.server_alive_interval),
            ],
            |interval| duration::shown(*interval),
        );
        link.alive_interval_ms = interval.map(millis);
        link.alive_count = reasons.first(
            "keep-alives",
            [
                ssh.server_alive_count_max.clone(),
                given(resolved, "ServerAliveCountMax", resolved.server_alive_count_max),
            ],
            ToString::to_string,
        );
        Ok(link)
    }

    /// The user to become by default, the user to become when a step asks for it, and the program for it.
    fn becomes(
        &self,
        connection: &Connection,
        reasons: &mut Reasons,
    ) -> (Option<String>, String, BecomeMethod) {
        let asked = self.asked;
        // Naming a user implies becoming that user.
        let by_user = asked.become_user.clone().map(|user| user.map(|_| true));
        let wanted = reasons.first(
            "become",
            [asked.escalate.clone(), by_user, connection.escalate.clone()],
            |wanted| if *wanted { "yes" } else { "no" }.to_owned(),
        );
        let wanted = wanted.unwrap_or(false);
        let mut ignored = Reasons::unasked();
        let reasons = if wanted { reasons } else { &mut ignored };
        let user = reasons.first(
            "become user",
            [
                asked.become_user.clone(),
                connection.become_user.clone(),
                Some(Given::new("root".to_owned(), DEFAULT)),
            ],
            String::clone,
        );
        let method = reasons.first(
            "become method",
            [
                asked.become_method.clone(),
                connection.become_method.clone(),
                Some(Given::new(BecomeMethod::default(), DEFAULT)),
            ],
            ToString::to_string,
        );
        let user = user.unwrap_or_else(|| "root".to_owned());
        (wanted.then(|| user.clone()), user, method.unwrap_or_default())
    }

    /// Chooses what carries the session, and the options for the system's `ssh`.
    fn transport(
        &self,
        connection: &Connection,
        resolved: &Resolved,
        reasons: &mut Reasons,
    ) -> Result<(TransportKind, Vec<String>), Error> {
        let asked = &self.asked.transport;
        let proxy = connection
            .ssh
            .proxy_command
            .clone()
            .or_else(|| given(resolved, "ProxyCommand", resolved.proxy_command.clone()));
        let is_native = match value(asked.as_ref()) {
            Some(transport) => *transport == TransportKind::Native,
            None => value(connection.transport.as_ref()) != Some(&TransportKind::Local),
        };
        let Some(proxy) = proxy.filter(|_| is_native) else {
            let transport = reasons.first(
                "transport",
                [
                    asked.clone(),
                    connection.transport.clone(),
                    Some(Given::new(TransportKind::Native, DEFAULT)),
                ],
                ToString::to_string,
            );
            return Ok((transport.unwrap_or_default(), Vec::new()));
        };
        if asked.is_some() {
            return Err(Error::input(format!(
                "{} is reached by a ProxyCommand ({}), which native SSH can't run; use --transport openssh",
                connection.address.value, proxy.origin
            )));
        }
        self.warn_once("hosts with a ProxyCommand are reached by the system's ssh");
        let transport = Given::new(TransportKind::Openssh, proxy.origin.clone());
        reasons.note("transport", &transport, ToString::to_string);
        reasons.note("proxy command", &proxy, String::clone);
        Ok((transport.value, vec![format!("ProxyCommand={}", proxy.value)]))
    }

    fn resolve(
        &mut self,
        file: Option<&Path>,
        host: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<Resolved, Error> {
        if let Some(file) = file
            && !self.others.contains_key(file)
        {
            self.others.insert(file.to_owned(), SshConfig::only(file)?);
        }
        let config = file.and_then(|file| self.others.get(file)).unwrap_or(&self.usual);
        let resolved = config.resolve(&Query {
            user,
            port,
            ..Query::new(host, &self.local)
        })?;
        for warning in &resolved.warnings {
            self.warn_once(&warning.to_string());
        }
        Ok(resolved)
    }

    /// Builds the connections through jump hosts to the host of `last`.
    pub(crate) fn through(
        &mut self,
        file: Option<&Path>,
        hops: &[Hop],
        last: &Link,
    ) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        self.jump(file, hops, &mut links, 0)?;
        for hop in &mut links {
            hop.last_keys.clone_from(&last.keys);
            hop.anchor();
        }
        Ok(links)
    }

    /// Adds a jump host, and before it the jump hosts that lead to it.
    fn jump(
        &mut self,
        file: Option<&Path>,
        hops: &[Hop],
        links: &mut Vec<Link>,
        depth: usize,
    ) -> Result<(), Error> {
        for (index, hop) in hops.iter().enumerate() {
            let resolved = self.resolve(file, &hop.address, hop.user.as_deref(), hop.port)?;
            if let Some(before) = resolved.proxy_jump.as_ref().filter(|_| index == 0) {
                if depth == MAX_JUMPS {
                    return Err(Error::input(format!(
                        "the jump hosts of {} name each other in a circle",
                        hop.address
                    )));
                }
                self.jump(file, before, links, depth + 1)?;
            }
            let mut link = self.configured(&resolved);
            if resolved.user.is_none()
                && let Some(user) = &self.asked.user
            {
                // A jump host without its own user gets the user of the command line.
                link.user.clone_from(&user.value);
            }
            link.keys = self.asked.keys.iter().map(|key| key.value.clone()).collect();
            link.keys_only = resolved.identities_only.unwrap_or(false);
            links.push(link);
        }
        Ok(())
    }

    /// Builds a connection from ssh_config and the defaults.
    fn configured(&self, resolved: &Resolved) -> Link {
        let known_hosts = resolved.user_known_hosts_files.clone();
        let unless_asked = |_: &_| self.asked.host_key.is_none();
        Link {
            address: resolved.host_name.clone(),
            port: resolved.port.unwrap_or(22),
            user: resolved.user.clone().unwrap_or_else(|| self.local.user.clone()),
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
            host_key: resolved
                .strict_host_key_checking
                .and_then(policy)
                .filter(unless_asked),
            host_key_alias: resolved.host_key_alias.clone(),
            known_hosts: known_hosts.map(|files| with_global(files, resolved)),
            connect_timeout_ms: resolved
                .connect_timeout
                .filter(|_| self.asked.connect_timeout.is_none())
                .map(millis),
            alive_interval_ms: resolved.server_alive_interval.map(millis),
            alive_count: resolved.server_alive_count_max,
        }
    }

    fn warn_once(&self, message: &str) {
        if self.warned.borrow_mut().insert(message.to_owned()) {
            self.operator.warn(message);
        }
    }
}

/// A value of ssh_config with the line that sets it; none if no line does.
fn given<T>(resolved: &Resolved, keyword: &str, value: Option<T>) -> Option<Given<T>> {
    let origin = resolved.origin(keyword)?;
    Some(Given::new(value?, origin.clone()))
}

fn value<T>(given: Option<&Given<T>>) -> Option<&T> {
    given.map(|given| &given.value)
}

/// The policy for `StrictHostKeyChecking`; none for `ask`, which leaves it to the run's policy.
fn policy(strict: StrictHostKeyChecking) -> Option<HostKeyPolicy> {
    match strict {
        StrictHostKeyChecking::Yes => Some(HostKeyPolicy::Strict),
        StrictHostKeyChecking::No => Some(HostKeyPolicy::Off),
        StrictHostKeyChecking::AcceptNew => Some(HostKeyPolicy::AcceptNew),
        StrictHostKeyChecking::Ask => None,
    }
}

/// Adds the system's files of known hosts to the user's.
fn with_global(mut files: Vec<PathBuf>, resolved: &Resolved) -> Vec<PathBuf> {
    if files.is_empty() {
        // New keys are discarded, rather than added to the system's file, which comes next.
        files.push(NOWHERE.into());
    }
    match &resolved.global_known_hosts_files {
        Some(global) => files.extend_from_slice(global),
        None => files.push("/etc/ssh/ssh_known_hosts".into()),
    }
    files
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn show_hops(hops: &[Hop]) -> String {
    if hops.is_empty() {
        return "none".to_owned();
    }
    let hops = hops.iter().map(|hop| {
        let user = hop
            .user
            .as_ref()
            .map_or_else(String::new, |user| format!("{user}@"));
        let port = hop.port.map_or_else(String::new, |port| format!(":{port}"));
        if hop.address.contains(':') {
            format!("{user}[{}]{port}", hop.address)
        } else {
            format!("{user}{}{port}", hop.address)
        }
    });
    hops.collect::<Vec<_>>().join(",")
}

fn show_paths(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" ")
}
