//! The sub-commands, a file each.

pub(crate) mod build;
pub(crate) mod check;
mod descriptors;
pub(crate) mod explain;
pub(crate) mod serve;

use std::path::PathBuf;

use clap::Args;
use reveille_mirrorlist::{Data, Sources};

/// The files that are served.
#[derive(Debug, Args)]
pub(crate) struct Files {
    #[command(flatten)]
    data: DataFile,
    /// AS numbers of prefixes, `PREFIX ASN` a line
    #[arg(long, value_name = "FILE")]
    netblocks: Option<PathBuf>,
    /// Continents of countries, `COUNTRY,CONTINENT` a line [default: a built-in table]
    #[arg(long, value_name = "FILE.csv")]
    countries: Option<PathBuf>,
    /// Countries of addresses, in MaxMind's format
    #[arg(long, value_name = "FILE.mmdb")]
    geoip: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct DataFile {
    /// The snapshot that MirrorManager writes
    #[arg(long, value_name = "FILE.proto")]
    cache: Option<PathBuf>,
    /// A list of mirrors
    #[arg(long, value_name = "FILE.yaml")]
    mirrors: Option<PathBuf>,
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
