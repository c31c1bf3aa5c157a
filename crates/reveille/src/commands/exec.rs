//! `reveille exec`: runs a one-off command on the selected hosts.

use reveille_account::Exit;
use reveille_job::{CommandOptions, Job, Limit, Watchdog};
use reveille_ledger::RunKind;

use crate::cli::{ExecArgs, Globals};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::printer::Printer;

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
        input: args.stdin.as_deref().map(launch::read_input).transpose()?,
        ..Request::plain(RunKind::Exec, job, &args.on, !args.stream, globals, printer)?
    };
    launch::start(request, &args.on.report, printer)
}
