//! `reveille ping`: who answers.

use reveille_account::Exit;
use reveille_job::{CommandOptions, Job};
use reveille_ledger::RunKind;

use crate::choose::reach;
use crate::cli::{Globals, PingArgs};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::options::run_options;
use crate::printer::Printer;

/// What is run: nothing, by a shell, so that an answer says that commands can be run.
const COMMAND: &str = ":";

pub(crate) fn run(args: &PingArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let mut options = run_options(Some(&args.reach), &args.pacing, true)?;
    let chosen = reach(&args.reach, None, &mut options, globals, printer)?;
    let job = Job::command(COMMAND.to_owned(), CommandOptions::default());
    let request = Request::plain(RunKind::Ping, job, chosen, options, &args.pacing, globals)?;
    launch::start(request, &args.report, printer)
}
