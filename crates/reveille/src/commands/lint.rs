//! `reveille lint`: is this file right?

use std::collections::BTreeMap;

use reveille_account::Exit;
use reveille_inventory::{Inventory, Source};

use crate::cli::LintArgs;
use crate::commands::run::read_job;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::text;

pub(crate) fn run(args: &LintArgs, printer: &Printer) -> Result<Exit, Failure> {
    let shown = args.file.display();
    let is_job = args
        .file
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    if is_job {
        let job = read_job(&args.file, BTreeMap::new())?;
        printer.data(&format!(
            "{shown}: a job of {} steps, no mistakes",
            job.steps.len()
        ))?;
        return Ok(Exit::Success);
    }
    let loaded = Inventory::load(&[Source::File(args.file.clone())])?;
    for warning in &loaded.warnings {
        printer.warning(&warning.to_string());
    }
    printer.data(&format!(
        "{shown}: an inventory of {}, {} warnings",
        text::hosts(loaded.inventory.len()),
        loaded.warnings.len()
    ))?;
    Ok(Exit::Success)
}
