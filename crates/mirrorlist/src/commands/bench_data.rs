//! `reveille-mirrorlist bench-data`

use std::path::PathBuf;

use clap::Args;
use reveille_mirrorlist::synthetic::{self, Size};

use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An existing directory for the files
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Directories; every second one is a `repodata`
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    directories: u32,
    /// Mirrors
    #[arg(long, value_name = "N", default_value_t = 700, value_parser = clap::value_parser!(u16).range(1..))]
    hosts: u16,
    /// Mirrors of each directory
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    carriers: u16,
    /// Prefixes with an AS number
    #[arg(long, value_name = "N", default_value_t = 1_200_000, value_parser = clap::value_parser!(u32).range(1..))]
    prefixes: u32,
    /// What the names of all mirrors end in
    #[arg(long, value_name = "NAME", default_value = "example")]
    domain: String,
    /// The same seed makes the same data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let size = Size {
        directories: arguments.directories,
        hosts: arguments.hosts,
        carriers: arguments.carriers,
        prefixes: arguments.prefixes,
    };
    synthetic::write(&arguments.to, size, &arguments.domain, arguments.seed).map_err(|error| {
        Failure::Input(format!(
            "can't write made-up data to {}: {error}",
            arguments.to.display()
        ))
    })
}
