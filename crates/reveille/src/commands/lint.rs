//! `reveille lint`: checks a job file or an inventory.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use reveille_account::{Exit, SourceError};
use reveille_inventory::{Inventory, InventoryError, no_runs};
use reveille_job::Job;
use reveille_text::counted;
use reveille_way::InventorySources;

use crate::cli::LintArgs;
use crate::commands::run::read_job;
use crate::failure::Failure;
use crate::printer::Printer;

/// Bytes of a file that are read to tell a job from an inventory.
const LOOKED_AT: u64 = 256 * 1024;

/// Warnings and mistakes of an inventory that are shown.
const SHOWN: usize = 50;

pub(crate) fn run(args: &LintArgs, printer: &Printer) -> Result<Exit, Failure> {
    let shown = args.file.display();
    let is_job = args
        .file
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    if is_job && !is_inventory(&args.file) {
        let job = read_job(&args.file, BTreeMap::new())?;
        check_hosts(&job, args)?;
        let missing = job.missing_files();
        if !missing.is_empty() {
            return Err(Failure::usage(format!(
                "{shown}: {}",
                missing.join(&format!("\n{shown}: "))
            )));
        }
        printer.data(&format!(
            "{shown}: a job of {}, no mistakes",
            counted(job.steps.len(), "step")
        ))?;
        return Ok(Exit::Success);
    }
    if !args.inventory.is_empty() {
        return Err(Failure::usage(format!(
            "-i has no effect: {shown} is an inventory itself"
        )));
    }
    // A name that is not a file would be read as a list of hosts.
    if let Err(error) = std::fs::metadata(&args.file) {
        return Err(Failure::usage(format!("can't read {shown}: {error}")));
    }
    let path = args.file.to_string_lossy().into_owned();
    let loaded = InventorySources::new(&[path], &[], &args.vault_password_file)?.read()?;
    let (mistakes, unreadable) = loaded.inventory.check();
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    let warnings: Vec<String> = warnings
        .chain(unreadable.iter().map(ToString::to_string))
        .collect();
    for warning in warnings.iter().take(SHOWN) {
        printer.warning(warning);
    }
    let more = warnings.len().saturating_sub(SHOWN) + mistakes.len().saturating_sub(SHOWN);
    if more > 0 {
        printer.note(&format!("{more} more are not shown"));
    }
    if mistakes.is_empty() {
        printer.data(&format!(
            "{shown}: an inventory of {}, {}",
            counted(loaded.inventory.len(), "host"),
            counted(warnings.len(), "warning")
        ))?;
        return Ok(Exit::Success);
    }
    for mistake in mistakes.into_iter().take(SHOWN) {
        printer.failure(&Failure::from(mistake));
    }
    Ok(Exit::Usage)
}

/// Checks the pattern of the job's hosts, with an inventory if there is one.
fn check_hosts(job: &Job, args: &LintArgs) -> Result<(), Failure> {
    let Some(hosts) = &job.hosts else {
        return Ok(());
    };
    let found = if args.inventory.is_empty() {
        Inventory::check_pattern(hosts)
    } else {
        let sources = InventorySources::new(&args.inventory, &[], &args.vault_password_file)?;
        let inventory = sources.read()?.inventory;
        Inventory::check_pattern(hosts).and_then(|()| {
            // The hosts of earlier runs are known when the job runs.
            if hosts.contains('@') {
                return Ok(());
            }
            inventory.select(&[hosts], &no_runs).map(|_| ())
        })
    };
    let mistake = match found {
        Ok(()) => return Ok(()),
        Err(InventoryError::Pattern(mistake)) if mistake.file == "pattern" => {
            let before = hosts.chars().take(mistake.column.saturating_sub(1));
            let offset = before.map(char::len_utf8).sum();
            SourceError {
                hint: mistake.hint,
                ..job.mistake_in_hosts(offset, mistake.message)
            }
        }
        Err(other) => job.mistake_in_hosts(0, other.to_string()),
    };
    Err(Failure::Mistakes(vec![mistake]))
}

/// Whether a YAML file is an inventory: a job has `steps`, groups have `hosts` and `children`.
fn is_inventory(path: &Path) -> bool {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut text));
    if read.is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(&text);
    let has_steps = text.lines().any(|line| line.starts_with("steps:"));
    let of_group = |line: &str| {
        let inner = line.trim_start();
        inner.len() < line.len() && (inner.starts_with("hosts:") || inner.starts_with("children:"))
    };
    let is_group = |line: &str| line.starts_with("all:") || line.starts_with("ungrouped:") || of_group(line);
    !has_steps && text.lines().any(is_group)
}
