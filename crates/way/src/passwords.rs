//! Passwords: from the operator, from files or from the inventory. They are never recorded; a resumed run asks again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reveille_account::HostName;
use reveille_inventory::Inventory;
use reveille_text::bounded;
use reveille_transport::Secret;
use serde::{Deserialize, Serialize};

use crate::{Error, InventorySources, Operator};

/// The largest password file, in bytes.
const LIMIT: u64 = 4096;

/// The sources of passwords. The ledger records these, but not the passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PasswordSources {
    /// `--ask-pass`
    pub ask: bool,
    /// `--ask-become-pass`
    pub ask_become: bool,
    /// `--password-file`
    pub file: Option<PathBuf>,
    /// `--become-password-file`
    pub become_file: Option<PathBuf>,
    /// The inventory, if it has passwords or secret vars for the run's hosts.
    pub inventory: Option<InventorySources>,
}

/// The passwords of a run.
#[derive(Debug, Clone, Default)]
pub struct Passwords {
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
    /// Returns the same sources with absolute paths.
    ///
    /// # Errors
    ///
    /// The working directory does not exist.
    pub fn absolute(mut self) -> Result<Self, Error> {
        for path in [&mut self.file, &mut self.become_file].into_iter().flatten() {
            *path = std::path::absolute(&*path)
                .map_err(|error| Error::input(format!("{}: {error}", path.display())))?;
        }
        Ok(self)
    }

    /// The same sources, except for those that `given` names.
    #[must_use]
    pub fn replaced(mut self, given: Self) -> Self {
        if given.ask || given.file.is_some() {
            (self.ask, self.file) = (given.ask, given.file);
        }
        if given.ask_become || given.become_file.is_some() {
            (self.ask_become, self.become_file) = (given.ask_become, given.become_file);
        }
        self
    }

    /// Whether there are no passwords.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the inventory again, if a resumed run needs secrets from it.
    ///
    /// # Errors
    ///
    /// The inventory can't be read.
    pub fn reload(&self, operator: &dyn Operator) -> Result<Option<Inventory>, Error> {
        self.inventory
            .as_ref()
            .map(|sources| sources.load(operator))
            .transpose()
    }

    /// Asks the operator and reads the files. `inventory` is the one that the run's hosts come from.
    ///
    /// # Errors
    ///
    /// A file can't be read, or nobody can be asked.
    pub fn find(&self, inventory: Option<&Inventory>, operator: &dyn Operator) -> Result<Passwords, Error> {
        let login = match (&self.file, self.ask) {
            (Some(file), _) => Some(read(file)?),
            (None, true) => {
                let answer = operator.secret("SSH password", "use --password-file FILE")?;
                Some(Secret::new(answer))
            }
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
                let answer = operator.secret(words, "use --become-password-file FILE")?;
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
                passwords.take(inventory, host);
            }
        }
        Ok(passwords)
    }
}

// === impl Passwords ===

impl Passwords {
    /// Takes the inventory's passwords for a host. If the host's vars are not valid, it takes none; connecting will
    /// report why.
    pub fn take(&mut self, inventory: &Inventory, host: &HostName) {
        let Ok(connection) = inventory.connection(host.as_str()) else {
            return;
        };
        let of_host = OfHost {
            login: connection.password,
            escalate: connection.become_password,
        };
        if of_host.login.is_some() || of_host.escalate.is_some() {
            self.of_hosts.insert(host.clone(), of_host);
        }
    }

    /// The password to log in to a host; one from the command line wins.
    pub fn login(&self, host: &HostName) -> Option<Secret> {
        let own = || self.of_hosts.get(host)?.login.clone();
        self.login.clone().or_else(own)
    }

    /// The password for becoming another user on a host; one from the command line wins.
    pub fn escalate(&self, host: &HostName) -> Option<Secret> {
        let own = || self.of_hosts.get(host)?.escalate.clone();
        self.escalate.clone().or_else(own)
    }
}

/// Reads the first line of a file.
fn read(path: &Path) -> Result<Secret, Error> {
    let refused =
        |why: String| Error::input(format!("can't use the password file {}: {why}", path.display()));
    let text = bounded::text(path, LIMIT).map_err(|error| refused(error.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(refused("its first line is empty".to_owned())),
    }
}
