//! `reveille resume`: resumes an interrupted run.

use reveille_account::{Exit, RunState};

use crate::cli::{Globals, ResumeArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{launch, render};

pub(crate) fn run(args: &ResumeArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (ledger, record) = launch::open(globals, &args.which.run)?;
    let run = record.run;
    let account = ledger.account(run)?;
    if account.pending + account.running == 0 && record.state == RunState::Closed {
        printer.say(&format!("{run} has ended; there is nothing to resume"));
        return render::end::report(
            &ledger,
            run,
            record.spec.kind,
            true,
            0,
            None,
            &args.report,
            printer,
        );
    }
    launch::resume(&ledger, &record, args, printer)
}
