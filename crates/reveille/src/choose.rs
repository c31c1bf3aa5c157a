//! Whom a command reaches: inventories are read, patterns matched, ways found.

use std::path::Path;

use reveille_account::HostName;
use reveille_inventory::{Inventory, LoadOptions, Loaded, RunOutcome, RunSelector, Source};
use reveille_ledger::{Ledger, Selector};
use serde::{Deserialize, Serialize};

use crate::cli::{Choice, Globals, Reach};
use crate::failure::Failure;
use crate::options::Options;
use crate::passwords::{self, Passwords};
use crate::printer::Printer;
use crate::reach::{Finder, Reached};
use crate::routes;
use crate::state;

/// Where an inventory is read from; the ledger keeps it with runs that need more of it than is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Choosing {
    /// Files, directories, programs and lists, as `-i` has them; paths are absolute.
    arguments: Vec<String>,
    /// Lists of `-w`.
    lists: Vec<String>,
    vault_password_files: Vec<String>,
}

impl Choosing {
    pub(crate) fn new(choice: &Choice) -> Result<Self, Failure> {
        let mut arguments = choice.inventory.clone();
        if arguments.is_empty() && choice.list.is_empty() {
            let ansible = std::env::var("ANSIBLE_INVENTORY")
                .ok()
                .filter(|value| !value.is_empty());
            let source = ansible.ok_or_else(|| {
                Failure::usage("which hosts? Name an inventory with -i FILE, or hosts with -w web1,web2")
            })?;
            // Ansible takes it for a list of files; a list of hosts is what is left.
            if source.split(',').all(|file| Path::new(file).exists()) {
                arguments.extend(source.split(',').map(str::to_owned));
            } else {
                arguments.push(source);
            }
        }
        let mut vault_password_files = choice.vault_password_file.clone();
        if vault_password_files.is_empty() {
            let ansible = std::env::var("ANSIBLE_VAULT_PASSWORD_FILE");
            vault_password_files.extend(ansible.ok().filter(|file| !file.is_empty()));
        }
        Ok(Self {
            arguments,
            lists: choice.list.clone(),
            vault_password_files,
        })
    }

    /// The same from any directory.
    pub(crate) fn absolute(mut self) -> Self {
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

    pub(crate) fn load(&self, printer: &Printer) -> Result<Inventory, Failure> {
        let sources: Vec<Source> = self
            .arguments
            .iter()
            .cloned()
            .map(Source::Argument)
            .chain(self.lists.iter().cloned().map(Source::List))
            .collect();
        let mut options = LoadOptions::default();
        for file in &self.vault_password_files {
            options.vault.add_file(file)?;
        }
        let Loaded { inventory, warnings } = Inventory::load_with(&sources, options)?;
        for warning in &warnings {
            printer.warning(&warning.to_string());
        }
        Ok(inventory)
    }
}

/// Reads the inventory and finds the hosts that the job's pattern and the limits leave.
pub(crate) fn choose(
    choice: &Choice,
    pattern: Option<&str>,
    globals: &Globals,
    printer: &Printer,
) -> Result<(Inventory, Vec<HostName>), Failure> {
    let inventory = Choosing::new(choice)?.load(printer)?;
    let earlier = |selector: &RunSelector| earlier_hosts(selector, globals);
    let hosts = inventory.select(&choice.limit, &earlier)?;
    let hosts = match pattern {
        None => hosts,
        Some(pattern) => {
            let of_job = inventory.select(&[pattern], &earlier)?;
            let wanted: std::collections::HashSet<&HostName> = of_job.iter().collect();
            let both: Vec<HostName> = hosts.into_iter().filter(|host| wanted.contains(host)).collect();
            if both.is_empty() {
                let limit = choice.limit.join(",");
                return Err(Failure::usage(format!(
                    "no host is both in the job's `hosts: {pattern}` and in -l {limit}"
                )));
            }
            both
        }
    };
    Ok((inventory, hosts))
}

/// Whom a command reaches, how, and with which passwords.
pub(crate) struct Chosen<'a> {
    pub(crate) finder: Finder<'a>,
    pub(crate) inventory: Inventory,
    pub(crate) hosts: Vec<(HostName, Reached)>,
    pub(crate) passwords: Passwords,
}

/// Chooses hosts and finds the ways to them. What a resumed run will need anew is noted in the options.
pub(crate) fn reach<'a>(
    reach: &'a Reach,
    pattern: Option<&str>,
    options: &mut Options,
    globals: &Globals,
    printer: &'a Printer,
) -> Result<Chosen<'a>, Failure> {
    let (inventory, names) = choose(&reach.choice, pattern, globals, printer)?;
    let mut finder = Finder::new(reach, printer)?;
    let mut has_secrets = false;
    let hosts = names
        .into_iter()
        .map(|name| {
            let connection = inventory.connection(name.as_str())?;
            has_secrets |= passwords::in_inventory(&connection) || inventory.has_secrets(name.as_str());
            let reached = finder.find(connection, false)?;
            let reached = routes::complete(&name, reached, &inventory, &mut finder)?;
            Ok((name, reached))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    if has_secrets {
        options.passwords.inventory = Some(Choosing::new(&reach.choice)?.absolute());
    }
    let passwords = options.passwords.find(Some(&inventory))?;
    Ok(Chosen {
        finder,
        inventory,
        hosts,
        passwords,
    })
}

/// Finds the ways to hosts on which steps of others run, and notes them in the options.
pub(crate) fn delegates(
    names: impl IntoIterator<Item = String>,
    reach: &Reach,
    chosen: &mut Chosen<'_>,
    options: &mut Options,
) -> Result<(), Failure> {
    for name in names {
        let host = HostName::from(name.as_str());
        let is_known = chosen.inventory.hosts().any(|known| *known == host);
        let reached = if is_known {
            let connection = chosen.inventory.connection(&name)?;
            if passwords::in_inventory(&connection) {
                options.passwords.inventory = Some(Choosing::new(&reach.choice)?.absolute());
                chosen.passwords.take(&host, &connection);
            }
            chosen.finder.find(connection, false)?
        } else if ["localhost", "127.0.0.1"].contains(&name.as_str()) {
            Reached::this_machine()
        } else {
            return Err(Failure::usage(format!(
                "a step runs on {name} (`run_on`), which is neither in the inventory nor localhost"
            )));
        };
        options.delegates.insert(host, reached);
    }
    Ok(())
}

/// The hosts of an earlier run that ended in a way.
fn earlier_hosts(earlier: &RunSelector, globals: &Globals) -> Result<Vec<HostName>, String> {
    let selector = match earlier.outcome {
        RunOutcome::Status(status) => Selector::Status(status),
        RunOutcome::Class(class) => Selector::Class(class),
        RunOutcome::Pending => Selector::Pending,
        RunOutcome::Running => Selector::Running,
    };
    let find = || -> Result<Vec<HostName>, Failure> {
        let ledger = Ledger::open_existing(&state::directory(globals)?)?;
        let run = ledger.resolve_run(&earlier.run.to_string())?;
        Ok(ledger.hosts_with(run, selector)?)
    };
    find().map_err(|failure| failure.to_string())
}
