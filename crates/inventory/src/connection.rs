//! How a host is reached, as its vars say it in Ansible's words.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use reveille_account::{HostName, SourceError};
use reveille_document::ansible::{is_template, literal};
use reveille_document::is_secret;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::InventoryError;
use crate::entry::parse_port;
use crate::inventory::{Inventory, Variable};
use crate::place::Fault;
use crate::secret::Secret;
use crate::ssh_arguments::{Arguments, SshOptions, without_templates};
use crate::ssh_config::StrictHostKeyChecking;
use crate::template::Filled;

/// How to connect to a host, and as whom to work there.
///
/// What the inventory leaves open is none here; options, configuration and defaults fill it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The name or address to connect to.
    pub address: String,
    /// The port.
    pub port: Option<u16>,
    /// The user to log in as.
    pub user: Option<String>,
    /// Private key files, in the order to try them.
    pub key_files: Vec<PathBuf>,
    /// Jump hosts, from the nearest to this machine to the nearest to the host; empty if there shall be none.
    pub jump: Option<Vec<Hop>>,
    /// What carries the commands.
    pub transport: Transport,
    /// Whom to become, if the inventory says that commands become somebody.
    pub escalate: Option<Become>,
    /// Whom to become when the job or an option asks for it.
    pub becomes: Become,
    /// The host exists and must not be dispatched (`reveille_not_ready`).
    pub not_ready: bool,
    /// The password to log in with.
    pub password: Option<Secret>,
    /// The password to become somebody with.
    pub become_password: Option<Secret>,
    /// What else the arguments of `ssh` in the inventory say.
    pub ssh: SshOptions,
}

/// A jump host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The user to log in as there.
    pub user: Option<String>,
    /// Its name or address, without brackets.
    pub address: String,
    /// Its port.
    pub port: Option<u16>,
}

/// What carries the commands to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// SSH.
    Ssh,
    /// No connection; this machine.
    Local,
}

/// Whom to become for commands, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Become {
    /// The user; none means root.
    pub user: Option<String>,
    /// The program.
    pub method: BecomeMethod,
}

/// The program that makes a command another user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BecomeMethod {
    /// `sudo`.
    Sudo,
    /// `su`.
    Su,
    /// `doas`.
    Doas,
}

/// What is to be said of a var when it is read.
pub(crate) enum Finding {
    /// It can't be used.
    Mistake(Fault),
    /// It has no effect; the first part is what the warning is about.
    Warning(String, Fault),
}

// The stronger name comes first; Ansible lets the old names win.
pub(crate) const ADDRESSES: &[&str] = &["ansible_ssh_host", "ansible_host"];
const PORT: &[&str] = &["ansible_ssh_port", "ansible_port"];
const USER: &[&str] = &["ansible_ssh_user", "ansible_user"];
const KEY_FILE: &[&str] = &["ansible_ssh_private_key_file", "ansible_private_key_file"];
/// What Ansible puts before the options that it makes of other vars.
const FIRST_ARGUMENTS: &str = "ansible_ssh_args";
const ARGUMENTS: &[&str] = &["ansible_ssh_common_args", "ansible_ssh_extra_args"];
const PASSWORD: &[&str] = &["ansible_ssh_password", "ansible_ssh_pass", "ansible_password"];
const BECOME_PASSWORD: &[&str] = &[
    "ansible_sudo_pass",
    "ansible_become_pass",
    "ansible_become_password",
];
const BECOME_USER: &[&str] = &["ansible_sudo_user", "ansible_become_user"];
const TIMEOUT: &[&str] = &["ansible_ssh_timeout", "ansible_timeout"];
const HOST_KEY_CHECKING: &[&str] = &["ansible_ssh_host_key_checking", "ansible_host_key_checking"];
const NOT_READY: &str = "reveille_not_ready";
/// Looks at a var on its way in.
pub(crate) fn examine(key: &str, value: &Value) -> Option<Finding> {
    let text = value.as_str().unwrap_or_default();
    let is_template = is_template(text);
    match key {
        "ansible_host"
        | "ansible_ssh_host"
        | "ansible_user"
        | "ansible_ssh_user"
        | "ansible_become_user"
        | "ansible_sudo_user"
        | "ansible_ssh_password"
        | "ansible_ssh_pass"
        | "ansible_password"
        | "ansible_sudo_pass"
        | "ansible_become_pass"
        | "ansible_become_password"
        | "ansible_ssh_private_key_file"
        | "ansible_private_key_file" => scalar(value)
            .is_none()
            .then(|| Finding::Mistake(Fault::new(0, format!("`{key}` is text")))),
        "ansible_port" | "ansible_ssh_port" => {
            if is_template {
                return None;
            }
            match scalar(value).map(|text| parse_port(&text)) {
                Some(Ok(_)) => None,
                Some(Err(fault)) => Some(Finding::Mistake(fault)),
                None => Some(Finding::Mistake(Fault::new(0, "a port is a number"))),
            }
        }
        "ansible_ssh_timeout" | "ansible_timeout" => (!is_template && seconds(value).is_none())
            .then(|| Finding::Mistake(Fault::new(0, format!("`{key}` is a number of seconds")))),
        "ansible_become" | "ansible_host_key_checking" | "ansible_ssh_host_key_checking" | NOT_READY => {
            (!is_template && truth(value).is_none())
                .then(|| Finding::Mistake(Fault::new(0, format!("`{key}` is true or false"))))
        }
        "ansible_group_priority" => priority(value)
            .is_none()
            .then(|| Finding::Mistake(Fault::new(0, "a group's priority is a whole number"))),
        "ansible_connection" => (!is_template && transport(text).is_none()).then(|| {
            let fault = Fault::new(0, format!("the connection `{text}` is not supported"));
            Finding::Warning(
                format!("{key} {text}"),
                fault.hint("`ssh` and `local` are; its hosts can't be reached"),
            )
        }),
        "ansible_become_method" => (!is_template && become_method(text).is_none()).then(|| {
            let fault = Fault::new(0, format!("the become method `{text}` is not supported"));
            Finding::Warning(format!("{key} {text}"), fault.hint("`sudo`, `su` and `doas` are"))
        }),
        "ansible_ssh_args" | "ansible_ssh_common_args" | "ansible_ssh_extra_args" => {
            let arguments = match Arguments::parse(&without_templates(text)) {
                Ok(arguments) => arguments,
                Err(message) => return Some(Finding::Mistake(Fault::new(0, message))),
            };
            if arguments.ssh.proxy_command.is_some() {
                let fault = Fault::new(
                    0,
                    "a `ProxyCommand` other than `ssh -W %h:%p …` needs the system's ssh",
                )
                .hint("use `-J`, or set `transport: openssh`");
                return Some(Finding::Warning("proxycommand".to_owned(), fault));
            }
            let unknown = arguments.not_understood;
            let shown = unknown.join("`, `");
            (!unknown.is_empty()).then(|| {
                let fault = Fault::new(0, format!("not understood and without effect: `{shown}`"));
                Finding::Warning(format!("{key} {shown}"), fault)
            })
        }
        "ansible_become_flags" | "ansible_become_exe" | "ansible_sudo_flags" | "ansible_sudo_exe" => {
            let fault = Fault::new(0, format!("`{key}` has no effect"));
            Some(Finding::Warning(
                key.to_owned(),
                fault.hint("commands become another user by `sudo -n -H -u USER`"),
            ))
        }
        // These steer the Python on the other side, or sockets of the system's ssh.
        "ansible_remote_tmp"
        | "ansible_pipelining"
        | "ansible_ssh_pipelining"
        | "ansible_ssh_control_path"
        | "ansible_ssh_control_path_dir"
        | "ansible_ssh_transfer_method"
        | "ansible_scp_if_ssh"
        | "ansible_sftp_batch_mode"
        | "ansible_shell_allow_world_readable_temp" => None,
        _ if key.starts_with("ansible_") && key.ends_with("_interpreter") => None,
        _ if key.starts_with("ansible_") && is_secret(key) => {
            let fault = Fault::new(0, format!("`{key}` is not used"));
            Some(Finding::Warning(
                key.to_owned(),
                fault.hint("`ansible_password` and `ansible_become_password` are"),
            ))
        }
        _ if key.starts_with("ansible_") => Some(Finding::Warning(
            key.to_owned(),
            Fault::new(0, format!("`{key}` is not understood and has no effect")),
        )),
        _ => None,
    }
}

impl Inventory {
    /// How to reach `host`.
    pub fn connection(&self, host: &str) -> Result<Connection, InventoryError> {
        let Some(index) = self.index(host) else {
            return Err(InventoryError::UnknownHost(host.into()));
        };
        let vars = self.host_vars(index);
        let arguments = |name: &str| -> Result<Arguments, InventoryError> {
            vars.text(&[name])?.map_or_else(
                || Ok(Arguments::default()),
                |found| {
                    Arguments::parse(&found.text).map_err(|message| {
                        vars.error_about(&found, &message, "ssh's arguments can't be read")
                    })
                },
            )
        };
        let first = arguments(FIRST_ARGUMENTS)?;
        let mut later = Arguments::default();
        for name in ARGUMENTS {
            later.add(arguments(name)?);
        }
        let port = vars.port()?;
        let transport = match vars.text(&["ansible_connection"])? {
            Some(found) => transport(&found.text).ok_or_else(|| {
                let message = format!("the connection `{}` is not supported", *found.text);
                vars.error_about(&found, &message, "this connection is not supported")
            })?,
            None => Transport::Ssh,
        };
        let method = match vars.text(&["ansible_become_method"])? {
            Some(found) => become_method(&found.text).ok_or_else(|| {
                let message = format!("the become method `{}` is not supported", *found.text);
                vars.error_about(&found, &message, "this become method is not supported")
            })?,
            None => BecomeMethod::Sudo,
        };
        let becomes = Become {
            user: vars.text(BECOME_USER)?.map(|found| found.text.to_string()),
            method,
        };
        let (first_port, first_user) = (first.port, first.user.clone());
        let own_keys = first.key_files.len();
        let mut all = first;
        all.add(later);
        // As ssh does it: what comes first wins, and vars stand between the arguments.
        let mut key_files: Vec<PathBuf> = all.key_files[..own_keys].iter().map(|path| home(path)).collect();
        if let Some(found) = vars.text(KEY_FILE)? {
            key_files.push(home(&found.text));
        }
        key_files.extend(all.key_files[own_keys..].iter().map(|path| home(path)));
        let mut ssh = all.ssh;
        if ssh.strict_host_key_checking.is_none()
            && let Some(false) = vars.said(HOST_KEY_CHECKING)?
        {
            ssh.strict_host_key_checking = Some(StrictHostKeyChecking::No);
        }
        if let Some(found) = vars.text(TIMEOUT)?
            && ssh.connect_timeout.is_none()
        {
            let seconds = seconds(&Value::String(found.text.to_string()))
                .ok_or_else(|| vars.error(found.variable, "it is no number of seconds"))?;
            ssh.connect_timeout = Some(seconds);
        }
        let secret = |names: &[&str]| -> Result<Option<Secret>, InventoryError> {
            Ok(vars.text(names)?.map(|found| Secret::new(&*found.text)))
        };
        Ok(Connection {
            address: vars
                .text(ADDRESSES)?
                .map_or_else(|| vars.name.to_string(), |found| found.text.to_string()),
            port: first_port.or(port).or(all.port),
            user: first_user
                .or(vars.text(USER)?.map(|found| found.text.to_string()))
                .or(all.user),
            key_files,
            jump: all.jump,
            transport,
            escalate: vars.truth("ansible_become")?.then(|| becomes.clone()),
            becomes,
            not_ready: vars.truth(NOT_READY)?,
            password: secret(PASSWORD)?,
            become_password: secret(BECOME_PASSWORD)?,
            ssh,
        })
    }

    /// The value of a var of `host`, templates in it filled in as in those that say how it is reached; none if it is not
    /// set, or no such host exists.
    ///
    /// # Errors
    ///
    /// Its template can't be filled in.
    pub fn filled(&self, host: &str, var: &str) -> Result<Option<Value>, InventoryError> {
        match self.index(host) {
            Some(index) => self.host_vars(index).filled(var),
            None => Ok(None),
        }
    }

    pub(crate) fn host_vars(&self, index: u32) -> HostVars<'_> {
        HostVars {
            inventory: self,
            name: &self.hosts[index as usize].name,
            source: self.hosts[index as usize].source,
            layers: self.layers(index),
            filled: RefCell::default(),
        }
    }

    /// Warnings about names that are the same machine: the same address and port, by the same way.
    pub(crate) fn doubles(&self) -> Vec<SourceError> {
        // Most addresses are there once; only the others are worth a closer look.
        let state = RandomState::new();
        let mut first: HashMap<u64, u32> = HashMap::with_capacity(self.hosts.len());
        let mut machines: HashMap<Machine, u32> = HashMap::new();
        let mut warnings = Vec::new();
        for index in 0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX) {
            let hash = match self.own_address(index) {
                Some(address) => state.hash_one(address.to_ascii_lowercase()),
                None => match self.machine(index) {
                    Some((machine, _)) => state.hash_one(machine.address),
                    None => continue,
                },
            };
            let Some(other) = first.get(&hash).copied() else {
                first.insert(hash, index);
                continue;
            };
            if let Some((machine, _)) = self.machine(other) {
                machines.entry(machine).or_insert(other);
            }
            let Some((machine, variable)) = self.machine(index) else {
                continue;
            };
            let Some(other) = machines.get(&machine) else {
                machines.insert(machine, index);
                continue;
            };
            let shown = if variable.is_some_and(|variable| variable.secret || is_secret(&variable.key)) {
                "the same address".to_owned()
            } else {
                format!("{} port {}", machine.address, machine.port)
            };
            let (name, other) = (
                &self.hosts[index as usize].name,
                &self.hosts[*other as usize].name,
            );
            let file = variable.and_then(|variable| self.files.get(variable.file as usize));
            let mut warning = SourceError::whole(
                format!("`{other}` and `{name}` are the same machine: both are reached at {shown}"),
                file.map_or("inventory", |file| file),
            );
            warning.line = variable.map_or(0, |variable| variable.line as usize);
            warnings.push(warning);
        }
        warnings
    }

    /// The address that a host's own vars set, if it is plain text.
    fn own_address(&self, index: u32) -> Option<&str> {
        let layers = &self.hosts[index as usize].layers;
        if self.host_files.contains_key(&index) {
            return None;
        }
        let mut variables = layers.iter().rev().flat_map(|layer| layer.iter().rev());
        let variable = variables.find(|variable| ADDRESSES.contains(&&*variable.key))?;
        variable
            .value
            .as_str()
            .filter(|text| &*variable.key == "ansible_host" && !is_template(text) && !text.trim().is_empty())
    }

    /// Which machine a host is, and the var that gives its address; none if that can't be read or isn't by SSH.
    fn machine(&self, index: u32) -> Option<(Machine, Option<&Variable>)> {
        let vars = self.host_vars(index);
        // Templates are filled in for the hosts that are asked for, not for all.
        let is_filled_in = |name: &&str| {
            vars.find(name)
                .is_some_and(|variable| variable.value.as_str().is_some_and(is_template))
        };
        if ADDRESSES.iter().chain(PORT).any(is_filled_in) {
            return None;
        }
        let by_ssh = vars
            .find("ansible_connection")
            .is_none_or(|variable| variable.value.as_str().and_then(transport) == Some(Transport::Ssh));
        // What can't be read is reported when the host is asked for.
        let (true, Ok(address), Ok(port)) = (by_ssh, vars.text(ADDRESSES), vars.port()) else {
            return None;
        };
        let (address, variable) = match address {
            Some(found) => (found.text.to_ascii_lowercase(), Some(found.variable)),
            None => (vars.name.as_str().to_ascii_lowercase(), None),
        };
        let way = std::iter::once(&FIRST_ARGUMENTS)
            .chain(ARGUMENTS)
            .filter_map(|name| vars.find(name).and_then(|variable| scalar(&variable.value)))
            .collect();
        let port = port.unwrap_or(22);
        Some((Machine { address, port, way }, variable))
    }
}

/// What makes two hosts the same machine.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Machine {
    address: String,
    port: u16,
    /// Arguments of ssh, jump hosts among them, by which it is reached.
    way: Vec<String>,
}

/// The vars of one host, looked up and never merged.
pub(crate) struct HostVars<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) name: &'a HostName,
    pub(crate) source: u32,
    /// Strongest first.
    layers: Vec<&'a [Variable]>,
    pub(crate) filled: RefCell<Filled>,
}

/// The text of a connection var.
struct Found<'a> {
    variable: &'a Variable,
    text: Zeroizing<String>,
    /// The text, or a part of it, must not be shown.
    secret: bool,
}

// === impl HostVars ===

impl<'a> HostVars<'a> {
    pub(crate) fn find(&self, key: &str) -> Option<&'a Variable> {
        self.layers
            .iter()
            .find_map(|layer| layer.iter().rev().find(|variable| &*variable.key == key))
    }

    /// The text of the first of `names` that is set, templates in it rendered.
    fn text(&self, names: &[&str]) -> Result<Option<Found<'a>>, InventoryError> {
        let Some(variable) = names.iter().find_map(|name| self.find(name)) else {
            return Ok(None);
        };
        let text = scalar(&variable.value).ok_or_else(|| self.error(variable, "it is not text"))?;
        let mut found = Found {
            variable,
            text: Zeroizing::new(text),
            secret: variable.secret || is_secret(&variable.key),
        };
        if is_template(&found.text) && literal(&variable.value).is_none() {
            let (text, secret) = self
                .filled_text(variable, &found.text)
                .map_err(|message| self.error(variable, &message))?;
            (found.text, found.secret) = (Zeroizing::new(text), secret);
        }
        // Ansible takes an empty value for a value that isn't set.
        Ok((!found.text.trim().is_empty()).then_some(found))
    }

    fn port(&self) -> Result<Option<u16>, InventoryError> {
        let Some(found) = self.text(PORT)? else {
            return Ok(None);
        };
        match parse_port(&found.text) {
            Ok(port) => Ok(Some(port)),
            Err(fault) => Err(self.error_about(&found, &fault.message, "it is not a port (1 to 65535)")),
        }
    }

    fn truth(&self, name: &str) -> Result<bool, InventoryError> {
        Ok(self.said(&[name])?.unwrap_or(false))
    }

    fn said(&self, names: &[&str]) -> Result<Option<bool>, InventoryError> {
        let Some(found) = self.text(names)? else {
            return Ok(None);
        };
        truth(&Value::String(found.text.to_string()))
            .map(Some)
            .ok_or_else(|| self.error(found.variable, "it is neither true nor false"))
    }

    /// An error whose message holds the value, or `plain` if that is secret.
    fn error_about(&self, found: &Found<'_>, message: &str, plain: &str) -> InventoryError {
        self.error(found.variable, if found.secret { plain } else { message })
    }

    pub(crate) fn error(&self, variable: &Variable, message: &str) -> InventoryError {
        let file = self.inventory.files.get(variable.file as usize);
        InventoryError::Connection {
            host: self.name.clone(),
            message: format!("`{}`: {message}", variable.key),
            file: file.map_or("inventory", |file| file).to_owned(),
            line: variable.line as usize,
        }
    }
}

fn transport(text: &str) -> Option<Transport> {
    match text.strip_prefix("ansible.builtin.").unwrap_or(text) {
        "ssh" | "smart" | "paramiko" | "paramiko_ssh" | "openssh" => Some(Transport::Ssh),
        "local" => Some(Transport::Local),
        _ => None,
    }
}

fn become_method(text: &str) -> Option<BecomeMethod> {
    match text.strip_prefix("ansible.builtin.").unwrap_or(text) {
        "sudo" => Some(BecomeMethod::Sudo),
        "su" => Some(BecomeMethod::Su),
        "doas" | "community.general.doas" => Some(BecomeMethod::Doas),
        _ => None,
    }
}

/// A time in seconds, at least one and at most a day.
fn seconds(value: &Value) -> Option<Duration> {
    let number: f64 = scalar(value)?.trim().parse().ok()?;
    (number > 0.0 && number <= 86_400.0).then(|| Duration::from_secs_f64(number))
}

/// `ansible_group_priority`: a whole number, perhaps as text.
pub(crate) fn priority(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A value as the text it was written as, if it is no list and no dictionary.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => literal(value).map(str::to_owned),
    }
}

/// Ansible's words for yes and no.
fn truth(value: &Value) -> Option<bool> {
    match scalar(value)?.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
        "n" | "no" | "off" | "0" | "false" | "f" | "" => Some(false),
        _ => None,
    }
}

/// A path with `~/` written out.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}
