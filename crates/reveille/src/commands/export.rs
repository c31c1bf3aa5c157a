//! `reveille export`: writes a run's artifacts.

use reveille_account::Exit;
use reveille_ledger::export::SummaryOptions;

use crate::cli::{ExportArgs, Globals};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::artifacts;
use crate::state;

pub(crate) fn run(args: &ExportArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let run = ledger.resolve_run(&args.which.run)?;
    let written = artifacts::write(&ledger, run, &args.to, SummaryOptions::default())?;
    printer.data(&written.display().to_string())?;
    Ok(Exit::Success)
}
