//! `reveille exec`: runs a one-off command on the selected hosts.

use std::path::Path;

use bytes::Bytes;
use reveille_account::Exit;
use reveille_job::{CommandOptions, Job, Limit, Watchdog};
use reveille_ledger::RunKind;
use reveille_text::bounded::{self, ReadError};

use crate::cli::{ExecArgs, Globals};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::printer::Printer;

/// Limit of `--stdin`, in bytes, because the input is kept in memory.
const INPUT_LIMIT: u64 = 64 << 20;

pub(crate) fn run(args: &ExecArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let limit = |time: Option<std::time::Duration>| time.map_or(Limit::Off, Limit::After);
    let job = Job::command(
        args.command.join(" "),
        CommandOptions {
            attempts: args.attempts,
            durable: args.durable,
            pty: args.pty,
            watchdog: Watchdog {
                idle: limit(args.idle),
                total: limit(args.total),
            },
            ..CommandOptions::default()
        },
    );
    let request = Request {
        input: args.stdin.as_deref().map(read_input).transpose()?,
        ..Request::plain(RunKind::Exec, job, &args.on, !args.no_fold, globals, printer)?
    };
    launch::start(request, &args.on.report, printer)
}

/// Reads the standard input for every host.
pub(crate) fn read_input(path: &Path) -> Result<Bytes, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!(
            "can't use {} as the command's input: {why}",
            path.display()
        ))
    };
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?)
    };
    match bounded::bytes_of(source, INPUT_LIMIT) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error @ ReadError::TooLong { .. }) => {
            Err(wrong(format!("{error}; copy it to the hosts instead")))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}
