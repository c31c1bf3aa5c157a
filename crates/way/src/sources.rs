//! The sources of an inventory, from options and the environment.

use std::path::Path;

use reveille_inventory::{Inventory, LoadOptions, Loaded, Source};
use serde::{Deserialize, Serialize};

use crate::{Error, Operator};

/// The sources of an inventory. The ledger records them for runs that must read the inventory again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InventorySources {
    /// Files, directories, programs and lists of `-i`; paths are absolute.
    arguments: Vec<String>,
    /// Lists of `-w`.
    lists: Vec<String>,
    vault_password_files: Vec<String>,
}

impl InventorySources {
    /// The sources in `-i`, `-w` and `--vault-password-file`; without hosts or without passwords from there, those in
    /// Ansible's environment variables.
    ///
    /// # Errors
    ///
    /// No source is given.
    pub fn new(
        inventories: &[String],
        lists: &[String],
        vault_password_files: &[String],
    ) -> Result<Self, Error> {
        let mut arguments = inventories.to_vec();
        if arguments.is_empty() && lists.is_empty() {
            let ansible = std::env::var("ANSIBLE_INVENTORY")
                .ok()
                .filter(|value| !value.is_empty());
            let source = ansible.ok_or_else(|| {
                Error::input("which hosts? Name an inventory with -i FILE, or hosts with -w web1,web2")
            })?;
            // Ansible reads this as a list of files; otherwise it is a list of hosts.
            if source.split(',').any(|file| Path::new(file).exists()) {
                arguments.extend(source.split(',').map(str::to_owned));
            } else {
                arguments.push(source);
            }
        }
        let mut vault_password_files = vault_password_files.to_vec();
        if vault_password_files.is_empty() {
            let ansible = std::env::var("ANSIBLE_VAULT_PASSWORD_FILE");
            vault_password_files.extend(ansible.ok().filter(|file| !file.is_empty()));
        }
        Ok(Self {
            arguments,
            lists: lists.to_vec(),
            vault_password_files,
        })
    }

    /// Returns the same sources with other files of vault passwords, if there are any.
    #[must_use]
    pub fn with_vault_passwords(mut self, files: &[String]) -> Self {
        if !files.is_empty() {
            self.vault_password_files = files.to_vec();
        }
        self
    }

    /// Returns the same sources with absolute paths.
    #[must_use]
    pub fn absolute(mut self) -> Self {
        let absolute = |text: &mut String| {
            if Path::new(text).exists()
                && let Ok(path) = std::path::absolute(&text)
                && let Some(path) = path.to_str()
            {
                path.clone_into(text);
            }
        };
        self.arguments.iter_mut().for_each(absolute);
        for file in &mut self.vault_password_files {
            match file.split_once('@') {
                Some((id, path)) => {
                    let mut path = path.to_owned();
                    absolute(&mut path);
                    *file = format!("{id}@{path}");
                }
                None => absolute(file),
            }
        }
        self
    }

    /// Reads the inventory and shows its warnings to the operator.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn load(&self, operator: &dyn Operator) -> Result<Inventory, Error> {
        let Loaded { inventory, warnings } = self.read()?;
        for warning in &warnings {
            operator.warn(&warning.to_string());
        }
        Ok(inventory)
    }

    /// Reads the inventory with its warnings.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn read(&self) -> Result<Loaded, Error> {
        let mut options = LoadOptions::default();
        for file in &self.vault_password_files {
            options.vault.add_file(file)?;
        }
        Ok(Inventory::load_with(&self.sources(), options)?)
    }

    /// Reads only the names of hosts and groups: no program is run, no vault is opened.
    ///
    /// # Errors
    ///
    /// The inventory can't be read, or names no hosts.
    pub fn read_names(&self) -> Result<Inventory, Error> {
        let options = LoadOptions {
            names_only: true,
            ..LoadOptions::default()
        };
        Ok(Inventory::load_with(&self.sources(), options)?.inventory)
    }

    fn sources(&self) -> Vec<Source> {
        let arguments = self.arguments.iter().cloned().map(Source::Argument);
        arguments
            .chain(self.lists.iter().cloned().map(Source::List))
            .collect()
    }
}
