//! `reveille ping`: checks which hosts can be reached and run commands.

use reveille_account::Exit;
use reveille_job::{CommandOptions, Job};
use reveille_ledger::RunKind;

use crate::cli::{Globals, OnHosts};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::printer::Printer;

/// A command that needs a shell and does nothing.
const COMMAND: &str = ":";

pub(crate) fn run(on: &OnHosts, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let job = Job::command(COMMAND.to_owned(), CommandOptions::default());
    let request = Request::plain(RunKind::Ping, job, on, true, globals, printer)?;
    launch::start(request, &on.report, printer)
}
