//! `reveille resume`: resumes an interrupted run.

use reveille_account::{Exit, RunState};

use crate::cli::{Globals, ResumeArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::end::Ended;
use crate::{launch, recent};

pub(crate) fn run(args: &ResumeArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (ledger, record) = launch::open(globals, &args.which.run, recent::to_resume)?;
    let run = record.run;
    let account = ledger.account(run)?;
    if account.pending + account.running == 0 && record.state == RunState::Closed {
        printer.say(&format!("{run} has ended; there is nothing to resume"));
        let ended = Ended {
            ledger: &ledger,
            run,
            folded: true,
            worked_on: 0,
            view: None,
        };
        return ended.report(None, &args.report, printer);
    }
    launch::resume(&ledger, &record, args, printer)
}
