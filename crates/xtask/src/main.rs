//! Build, test and release chores: `cargo xtask --help`.

mod bench;
mod docs;
mod failure;
mod machines;
mod packages;
mod simulate;
mod tell;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, test and release chores",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run every test; with --install, first install what they need
    Test(test::Arguments),
    /// Real Debian machines to try things on
    #[command(subcommand)]
    Machines(machines::Order),
    /// Play the engine through faults that follow from seeds
    Simulate(simulate::Arguments),
    /// Write the pages of docs/ that are made from the program's own tables
    Docs(docs::Arguments),
    /// Measure Reveille beside its peers, for BENCHMARKS.md
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Machines(order) => machines::run(&order),
        Chore::Simulate(arguments) => simulate::run(&arguments),
        Chore::Docs(arguments) => docs::run(&arguments),
        Chore::Bench(bench) => bench::run(&bench),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell::line(&format!("error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}
