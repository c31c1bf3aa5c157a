//! `reveille retry`: a new round for the hosts that failed.

use std::collections::HashSet;

use reveille_account::{Exit, HostName, Status};
use reveille_ledger::{Ledger, Selector};
use reveille_text::counted;

use crate::cli::{Globals, RetryArgs};
use crate::commands::exec::read_input;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{launch, state};

pub(crate) fn run(args: &RetryArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let directory = state::directory(globals)?;
    // Where there is none, none is made.
    Ledger::open_existing(&directory)?;
    let ledger = Ledger::open(&directory)?;
    let run = ledger.resolve_run(&args.which.run)?;
    let record = ledger.run(run)?;
    let account = ledger.account(run)?;
    if account.pending + account.running > 0 {
        return Err(Failure::usage(format!(
            "{run} has {} without an outcome; finish it first with `reveille resume{} {run}`",
            render_hosts(account.pending + account.running),
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
            format!("{run} has no failed host to run again")
        } else {
            format!(
                "{run} has no host to run again that is one of: {}",
                args.only.join(", ")
            )
        });
        return Ok(Exit::Success);
    }
    // In the order of the first roll.
    let hosts: Vec<HostName> = ledger
        .roll(run, 1)?
        .into_iter()
        .map(|entry| entry.host)
        .filter(|host| wanted.contains(host))
        .collect();
    let input = args.stdin.as_deref().map(read_input).transpose()?;
    launch::retry(
        &ledger,
        &record,
        &hosts,
        args.concurrency,
        input,
        &args.report,
        printer,
    )
}

fn render_hosts(count: u64) -> String {
    counted(count, "host")
}
