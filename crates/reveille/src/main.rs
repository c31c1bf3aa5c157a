//! `reveille`: the program. Commands, configuration and screens; the work itself is done by the crates below.
//!
//! The main types: `Cli` (`cli/mod.rs`), the one definition of the command line, from which help, man pages and completions
//! are made; `Config` (`config.rs`), values from files and environment; `Printer` (`printer.rs`), which writes data to
//! standard output and everything else to standard error; `Request` (`launch.rs`), a run that is about to be recorded;
//! `Failure` (`failure.rs`), the reason why a command ends early, with its exit status.
//!
//! `reveille run` through the program:
//!
//! 1. `main.rs` reads the configuration, applies it to the command line as defaults, and parses.
//! 2. `commands/run.rs` reads the job. `options.rs` turns options into `RunOptions`; `choose.rs` reads inventories,
//!    matches patterns and finds ways; every template is checked for every host. `prompt.rs` asks for passwords.
//! 3. `launch.rs` records the run and gives it to `reveille_fleet`; `resume` and `retry` join here.
//! 4. While it runs, `render/live.rs` draws the screen from a `reveille_view::RunView`, `render/stream.rs` prints output
//!    as it comes, and `render/events.rs` writes NDJSON, through threads of their own (`render/outlet.rs`), so that a
//!    stalled reader does not stop the run. `render/artifacts.rs` refreshes exports.
//! 5. `render/result.rs` prints what failed and why, the account, and the next command, all read from the ledger. The
//!    account decides the exit status.
//!
//! Every other command is a file of `commands`, named after it. `drill/mod.rs` starts the practice fleet of a drill, and
//! compares the injected faults with the reported classes.

mod again;
mod answers;
mod choose;
mod cli;
mod commands;
mod complete;
mod config;
mod drill;
mod failure;
mod launch;
mod log;
mod options;
mod printer;
mod prompt;
mod recent;
mod render;
mod runtime;
mod signals;
mod state;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use reveille_account::Exit;

use crate::cli::Cli;
use crate::commands::program;
use crate::config::Config;
use crate::failure::Failure;
use crate::printer::Printer;

fn main() -> ExitCode {
    usage::begin();
    if complete::answer() {
        return ExitCode::SUCCESS;
    }
    if let Some((name, arguments)) = program::asked_for(std::env::args_os()) {
        return program::run(name, &arguments).map_or_else(|failure| failed(&failure), |_| ExitCode::SUCCESS);
    }
    let command = Cli::command();
    let config = match Config::read(&command) {
        Ok(config) => config,
        Err(failure) => return failed(&failure),
    };
    let mut command = config.apply(command);
    let parsed = command
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|matches| {
            let mut cli = Cli::from_arg_matches(&matches)?;
            cli.take_origins(config.origins(&command, &matches), &config::files());
            Ok(cli)
        });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let error = answers::add(error);
            // Help goes to standard output; a closed pipe there is not an error.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            return ExitCode::from(exit.code());
        }
    };
    let printer = Printer::new(&cli.globals);
    let log = start_log();
    let exit = match commands::run(cli, &printer) {
        Ok(exit) => exit,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit()
        }
    };
    if let Some(log) = log {
        log.finish();
    }
    ExitCode::from(exit.code())
}

/// Reports a failure before there is a printer.
fn failed(failure: &Failure) -> ExitCode {
    eprintln!("error: {failure}");
    ExitCode::from(failure.exit().code())
}

/// Starts the log. If its thread can't be started, nothing is logged.
fn start_log() -> Option<log::Log> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REVEILLE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    let log = log::Log::start().ok()?;
    let writer = log.clone();
    // Only a second initialisation in one process fails.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .try_init();
    Some(log)
}
