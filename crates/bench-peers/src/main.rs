//! `cargo xtask bench`: measures Reveille beside its peers in one run, for BENCHMARKS.md.
//!
//! A folder for each subject: `fleet/mod.rs` (commands and copies over SSH, beside Ansible, pssh and others),
//! `load/mod.rs` (HTTP, beside wrk, oha, Goose and Locust), `mirrorlist/mod.rs` (beside MirrorManager's server),
//! `watchdog/mod.rs` (recorded durations, replayed against several rules).
//!
//! A measurement: the subject prepares servers and peers (`fleet/lab.rs`, `load/server.rs`); [`measure`] runs one
//! command and records its processor time and memory, from control groups ([`cgroup`]) or [`proc`]; the subject makes a
//! table, and [`benchmarks_page`] replaces it between its markers.

mod benchmarks_page;
mod cgroup;
mod fleet;
mod load;
mod measure;
mod mirrorlist;
mod proc;
mod python;
mod watchdog;

use std::process::ExitCode;

use clap::Parser;
use xtask::failure::Result;
use xtask::workspace::Workspace;

/// Measure Reveille beside its peers, for BENCHMARKS.md
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    arg_required_else_help = true
)]
enum Bench {
    /// One echo on every host, sessions held open, and 10,000 hosts of the drill
    Fleet(fleet::Arguments),
    /// A large file and many small ones to 8 hosts
    Copy(fleet::copy::Arguments),
    /// The same work at 16, 32 … sessions at once
    Sweep(fleet::Common),
    /// Chatty hosts with the controller confined to little memory, as a picture
    Confined(fleet::confined::Arguments),
    /// HTTP requests against one local server, beside wrk, oha, Goose and Locust
    Load(load::Arguments),
    /// Recorded durations of commands, replayed against the watchdog's rule and others
    Watchdog(watchdog::Arguments),
    /// The mirrorlist server under load, beside MirrorManager's own
    Mirrorlist(mirrorlist::Arguments),
}

fn main() -> ExitCode {
    match run(&Bench::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(bench: &Bench) -> Result {
    let workspace = Workspace::find()?;
    match bench {
        Bench::Fleet(arguments) => fleet::run(arguments, &workspace),
        Bench::Copy(arguments) => fleet::copy::run(arguments, &workspace),
        Bench::Sweep(common) => fleet::sweep::run(common, &workspace),
        Bench::Confined(arguments) => fleet::confined::run(arguments, &workspace),
        Bench::Load(arguments) => load::run(arguments, &workspace),
        Bench::Watchdog(arguments) => watchdog::run(arguments, &workspace),
        Bench::Mirrorlist(arguments) => mirrorlist::run(arguments, &workspace),
    }
}
