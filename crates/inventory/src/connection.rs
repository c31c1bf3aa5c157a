//! How a host is reached, as its vars say it in Ansible's words.

use std::path::PathBuf;

use reveille_account::HostName;
use serde_json::Value;

use crate::InventoryError;
use crate::entry::parse_port;
use crate::inventory::{Inventory, Variable};
use crate::place::Fault;
use crate::ssh_arguments::{Arguments, without_templates};

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
    /// Jump hosts, from the nearest to this machine to the nearest to the host.
    pub jump: Vec<Hop>,
    /// What carries the commands.
    pub transport: Transport,
    /// Whom to become, if the inventory says that commands become somebody.
    pub escalate: Option<Become>,
    /// Whom to become when the job or an option asks for it.
    pub becomes: Become,
    /// The host exists and must not be dispatched (`reveille_not_ready`).
    pub not_ready: bool,
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
const ADDRESS: &[&str] = &["ansible_ssh_host", "ansible_host"];
const PORT: &[&str] = &["ansible_ssh_port", "ansible_port"];
const USER: &[&str] = &["ansible_ssh_user", "ansible_user"];
const KEY_FILE: &[&str] = &["ansible_ssh_private_key_file", "ansible_private_key_file"];
const ARGUMENTS: &[&str] = &["ansible_ssh_common_args", "ansible_ssh_extra_args"];
const NOT_READY: &str = "reveille_not_ready";
/// Templates in connection vars may name vars with templates, to this depth.
const MAX_TEMPLATE_DEPTH: usize = 8;

/// Whether a var of this name holds a secret, which no screen and no file may show.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "credential"]
        .iter()
        .any(|part| name.contains(part))
        && !name.ends_with("_file")
}

/// Looks at a var on its way in.
pub(crate) fn examine(key: &str, value: &Value) -> Option<Finding> {
    let text = value.as_str().unwrap_or_default();
    let is_template = text.contains("{{");
    match key {
        "ansible_host"
        | "ansible_ssh_host"
        | "ansible_user"
        | "ansible_ssh_user"
        | "ansible_become_user"
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
        "ansible_become" | NOT_READY => (!is_template && truth(value).is_none())
            .then(|| Finding::Mistake(Fault::new(0, format!("`{key}` is true or false")))),
        "ansible_group_priority" => value
            .as_i64()
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
        "ansible_ssh_common_args" | "ansible_ssh_extra_args" => {
            let unknown = match Arguments::parse(&without_templates(text)) {
                Ok(arguments) => arguments.not_understood,
                Err(message) => return Some(Finding::Mistake(Fault::new(0, message))),
            };
            let shown = unknown.join("`, `");
            (!unknown.is_empty()).then(|| {
                let fault = Fault::new(0, format!("not understood and without effect: `{shown}`"));
                let fault = if shown.contains("HostKey") || shown.contains("KnownHosts") {
                    fault.hint("host keys are checked as the option `--host-key` says")
                } else {
                    fault
                };
                Finding::Warning(format!("{key} {shown}"), fault)
            })
        }
        // These steer the Python on the other side, or sockets of the system's ssh.
        "ansible_remote_tmp"
        | "ansible_pipelining"
        | "ansible_ssh_pipelining"
        | "ansible_ssh_control_path"
        | "ansible_ssh_control_path_dir"
        | "ansible_ssh_transfer_method"
        | "ansible_shell_allow_world_readable_temp" => None,
        _ if key.starts_with("ansible_") && key.ends_with("_interpreter") => None,
        _ if key.starts_with("ansible_") && is_secret(key) => {
            let fault = Fault::new(0, format!("`{key}` is not used"));
            Some(Finding::Warning(
                key.to_owned(),
                fault.hint("log in with a key or an agent; let sudo work without a password for this user"),
            ))
        }
        _ if key.starts_with("ansible_") => Some(Finding::Warning(
            key.to_owned(),
            Fault::new(0, format!("`{key}` is not understood and has no effect")),
        )),
        _ if is_template => Some(Finding::Warning(
            format!("template {key}"),
            Fault::new(
                0,
                format!("the template in `{key}` stays as it is; vars of an inventory are not rendered"),
            ),
        )),
        _ => None,
    }
}

impl Inventory {
    /// How to reach `host`.
    pub fn connection(&self, host: &str) -> Result<Connection, InventoryError> {
        let Some(found) = self.host(host) else {
            return Err(InventoryError::UnknownHost(host.into()));
        };
        let vars = HostVars {
            inventory: self,
            name: &found.name,
            layers: self.layers(found),
        };
        let mut arguments = Arguments::default();
        for name in ARGUMENTS {
            if let Some((variable, text)) = vars.text(&[name])? {
                let more = Arguments::parse(&text).map_err(|message| vars.error(variable, &message))?;
                arguments.add(more);
            }
        }
        let port = match vars.text(PORT)? {
            Some((variable, text)) => {
                Some(parse_port(&text).map_err(|fault| vars.error(variable, &fault.message))?)
            }
            None => arguments.port,
        };
        let transport = match vars.text(&["ansible_connection"])? {
            Some((variable, text)) => transport(&text)
                .ok_or_else(|| vars.error(variable, &format!("the connection `{text}` is not supported")))?,
            None => Transport::Ssh,
        };
        let method = match vars.text(&["ansible_become_method"])? {
            Some((variable, text)) => become_method(&text).ok_or_else(|| {
                vars.error(variable, &format!("the become method `{text}` is not supported"))
            })?,
            None => BecomeMethod::Sudo,
        };
        let becomes = Become {
            user: vars.text(&["ansible_become_user"])?.map(|(_, text)| text),
            method,
        };
        let mut key_files = Vec::new();
        if let Some((_, path)) = vars.text(KEY_FILE)? {
            key_files.push(home(&path));
        }
        key_files.extend(arguments.key_files.iter().map(|path| home(path)));
        Ok(Connection {
            address: vars
                .text(ADDRESS)?
                .map_or_else(|| found.name.to_string(), |(_, text)| text),
            port,
            user: vars.text(USER)?.map(|(_, text)| text).or(arguments.user),
            key_files,
            jump: arguments.jump.unwrap_or_default(),
            transport,
            escalate: vars.truth("ansible_become")?.then(|| becomes.clone()),
            becomes,
            not_ready: vars.truth(NOT_READY)?,
        })
    }
}

/// The vars of one host, looked up and never merged.
struct HostVars<'a> {
    inventory: &'a Inventory,
    name: &'a HostName,
    /// Strongest first.
    layers: Vec<&'a [Variable]>,
}

// === impl HostVars ===

impl<'a> HostVars<'a> {
    fn find(&self, key: &str) -> Option<&'a Variable> {
        self.layers
            .iter()
            .find_map(|layer| layer.iter().rev().find(|variable| &*variable.key == key))
    }

    /// The text of the first of `names` that is set, templates in it rendered.
    fn text(&self, names: &[&str]) -> Result<Option<(&'a Variable, String)>, InventoryError> {
        let Some(variable) = names.iter().find_map(|name| self.find(name)) else {
            return Ok(None);
        };
        let text = scalar(&variable.value).ok_or_else(|| self.error(variable, "it is not text"))?;
        let text = self
            .render(&text, 0)
            .map_err(|message| self.error(variable, &message))?;
        // Ansible takes an empty value for a value that isn't set.
        Ok((!text.trim().is_empty()).then_some((variable, text)))
    }

    fn truth(&self, name: &str) -> Result<bool, InventoryError> {
        let Some((variable, text)) = self.text(&[name])? else {
            return Ok(false);
        };
        truth(&Value::String(text)).ok_or_else(|| self.error(variable, "it is neither true nor false"))
    }

    /// Puts in the vars that `text` names as `{{ name }}`; anything more is refused.
    fn render(&self, text: &str, depth: usize) -> Result<String, String> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        if depth > MAX_TEMPLATE_DEPTH {
            return Err("its template refers to itself".into());
        }
        let mut rendered = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after.split_once("}}").ok_or("its template is never closed")?;
            rendered.push_str(before);
            let name = inside.trim();
            if name == "inventory_hostname" {
                rendered.push_str(self.name.as_str());
            } else if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                let variable = self
                    .find(name)
                    .ok_or_else(|| format!("its template names `{name}`, which is not set"))?;
                let value = scalar(&variable.value)
                    .ok_or_else(|| format!("its template names `{name}`, which is not text"))?;
                rendered.push_str(&self.render(&value, depth + 1)?);
            } else {
                return Err(format!(
                    "its template `{{{{{inside}}}}}` is more than a name, which is not rendered here"
                ));
            }
            rest = after;
        }
        rendered.push_str(rest);
        Ok(rendered)
    }

    fn error(&self, variable: &Variable, message: &str) -> InventoryError {
        let file = self.inventory.files.get(usize::from(variable.file));
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

/// A value as the text it was written as, if it is no list and no dictionary.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
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
