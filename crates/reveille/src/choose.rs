//! Chooses the hosts of a command: reads inventories, matches patterns, finds ways.

use std::collections::HashSet;

use reveille_account::HostName;
use reveille_fleet::{RunHost, RunOptions};
use reveille_inventory::{Inventory, RunName, RunOutcome, RunSelector};
use reveille_ledger::Selector;
use reveille_way::{Asked, Finder, Passwords, Reasons, Way};
use serde_json::Map;

use crate::cli::{Choice, Globals, Reach};
use crate::failure::Failure;
use crate::options::{asked, inventory_sources};
use crate::printer::Printer;
use crate::recent;
use crate::state;

/// Reads the inventory and finds the hosts that both the limits and `pattern` match. The pattern comes with its name for
/// messages.
pub(crate) fn choose(
    choice: &Choice,
    pattern: Option<(&str, &str)>,
    globals: &Globals,
    printer: &Printer,
) -> Result<(Inventory, Vec<HostName>), Failure> {
    let inventory = inventory_sources(choice)?.load(printer)?;
    let earlier = |selector: &RunSelector| earlier_hosts(selector, globals, printer);
    let hosts = inventory.select(&choice.limit, &earlier)?;
    let hosts = match pattern {
        None => hosts,
        Some((what, pattern)) => {
            let of_job = inventory.select(&[pattern], &earlier)?;
            let wanted: HashSet<&HostName> = of_job.iter().collect();
            let both: Vec<HostName> = hosts.into_iter().filter(|host| wanted.contains(host)).collect();
            if both.is_empty() {
                let limit = choice.limit.join(",");
                return Err(Failure::usage(format!(
                    "no host is both in {what} {pattern} and in -l {limit}"
                )));
            }
            both
        }
    };
    Ok((inventory, hosts))
}

/// The hosts of a command, their ways and passwords.
pub(crate) struct Chosen {
    asked: Asked,
    pub(crate) inventory: Inventory,
    pub(crate) hosts: Vec<(HostName, Way)>,
    pub(crate) passwords: Passwords,
}

/// Chooses hosts and finds the ways to them. The options record which passwords a resumed run has to ask for again.
pub(crate) fn reach(
    reach: &Reach,
    pattern: Option<&str>,
    options: &mut RunOptions,
    globals: &Globals,
    printer: &Printer,
) -> Result<Chosen, Failure> {
    let pattern = pattern.map(|pattern| ("the job's hosts", pattern));
    let (inventory, names) = choose(&reach.choice, pattern, globals, printer)?;
    let asked = asked(&reach.link, &reach.origins)?;
    let mut finder = Finder::new(&asked, printer)?;
    let mut has_secrets = false;
    let mut hosts = Vec::with_capacity(names.len());
    for name in names {
        has_secrets |= inventory.has_secrets(name.as_str());
        let way = finder.find(&inventory, name.as_str(), &mut Reasons::unasked())?;
        hosts.push((name, way));
    }
    if has_secrets {
        options.passwords.inventory = Some(inventory_sources(&reach.choice)?.absolute());
    }
    let passwords = options.passwords.find(Some(&inventory), printer)?;
    Ok(Chosen {
        asked,
        inventory,
        hosts,
        passwords,
    })
}

impl Chosen {
    /// The groups with their hosts, as templates see them.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let groups = self.inventory.groups().into_iter();
        groups
            .map(|(name, hosts)| (name.to_owned(), hosts.iter().map(ToString::to_string).collect()))
            .collect()
    }

    /// The hosts of a run whose job uses variables.
    pub(crate) fn with_vars(self) -> (Vec<RunHost>, Passwords) {
        let inventory = &self.inventory;
        let hosts = self.hosts.into_iter().map(|(name, way)| RunHost {
            vars: inventory.template_vars(name.as_str()),
            unrecorded: inventory.vault_vars(name.as_str()),
            name,
            way,
        });
        (hosts.collect(), self.passwords)
    }

    /// The hosts of a run whose job uses no variables.
    pub(crate) fn without_vars(self) -> (Vec<RunHost>, Passwords) {
        let hosts = self.hosts.into_iter().map(|(name, way)| RunHost {
            name,
            way,
            vars: Map::new(),
            unrecorded: Vec::new(),
        });
        (hosts.collect(), self.passwords)
    }
}

/// Finds the ways to the hosts that `run_on` names, and records them in the options.
pub(crate) fn delegates(
    names: impl IntoIterator<Item = String>,
    reach: &Reach,
    chosen: &mut Chosen,
    options: &mut RunOptions,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut finder = Finder::new(&chosen.asked, printer)?;
    for name in names {
        let host = HostName::from(name.as_str());
        let way = if chosen.inventory.contains(&name) {
            if chosen.inventory.has_secrets(&name) {
                options.passwords.inventory = Some(inventory_sources(&reach.choice)?.absolute());
                chosen.passwords.take(&chosen.inventory, &host);
            }
            finder.find(&chosen.inventory, &name, &mut Reasons::unasked())?
        } else if ["localhost", "127.0.0.1"].contains(&name.as_str()) {
            Way::this_machine(finder.user())
        } else {
            return Err(Failure::usage(format!(
                "a step runs on {name} (`run_on`), which is neither in the inventory nor localhost"
            )));
        };
        options.delegates.insert(host, way);
    }
    Ok(())
}

/// The hosts of an earlier run that a selector names.
fn earlier_hosts(
    earlier: &RunSelector,
    globals: &Globals,
    printer: &Printer,
) -> Result<Vec<HostName>, String> {
    let selector = match earlier.outcome {
        RunOutcome::Status(status) => Selector::Status(status),
        RunOutcome::Class(class) => Selector::Class(class),
        RunOutcome::Pending => Selector::Pending,
        RunOutcome::Running => Selector::Running,
    };
    let find = || -> Result<Vec<HostName>, Failure> {
        let ledger = state::ledger(globals)?;
        let run = match &earlier.run {
            RunName::Last => {
                let run = recent::with_hosts(&ledger, selector)?;
                let record = ledger.run(run)?;
                printer.say(&format!("@last is {run}, {}", recent::described(&record)));
                run
            }
            RunName::Id(id) => ledger.resolve_run(id)?,
        };
        Ok(ledger.hosts_with(run, selector)?)
    };
    find().map_err(|failure| failure.to_string())
}
