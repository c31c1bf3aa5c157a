//! `reveille hosts`: whom a choice reaches. Also how every command reads inventories.

use reveille_account::{Exit, HostName};
use reveille_inventory::{Inventory, LoadOptions, Loaded, RunOutcome, RunSelector, Source};
use reveille_ledger::{Ledger, Selector};

use crate::cli::{Choice, Globals, HostsArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(args: &HostsArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (inventory, hosts) = choose(&args.choice, None, globals, printer)?;
    for host in hosts {
        if !args.vars {
            printer.data(host.as_str())?;
            continue;
        }
        let mut vars = inventory.vars(host.as_str());
        for (name, value) in &mut vars {
            if inventory.is_secret(host.as_str(), name) {
                *value = "********".into();
            }
        }
        printer.data(&format!("{host} {}", serde_json::Value::Object(vars)))?;
    }
    Ok(Exit::Success)
}

/// Reads the inventory and finds the hosts that the job's pattern and the limits leave.
pub(crate) fn choose(
    choice: &Choice,
    pattern: Option<&str>,
    globals: &Globals,
    printer: &Printer,
) -> Result<(Inventory, Vec<HostName>), Failure> {
    let mut sources: Vec<Source> = choice.inventory.iter().cloned().map(Source::Argument).collect();
    sources.extend(choice.list.iter().cloned().map(Source::List));
    if sources.is_empty() {
        let ansible = std::env::var("ANSIBLE_INVENTORY")
            .ok()
            .filter(|value| !value.is_empty());
        let source = ansible.ok_or_else(|| {
            Failure::usage("which hosts? Name an inventory with -i FILE, or hosts with -w web1,web2")
        })?;
        // Ansible takes it for a list of files; a list of hosts is what is left.
        if source.split(',').all(|file| std::path::Path::new(file).exists()) {
            sources.extend(source.split(',').map(|file| Source::Argument(file.to_owned())));
        } else {
            sources.push(Source::Argument(source));
        }
    }
    let mut options = LoadOptions::default();
    for file in &choice.vault_password_file {
        options.vault.add_file(file)?;
    }
    if choice.vault_password_file.is_empty()
        && let Ok(file) = std::env::var("ANSIBLE_VAULT_PASSWORD_FILE")
        && !file.is_empty()
    {
        options.vault.add_file(&file)?;
    }
    let Loaded { inventory, warnings } = Inventory::load_with(&sources, options)?;
    for warning in &warnings {
        printer.warning(&warning.to_string());
    }
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
