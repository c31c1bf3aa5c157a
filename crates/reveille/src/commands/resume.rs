//! `reveille resume`: go on with an interrupted or killed run.

use reveille_account::Exit;
use reveille_ledger::Ledger;

use crate::cli::{Globals, ResumeArgs};
use crate::commands::exec::read_input;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{launch, render, state};

pub(crate) fn run(args: &ResumeArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let directory = state::directory(globals)?;
    // Where there is none, none is made.
    Ledger::open_existing(&directory)?;
    let ledger = Ledger::open(&directory)?;
    let run = ledger.resolve_run(&args.which.run)?;
    let record = ledger.run(run)?;
    let account = ledger.account(run)?;
    if account.pending + account.running == 0 && record.state == reveille_account::RunState::Closed {
        printer.say(&format!("{run} has nothing left to do"));
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
    let input = args.stdin.as_deref().map(read_input).transpose()?;
    launch::resume(&ledger, &record, args.concurrency, input, &args.report, printer)
}
