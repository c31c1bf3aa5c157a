//! `cargo xtask`: build, test and release chores.
//!
//! A chore is a sub-command: `test.rs` and `machines.rs` are here; `simulate`, `docs` and `bench` are packages of their
//! own, which this program builds and becomes, so that it builds in seconds itself. They read their own arguments.

mod machines;
mod simulate;
mod test;

use std::process::ExitCode;

use clap::{ArgMatches, Command, arg, value_parser};
use xtask::failure::Result;
use xtask::workspace::{become_command, program};

fn main() -> ExitCode {
    match run(&command_line().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn command_line() -> Command {
    let test = Command::new("test")
        .about("Run every test; with --install, first install what they need")
        .arg(arg!(--install "Install the Debian packages and cargo-nextest if they are missing (as root, or by sudo)"))
        .arg(
            arg!(arguments: [NEXTEST_ARGUMENT] ... "Arguments for `cargo nextest run`; with any, documentation tests are left out")
                .last(true),
        );
    let machines = Command::new("machines")
        .about("Real Debian machines to try things on")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("up")
                .about("Bring up N fresh machines, in place of those that are up")
                .arg(arg!(<N> "How many").value_parser(value_parser!(u8).range(1..=16))),
        )
        .subcommand(
            Command::new("down")
                .about("End all machines and remove what they wrote; the base they share is kept"),
        )
        .subcommand(Command::new("list").about("List the machines that are up"));
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("Build, test and release chores")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            test,
            machines,
            other(
                "simulate",
                "Play the engine through faults that follow from seeds",
            ),
            other(
                "docs",
                "Write the pages of docs/ that are made from the program's own tables",
            ),
            other("bench", "Measure Reveille beside its peers, for BENCHMARKS.md"),
        ])
}

/// A chore in a package of its own, which reads its arguments itself, `--help` among them.
fn other(name: &'static str, about: &'static str) -> Command {
    let arguments = arg!([arguments] ...)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    Command::new(name)
        .about(about)
        .disable_help_flag(true)
        .arg(arguments)
}

fn run(matches: &ArgMatches) -> Result {
    let (chore, matches) = matches.subcommand().expect("clap asks for a chore");
    let arguments = || -> Vec<String> {
        let values = matches.get_many("arguments");
        values.unwrap_or_default().cloned().collect()
    };
    match chore {
        "test" => test::run(matches.get_flag("install"), &arguments()),
        "machines" => machines::run(&match matches.subcommand() {
            Some(("up", up)) => machines::Order::Up(*up.get_one("N").expect("clap asks for a number")),
            Some(("down", _)) => machines::Order::Down,
            _ => machines::Order::List,
        }),
        "simulate" => become_command(&mut simulate::command(&arguments())),
        "docs" => become_command(&mut program("reveille-docs", "dev", &arguments())),
        // Not a release build: its dependencies are the ones that tests are built with, and optimised; measured programs
        // are release builds.
        _ => become_command(&mut program("reveille-bench-peers", "dev", &arguments())),
    }
}
