//! `cargo xtask bench mirrorlist`: the mirrorlist server under load, beside MirrorManager's own if its binary is given.

mod client;
mod compare;
mod corpus;
mod crowd;
mod http;
mod latencies;
mod reloads;
mod server;
mod speed;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use reveille_mirrorlist::synthetic::{self, Size};
use xtask::failure::Result;
use xtask::packages::{self, Package};
use xtask::tell;
use xtask::workspace::Workspace;

use crate::benchmarks_page::{Section, command_line, first_line};
use crate::proc;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// MirrorManager's mirrorlist-server, to be measured beside ours and compared with it
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Make these tables only
    #[arg(long, value_enum, value_name = "TABLE", value_delimiter = ',')]
    table: Vec<Table>,
    /// Directories of the data; the bars are for as many as this
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
    /// Install missing Debian packages
    #[arg(long)]
    install: bool,
    /// Print the tables, and leave BENCHMARKS.md alone
    #[arg(long)]
    print: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Memory, start, requests a second.
    Speed,
    /// Many clients at once.
    Crowd,
    /// Reloads beside 8, 10 and 100 clients.
    Reloads,
    /// Reloads beside 200 and 400 clients.
    ReloadsMany,
    /// Answers beside the reference's.
    Compare,
}

/// What the loads are made with.
const PACKAGES: &[Package] = &[
    Package {
        name: "wrk",
        programs: &["wrk"],
        reason: "requests over connections that are kept",
    },
    Package {
        name: "apache2-utils",
        programs: &["ab"],
        reason: "requests with a connection each, as in the discussion of MirrorManager's server",
    },
];

/// Mirrors of the data.
const HOSTS: u16 = 700;
/// Mirrors of each directory.
const CARRIERS: u16 = 100;
/// The data are the same each time.
const SEED: u64 = 1;

/// Where everything is.
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

pub(super) fn run(arguments: &Arguments, workspace: &Workspace) -> Result {
    packages::provide(PACKAGES, "the load", arguments.install)?;
    let load = proc::load();
    let lab = Lab::open(arguments, workspace)?;
    let versions = vec![lab.version()];
    let section = |name, title: String, body| {
        let section = Section {
            name,
            title,
            command: arguments.as_repeated(),
            versions: versions.clone(),
            load: load.clone(),
            body,
        };
        section.publish(workspace, arguments.print)
    };
    if arguments.wants(Table::Speed) {
        let title = format!(
            "The mirrorlist server: {} directories, {HOSTS} mirrors, {CARRIERS} of them each",
            lab.directories
        );
        section("mirrorlist", title, speed::run(&lab)?)?;
    }
    if arguments.wants(Table::Crowd) {
        let title = "The mirrorlist server, asked by many at once".to_owned();
        section("mirrorlist-crowd", title, crowd::run(&lab)?)?;
    }
    if arguments.wants(Table::Reloads) {
        let title = "The mirrorlist server, reloading under load".to_owned();
        section("mirrorlist-reloads", title, reloads::run(&lab, &[8, 10, 100])?)?;
    }
    if arguments.wants(Table::ReloadsMany) {
        let title = "The mirrorlist server, reloading under the load of many".to_owned();
        section("mirrorlist-reloads-many", title, reloads::run(&lab, &[200, 400])?)?;
    }
    if arguments.wants(Table::Compare) {
        match &lab.reference {
            Some(reference) => {
                let title = "Answers of the mirrorlist server, beside MirrorManager's".to_owned();
                section("mirrorlist-compare", title, compare::run(&lab, reference)?)?;
            }
            None => tell::line("no answers are compared: --reference names the server to compare with"),
        }
    }
    Ok(())
}

// === impl Arguments ===

impl Arguments {
    /// The command without where somebody happens to have the reference.
    fn as_repeated(&self) -> String {
        let command = command_line();
        match &self.reference {
            Some(path) => command.replace(&path.display().to_string(), "mirrorlist-server"),
            None => command,
        }
    }

    fn wants(&self, table: Table) -> bool {
        self.table.is_empty() || self.table.contains(&table)
    }
}

// === impl Lab ===

impl Lab {
    fn open(arguments: &Arguments, workspace: &Workspace) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let lab = Self {
            ours: workspace.build("reveille-mirrorlist", "dist")?,
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

    /// Data of a size, always the same but for the domain.
    fn make_data(&self, directory: &Path, domain: &str, directories: u32, prefixes: u32) -> Result {
        std::fs::create_dir_all(directory)?;
        let size = Size {
            directories,
            hosts: HOSTS,
            carriers: CARRIERS,
            prefixes,
        };
        tell::line(&format!(
            "making up data of {directories} directories in {}",
            directory.display()
        ));
        Ok(synthetic::write(directory, size, domain, SEED)?)
    }

    fn version(&self) -> String {
        first_line(Command::new(&self.ours).arg("--version"))
    }
}
