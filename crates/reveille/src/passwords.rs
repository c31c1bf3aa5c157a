//! Passwords: asked for, read from files, taken from the inventory. They are never recorded; a resumed run asks again.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use reveille_account::HostName;
use reveille_inventory::{Connection, Inventory};
use reveille_transport::Secret;
use serde::{Deserialize, Serialize};

use crate::choose::Choosing;
use crate::cli::Reach;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::prompt;

/// Largest password file.
const LIMIT: u64 = 4096;
/// What to do where nobody can be asked.
const INSTEAD: &str = "use --password-file or --become-password-file";

/// Where passwords come from; the ledger keeps this, and not the passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PasswordSources {
    /// `--ask-pass`
    pub(crate) ask: bool,
    /// `--ask-become-pass`
    pub(crate) ask_become: bool,
    /// `--password-file`
    pub(crate) file: Option<PathBuf>,
    /// `--become-password-file`
    pub(crate) become_file: Option<PathBuf>,
    /// How the hosts were chosen, if the inventory has passwords or secret vars of theirs.
    pub(crate) inventory: Option<Choosing>,
}

/// The passwords of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passwords {
    login: Option<Secret>,
    escalate: Option<Secret>,
    of_hosts: HashMap<HostName, OfHost>,
}

#[derive(Debug, Clone, Default)]
struct OfHost {
    login: Option<Secret>,
    escalate: Option<Secret>,
}

// === impl PasswordSources ===

impl PasswordSources {
    pub(crate) fn new(reach: &Reach) -> Result<Self, Failure> {
        let absolute = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| {
                    std::path::absolute(path)
                        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
                })
                .transpose()
        };
        Ok(Self {
            ask: reach.ask_pass,
            ask_become: reach.ask_become_pass,
            file: absolute(&reach.password_file)?,
            become_file: absolute(&reach.become_password_file)?,
            inventory: None,
        })
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The inventory once more, if a run that goes on needs what is not recorded of it.
    pub(crate) fn reload(&self, printer: &Printer) -> Result<Option<Inventory>, Failure> {
        self.inventory
            .as_ref()
            .map(|choosing| choosing.load(printer))
            .transpose()
    }

    /// Asks for what is to be asked for and reads what is to be read. `inventory` is the one that the hosts were chosen
    /// from.
    pub(crate) fn find(&self, inventory: Option<&Inventory>) -> Result<Passwords, Failure> {
        let login = match (&self.file, self.ask) {
            (Some(file), _) => Some(read(file)?),
            (None, true) => Some(Secret::new(prompt::hidden("SSH password", INSTEAD)?)),
            (None, false) => None,
        };
        let escalate = match (&self.become_file, self.ask_become) {
            (Some(file), _) => Some(read(file)?),
            (None, true) => {
                let words = if login.is_some() {
                    "become password [the same]"
                } else {
                    "become password"
                };
                let answer = prompt::hidden(words, INSTEAD)?;
                match &login {
                    Some(login) if answer.is_empty() => Some(login.clone()),
                    _ => Some(Secret::new(answer)),
                }
            }
            (None, false) => None,
        };
        let mut passwords = Passwords {
            login,
            escalate,
            of_hosts: HashMap::new(),
        };
        if let Some(inventory) = inventory.filter(|_| self.inventory.is_some()) {
            for host in inventory.hosts() {
                if let Ok(connection) = inventory.connection(host.as_str()) {
                    passwords.take(host, &connection);
                }
            }
        }
        Ok(passwords)
    }
}

// === impl Passwords ===

impl Passwords {
    /// Takes over what the inventory has for a host.
    pub(crate) fn take(&mut self, host: &HostName, connection: &Connection) {
        let secret = |secret: &reveille_inventory::Secret| Secret::new(secret.expose());
        let of_host = OfHost {
            login: connection.password.as_ref().map(secret),
            escalate: connection.become_password.as_ref().map(secret),
        };
        if of_host.login.is_some() || of_host.escalate.is_some() {
            self.of_hosts.insert(host.clone(), of_host);
        }
    }

    /// The password to log in to a host with; what was asked for wins.
    pub(crate) fn login(&self, host: &HostName) -> Option<Secret> {
        let own = || self.of_hosts.get(host)?.login.clone();
        self.login.clone().or_else(own)
    }

    /// The password to become somebody with on a host.
    pub(crate) fn escalate(&self, host: &HostName) -> Option<Secret> {
        let own = || self.of_hosts.get(host)?.escalate.clone();
        self.escalate.clone().or_else(own)
    }
}

/// Whether the inventory has a password for this host.
pub(crate) fn in_inventory(connection: &Connection) -> bool {
    connection.password.is_some() || connection.become_password.is_some()
}

/// The first line of a file.
fn read(path: &Path) -> Result<Secret, Failure> {
    let refused =
        |why: String| Failure::usage(format!("can't use the password file {}: {why}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text))
        .map_err(|error| refused(error.to_string()))?;
    if text.len() as u64 > LIMIT {
        return Err(refused(format!("it has more than {LIMIT} bytes")));
    }
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(refused("its first line is empty".to_owned())),
    }
}
