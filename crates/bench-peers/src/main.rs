//! `cargo xtask bench`: measures Reveille beside its peers in one run, for BENCHMARKS.md.
//!
//! A folder for each subject: `fleet/mod.rs` (commands, copies and jobs over SSH, beside Ansible, pssh and others),
//! `load/mod.rs` (HTTP, beside wrk, oha, Goose and Locust), `mirrorlist/mod.rs` (beside MirrorManager's server),
//! `watchdog/mod.rs` (recorded durations, replayed against several rules).
//!
//! A measurement: the subject prepares servers and peers ([`process`], [`python`]); [`measure`] runs one command and
//! records its processor time and memory, from control groups ([`cgroup`]) or [`proc`]; the subject fills a [`table`],
//! and [`bench`] replaces it in BENCHMARKS.md between its markers.

mod bench;
mod cgroup;
mod fleet;
mod load;
mod measure;
mod mirrorlist;
mod proc;
mod process;
mod python;
mod table;
mod watchdog;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::failure::Result;

use self::bench::Bench;

/// Measure Reveille beside its peers, for BENCHMARKS.md
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    subject: Subject,
    /// Install missing Debian packages, and other missing peers below the target directory
    #[arg(long, global = true)]
    install: bool,
    /// Print the tables, and leave BENCHMARKS.md unchanged
    #[arg(long, global = true)]
    print: bool,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// One echo on every host, sessions held open, and 10,000 hosts of the drill
    Fleet(fleet::Arguments),
    /// A large file and many small ones to 8 hosts
    Copy(fleet::copy::Arguments),
    /// A job of ten steps, beside Ansible's playbook that does the same
    Job(fleet::job::Arguments),
    /// The same work at 16, 32 … sessions at once
    Sweep(fleet::Common),
    /// Hosts with much output and a controller with little memory, with a chart
    Confined(fleet::confined::Arguments),
    /// HTTP requests to one local server, beside wrk, oha, Goose and Locust
    Load(load::Arguments),
    /// Recorded durations of commands, replayed against the watchdog's rule and others
    Watchdog(watchdog::Arguments),
    /// The mirrorlist server under load, beside MirrorManager's own
    Mirrorlist(mirrorlist::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: &Arguments) -> Result {
    let bench = Bench::open(arguments.install, arguments.print)?;
    match &arguments.subject {
        Subject::Fleet(arguments) => fleet::run(arguments, &bench),
        Subject::Copy(arguments) => fleet::copy::run(arguments, &bench),
        Subject::Job(arguments) => fleet::job::run(arguments, &bench),
        Subject::Sweep(common) => fleet::sweep::run(common, &bench),
        Subject::Confined(arguments) => fleet::confined::run(arguments, &bench),
        Subject::Load(arguments) => load::run(arguments, &bench),
        Subject::Watchdog(arguments) => watchdog::run(arguments, &bench),
        Subject::Mirrorlist(arguments) => mirrorlist::run(arguments, &bench),
    }
}
