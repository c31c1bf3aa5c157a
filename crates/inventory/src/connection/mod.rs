//! How a host is reached according to its vars, in Ansible's words. Each value keeps the var and the line that set it.

mod doubles;
mod ssh_arguments;
pub(crate) mod variables;

use std::path::PathBuf;

use reveille_account::{BecomeMethod, Given, Origin, TransportKind};
use reveille_ssh_config::{Hop, StrictHostKeyChecking};
use reveille_text::Secret;
use serde_json::Value;

use self::ssh_arguments::Arguments;
use self::variables::{
    ADDRESS, BECOME, BECOME_METHOD, BECOME_PASSWORD, BECOME_USER, COMMON_ARGUMENTS, EXTRA_ARGUMENTS,
    FIRST_ARGUMENTS, HOST_KEY_CHECKING, KEY_FILE, NOT_READY, PASSWORD, PORT, Setting, TIMEOUT, TRANSPORT,
    USER, truth,
};
use crate::InventoryError;
use crate::host_vars::{Found, HostVars};
use crate::model::Inventory;

pub use self::ssh_arguments::SshOptions;

/// How a host's vars say to connect to it, and which user to become there.
///
/// Values that they do not set are none; options, ssh_config and defaults fill them in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The name or address to connect to.
    pub address: Given<String>,
    /// The port.
    pub port: Option<Given<u16>>,
    /// The user to log in as.
    pub user: Option<Given<String>>,
    /// Private key files, in the order to try them.
    pub key_files: Vec<Given<PathBuf>>,
    /// Jump hosts, from the nearest to this machine to the nearest to the host; empty for a direct connection.
    pub jump: Option<Given<Vec<Hop>>>,
    /// What carries the session: `Native` or `Local`.
    pub transport: Option<Given<TransportKind>>,
    /// Whether commands become another user.
    pub escalate: Option<Given<bool>>,
    /// The user to become, by default or when the job or an option asks for it.
    pub become_user: Option<Given<String>>,
    /// The program that changes the user.
    pub become_method: Option<Given<BecomeMethod>>,
    /// The host exists and must not be dispatched (`reveille_not_ready`).
    pub not_ready: bool,
    /// The password to log in with.
    pub password: Option<Secret>,
    /// The password for becoming another user.
    pub become_password: Option<Secret>,
    /// Further arguments of `ssh`.
    pub ssh: SshOptions,
}

// === impl Inventory ===

impl Inventory {
    /// Reads how to reach `host`.
    ///
    /// # Errors
    ///
    /// The inventory has no such host, or one of its vars is not valid.
    pub fn connection(&self, host: &str) -> Result<Connection, InventoryError> {
        let Some(index) = self.index(host) else {
            return Err(InventoryError::UnknownHost(host.into()));
        };
        let vars = self.host_vars(index);
        let first = vars.arguments(&FIRST_ARGUMENTS)?;
        let mut later = vars.arguments(&COMMON_ARGUMENTS)?;
        later.add(vars.arguments(&EXTRA_ARGUMENTS)?);
        let (first_port, first_user) = (first.port.clone(), first.user.clone());
        let own_keys = first.key_files.len();
        let mut all = first;
        all.add(later);
        // As in ssh, the first value wins; the vars come between Ansible's two kinds of arguments.
        let mut key_files = all.key_files;
        if let Some(found) = vars.text(KEY_FILE.names)? {
            key_files.insert(own_keys, vars.given(&found, found.text.to_string()));
        }
        let key_files = key_files.into_iter().map(|file| file.map(|path| home(&path)));
        let mut ssh = all.ssh;
        if ssh.strict_host_key_checking.is_none()
            && let Some(Given { value: false, origin }) = vars.truth(&HOST_KEY_CHECKING)?
        {
            ssh.strict_host_key_checking = Some(Given::new(StrictHostKeyChecking::No, origin));
        }
        if ssh.connect_timeout.is_none() {
            ssh.connect_timeout = vars.parsed(&TIMEOUT, "it is not a number of seconds", |text| {
                variables::seconds(&Value::String(text.to_owned()))
                    .ok_or_else(|| "it is not a number of seconds".to_owned())
            })?;
        }
        let port = vars.parsed(&PORT, "it is not a port (1 to 65535)", reveille_ssh_config::port)?;
        Ok(Connection {
            address: vars.string(&ADDRESS)?.unwrap_or_else(|| {
                Given::new(
                    vars.name.to_string(),
                    Origin::Default("the name in the inventory"),
                )
            }),
            port: first_port.or(port).or(all.port),
            user: first_user.or(vars.string(&USER)?).or(all.user),
            key_files: key_files.collect(),
            jump: all.jump,
            transport: vars.parsed(&TRANSPORT, "this connection is not supported", |text| {
                variables::transport(text).ok_or_else(|| format!("the connection `{text}` is not supported"))
            })?,
            escalate: vars.truth(&BECOME)?,
            become_user: vars.string(&BECOME_USER)?,
            become_method: vars.parsed(&BECOME_METHOD, "this become method is not supported", |text| {
                variables::become_method(text)
                    .ok_or_else(|| format!("the become method `{text}` is not supported"))
            })?,
            not_ready: vars.truth(&NOT_READY)?.is_some_and(|not_ready| not_ready.value),
            password: vars.secret(&PASSWORD)?,
            become_password: vars.secret(&BECOME_PASSWORD)?,
            ssh,
        })
    }
}

// === impl HostVars ===

impl HostVars<'_> {
    /// Adds the var and line that a value comes from.
    fn given<T>(&self, found: &Found<'_>, value: T) -> Given<T> {
        Given::new(
            value,
            Origin::File {
                key: found.variable.key.clone(),
                file: self.file(found.variable),
                line: found.variable.line,
            },
        )
    }

    /// Reads a setting as text.
    fn string(&self, setting: &Setting) -> Result<Option<Given<String>>, InventoryError> {
        let found = self.text(setting.names)?;
        Ok(found.map(|found| self.given(&found, found.text.to_string())))
    }

    /// Reads a setting whose value must not be shown.
    fn secret(&self, setting: &Setting) -> Result<Option<Secret>, InventoryError> {
        Ok(self.text(setting.names)?.map(|found| Secret::new(&*found.text)))
    }

    /// Reads a setting that is true or false.
    fn truth(&self, setting: &Setting) -> Result<Option<Given<bool>>, InventoryError> {
        self.parsed(setting, "it is neither true nor false", |text| {
            truth(&Value::String(text.to_owned())).ok_or_else(|| "it is neither true nor false".to_owned())
        })
    }

    /// Reads a setting with `parse`. Its error may contain the text; `plain` is the message without it.
    fn parsed<T>(
        &self,
        setting: &Setting,
        plain: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<Given<T>>, InventoryError> {
        let Some(found) = self.text(setting.names)? else {
            return Ok(None);
        };
        match parse(&found.text) {
            Ok(value) => Ok(Some(self.given(&found, value))),
            Err(message) => Err(self.error_about(&found, &message, plain)),
        }
    }

    fn arguments(&self, setting: &Setting) -> Result<Arguments, InventoryError> {
        let Some(found) = self.text(setting.names)? else {
            return Ok(Arguments::default());
        };
        Arguments::parse(&found.text, &self.given(&found, ()).origin)
            .map_err(|message| self.error_about(&found, &message, "ssh's arguments can't be read"))
    }
}

/// Expands `~/` in a path.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}
