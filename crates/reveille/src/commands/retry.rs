//! `reveille retry`: runs the failed hosts of a run again, as a new round.

use std::collections::HashSet;

use reveille_account::{Exit, HostName, Status};
use reveille_ledger::Selector;
use reveille_text::counted;

use crate::cli::{Globals, RetryArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{launch, recent, state};

pub(crate) fn run(args: &RetryArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (ledger, record) = launch::open(globals, &args.resume.which.run, recent::to_retry)?;
    let run = record.run;
    let account = ledger.account(run)?;
    if account.pending + account.running > 0 {
        return Err(Failure::usage(format!(
            "{run} has {} without an outcome; finish it first with `reveille resume{} {run}`",
            counted(account.pending + account.running, "host"),
            state::option(ledger.state_directory())
        )));
    }
    let selectors = if args.only.is_empty() {
        [
            Status::Failed,
            Status::Quarantined,
            Status::Cancelled,
            Status::Ghost,
        ]
        .map(Selector::Status)
        .to_vec()
    } else {
        let parse = |word: &String| {
            word.parse::<Selector>()
                .map_err(|error| Failure::usage(format!("--only: {error}")))
        };
        args.only.iter().map(parse).collect::<Result<_, _>>()?
    };
    let mut wanted: HashSet<HostName> = HashSet::new();
    for selector in selectors {
        wanted.extend(ledger.hosts_with(run, selector)?);
    }
    if wanted.is_empty() {
        printer.say(&if args.only.is_empty() {
            format!("{run} has no failed hosts")
        } else {
            format!("{run} has no hosts that are one of: {}", args.only.join(", "))
        });
        return Ok(Exit::Success);
    }
    // They keep the order of the first roll.
    let hosts: Vec<HostName> = ledger
        .roll(run, 1)?
        .into_iter()
        .map(|entry| entry.host)
        .filter(|host| wanted.contains(host))
        .collect();
    launch::retry(&ledger, &record, &hosts, &args.resume, printer)
}
