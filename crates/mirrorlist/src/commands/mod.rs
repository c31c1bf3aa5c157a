//! The sub-commands, a file each.

pub(crate) mod build;
pub(crate) mod check;
mod descriptors;
pub(crate) mod examples;
pub(crate) mod explain;
mod failure;
pub(crate) mod man;
pub(crate) mod printer;
pub(crate) mod serve;

use std::path::PathBuf;

use clap::Args;
use reveille_mirrorlist::{Data, Rules, Sources};

/// The files that answers are made from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct Files {
    #[command(flatten)]
    data: DataFile,
    /// AS numbers of networks, a line `PREFIX ASN` each
    #[arg(long, value_name = "FILE")]
    netblocks: Option<PathBuf>,
    /// Continents of countries, a line `COUNTRY,CONTINENT` each [default: a built-in table]
    #[arg(long, value_name = "FILE.csv")]
    countries: Option<PathBuf>,
    /// Countries of addresses, a database in MaxMind's format
    #[arg(long, value_name = "FILE.mmdb")]
    geoip: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
#[group(required = true, multiple = false)]
struct DataFile {
    /// Snapshot that MirrorManager writes
    #[arg(long, value_name = "FILE.proto")]
    cache: Option<PathBuf>,
    /// List of mirrors
    #[arg(long, value_name = "FILE.yaml")]
    mirrors: Option<PathBuf>,
}

/// How mirrors are chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answers")]
pub(crate) struct Choice {
    /// Add mirrors from all over the world if fewer than this are near
    #[arg(long, value_name = "N", default_value_t = 5)]
    minimum: usize,
    /// Answer as MirrorManager's server does, even where that is questionable
    #[arg(long)]
    strict_compat: bool,
}

// === impl Choice ===

impl Choice {
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            minimum: self.minimum,
            strict: self.strict_compat,
        }
    }
}

// === impl Files ===

impl Files {
    pub(crate) fn sources(&self) -> Sources {
        let data = match (&self.data.cache, &self.data.mirrors) {
            (Some(path), _) => Data::Cache(path.clone()),
            (None, path) => Data::Mirrors(path.clone().unwrap_or_default()),
        };
        Sources {
            data,
            netblocks: self.netblocks.clone(),
            countries: self.countries.clone(),
            geoip: self.geoip.clone(),
        }
    }
}
