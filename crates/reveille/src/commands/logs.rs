//! `reveille logs`: prints the events and the output of a host.

use reveille_account::{Exit, HostName, Stream};
use reveille_ledger::Ledger;
use reveille_text::harmless;

use crate::cli::{Globals, LogsArgs};
use crate::commands::show;
use crate::failure::Failure;
use crate::printer::{Printer, Tone};
use crate::render::fold::lost;
use crate::state;

pub(crate) fn run(args: &LogsArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (run, host) = match args.what.as_slice() {
        [run, host] => (run.as_str(), host.as_str()),
        [host] => ("last", host.as_str()),
        _ => return Err(Failure::usage("logs takes HOST, or RUN HOST")),
    };
    let ledger = state::ledger(globals)?;
    let directory = state::option(ledger.state_directory());
    if args.what.len() == 1
        && (host == "last" || host.starts_with("r-"))
        && let Ok(run) = ledger.resolve_run(host)
    {
        return Err(Failure::usage(format!(
            "name a host of the run: `reveille logs{directory} {run} HOST`"
        )));
    }
    let run = ledger.resolve_run(run)?;
    let record = ledger.run(run)?;
    let host = HostName::from(host);
    let mut on_roll = false;
    for round in 1..=record.round {
        if !ledger.roll(run, round)?.iter().any(|entry| entry.host == host) {
            continue;
        }
        on_roll = true;
        if args.raw {
            for frame in ledger.read_output(run, &host, round)? {
                printer.data_bytes(&frame?.bytes)?;
            }
            continue;
        }
        for event in ledger.events(run, Some(&host)) {
            let event = event?;
            if let Some(line) = show::line(&event).filter(|_| event.round == round) {
                printer.data(&printer.tone_out(&line, Tone::Faint))?;
            }
        }
        print_output(&ledger, run, &host, round, printer)?;
    }
    if !on_roll {
        return Err(Failure::usage(format!(
            "{run} has no host {host}; `reveille show{directory} {run} --format json` lists its hosts"
        )));
    }
    Ok(Exit::Success)
}

fn print_output(
    ledger: &Ledger,
    run: reveille_account::RunId,
    host: &HostName,
    round: u32,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut heading = None;
    for frame in ledger.read_output(run, host, round)? {
        let frame = frame?;
        let now = (frame.step, frame.attempt);
        if heading != Some(now) {
            heading = Some(now);
            let words = format!("── step {}, attempt {}", frame.step + 1, frame.attempt);
            printer.data(&printer.tone_out(&words, Tone::Strong))?;
        }
        if frame.gap > 0 {
            printer.data(&lost(frame.gap))?;
        }
        for line in harmless::block_of_bytes(&frame.bytes).lines() {
            match frame.stream {
                Stream::Stdout => printer.data(line)?,
                Stream::Stderr => printer.data(&printer.tone_out(&format!("stderr: {line}"), Tone::Odd))?,
            }
        }
    }
    Ok(())
}
