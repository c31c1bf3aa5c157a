//! `reveille prune`: deletes old runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reveille_account::{Exit, RunState};
use reveille_ledger::Ledger;
use reveille_text::counted;

use crate::cli::{Globals, PruneArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(args: &PruneArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let before = now.saturating_sub(args.older_than);
    let before_ms = u64::try_from(before.as_millis()).unwrap_or(u64::MAX);
    let runs = ledger.prunable(before_ms, args.interrupted)?;
    let mut removed = 0;
    for record in runs {
        let account = ledger.account(record.run)?;
        if !args.dry_run {
            match ledger.forget(record.run) {
                Ok(()) => {}
                // Somebody has resumed it since the list was made.
                Err(reveille_ledger::Error::Held { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        removed += 1;
        printer.data(&format!("{}  {account}", record.run))?;
    }
    if removed > 0 && !args.dry_run {
        // Compacting locks the ledger for as long as it takes.
        if somebody_works(&ledger)? {
            printer.say("the ledger keeps its size while a run is open; the next prune shrinks it");
        } else {
            match ledger.forget_durations().and_then(|_| ledger.compact()) {
                Ok(()) => {}
                Err(error) if error.is_full() => {
                    printer.warning("the disk has no space to shrink the ledger; the next prune shrinks it");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let runs = counted(removed, "run");
    printer.say(&if args.dry_run {
        format!("{runs} would be removed")
    } else {
        format!("{runs} removed")
    });
    Ok(Exit::Success)
}

/// Whether a controller works on a run of the ledger.
fn somebody_works(ledger: &Ledger) -> Result<bool, Failure> {
    for record in ledger.runs()? {
        if record.state == RunState::Open && ledger.holder(record.run)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
