//! `cargo xtask bench mirrorlist`: the mirrorlist server under load, beside MirrorManager's own if its binary is given.

mod client;
mod compare;
mod corpus;
mod crowd;
mod http;
mod reloads;
mod server;
mod speed;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use reveille_mirrorlist::synthetic::{self, Size};
use xtask::failure::Result;
use xtask::packages::Package;
use xtask::tell;

use crate::bench::{Bench, first_line, package, wanted};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// MirrorManager's mirrorlist-server, to measure beside ours and compare with it
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Make these tables only
    #[arg(long, value_enum, value_name = "TABLE", value_delimiter = ',')]
    table: Vec<Measurement>,
    /// Directories of the data
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    directories: u32,
    /// Prefixes of the data
    #[arg(long, value_name = "N", default_value_t = 1_200_000, value_parser = clap::value_parser!(u32).range(1..))]
    prefixes: u32,
    /// How long each load lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Requests that are compared
    #[arg(long, value_name = "N", default_value_t = 6000)]
    requests: u32,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Memory, start, requests a second
    Speed,
    /// Many clients at once
    Crowd,
    /// Reloads beside 8, 10 and 100 clients
    Reloads,
    /// Reloads beside 200 and 400 clients
    ReloadsMany,
    /// Answers beside the reference's
    Compare,
}

/// The programs that make the load.
const PACKAGES: &[Package] = &[
    package("wrk", &["wrk"], "requests over connections that are kept"),
    package(
        "apache2-utils",
        &["ab"],
        "requests with a connection each, as in the discussion of MirrorManager's server",
    ),
];

/// Mirrors of the data.
const HOSTS: u16 = 700;
/// Mirrors of each directory.
const CARRIERS: u16 = 100;
/// The seed of the data, so that they are equal each time.
const SEED: u64 = 1;

/// What all tables of this folder use.
#[derive(Debug)]
pub(super) struct Lab {
    ours: PathBuf,
    reference: Option<PathBuf>,
    /// Data to serve.
    data: PathBuf,
    scratch: tempfile::TempDir,
    directories: u32,
    seconds: u64,
    requests: u32,
}

pub(super) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    bench.provide(PACKAGES)?;
    let lab = Lab::open(arguments, bench)?;
    let versions = [first_line(Command::new(&lab.ours).arg("--version"))];
    for table in wanted(&arguments.table, Measurement::value_variants()) {
        let (name, title, body) = match table {
            Measurement::Speed => {
                let title = format!(
                    "The mirrorlist server: {} directories, {HOSTS} mirrors, {CARRIERS} of them each",
                    lab.directories
                );
                ("mirrorlist", title, speed::run(&lab)?)
            }
            Measurement::Crowd => {
                let title = "The mirrorlist server with many clients at once".to_owned();
                ("mirrorlist-crowd", title, crowd::run(&lab)?)
            }
            Measurement::Reloads => {
                let title = "The mirrorlist server, reloading under load".to_owned();
                ("mirrorlist-reloads", title, reloads::run(&lab, &[8, 10, 100])?)
            }
            Measurement::ReloadsMany => {
                let title = "The mirrorlist server, reloading under the load of many".to_owned();
                ("mirrorlist-reloads-many", title, reloads::run(&lab, &[200, 400])?)
            }
            Measurement::Compare => {
                let Some(reference) = &lab.reference else {
                    tell::line("no answers are compared: --reference names the server to compare with");
                    continue;
                };
                let title = "Answers of the mirrorlist server beside MirrorManager's".to_owned();
                ("mirrorlist-compare", title, compare::run(&lab, reference)?)
            }
        };
        bench.publish(name, &title, &versions, &body)?;
    }
    Ok(())
}

// === impl Lab ===

impl Lab {
    fn open(arguments: &Arguments, bench: &Bench) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let lab = Self {
            ours: bench.workspace.build("reveille-mirrorlist", "dist")?,
            reference: arguments.reference.clone(),
            data: scratch.path().join("data"),
            scratch,
            directories: arguments.directories,
            seconds: arguments.seconds,
            requests: arguments.requests,
        };
        lab.make_data(&lab.data, "example", arguments.directories, arguments.prefixes)?;
        Ok(lab)
    }

    /// The repository of the last directory but one, and its architecture: the end of the data.
    fn last(&self) -> (String, &'static str) {
        synthetic::repository(self.directories / 2 * 2 - 2)
    }

    /// Writes data of a size; all but the domain is the same each time.
    fn make_data(&self, directory: &Path, domain: &str, directories: u32, prefixes: u32) -> Result {
        std::fs::create_dir_all(directory)?;
        let size = Size {
            directories,
            hosts: HOSTS,
            carriers: CARRIERS,
            prefixes,
        };
        tell::line(&format!(
            "writing data of {directories} directories to {}",
            directory.display()
        ));
        Ok(synthetic::write(directory, size, domain, SEED)?)
    }
}
