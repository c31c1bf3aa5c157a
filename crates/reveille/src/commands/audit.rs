//! `reveille audit`: checks that every host is accounted for.

use reveille_account::Exit;
use reveille_text::counted;
use reveille_view::names;

use crate::cli::{Globals, RunArg};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(args: &RunArg, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let run = ledger.resolve_run(&args.run)?;
    let audit = ledger.audit(run)?;
    let sound = audit.account.balanced() && audit.account.ghost == 0;
    let verdict = if sound {
        "all accounted for"
    } else {
        "NOT all accounted for"
    };
    let held = ledger.holder(run)?.is_some();
    let state = state::of_run(audit.state, held);
    printer.data(&format!("{run}  {state}  {}; {verdict}", audit.account))?;
    for (words, hosts) in [
        ("unaccounted for: dispatched, no outcome", &audit.ghosts),
        ("never dispatched, no outcome", &audit.forgotten),
        ("an outcome, but not planned", &audit.extras),
    ] {
        if !hosts.is_empty() {
            let names = names::fold(hosts.iter().map(reveille_account::HostName::as_str));
            printer.data(&format!("{words}: {names} ({})", counted(hosts.len(), "host")))?;
        }
    }
    if audit.account.pending + audit.account.running > 0 && !held {
        printer.data(&format!(
            "next        reveille resume{} {run}",
            state::option(ledger.state_directory())
        ))?;
    }
    Ok(if sound { Exit::Success } else { Exit::Unbalanced })
}
