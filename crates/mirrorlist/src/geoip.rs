//! The country of an address, from a database in MaxMind's format.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use reveille_text::bounded;
use serde::Deserialize;

use crate::error::Reason;

/// Longest database; those of cities, which work as well, have a few hundred MiB.
const LONGEST: u64 = 1 << 30;

/// Countries by address; empty without a database.
#[derive(Default)]
pub struct GeoIp(Option<maxminddb::Reader<Vec<u8>>>);

/// The part of a record that is read.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country: Option<Country<'a>>,
}

#[derive(Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

// === impl GeoIp ===

impl GeoIp {
    pub(crate) fn open(path: &Path) -> Result<Self, Reason> {
        let bytes = bounded::bytes(path, LONGEST)?;
        if bytes.is_empty() {
            return Err(Reason::Empty);
        }
        let reader = maxminddb::Reader::from_source(bytes).map_err(Reason::GeoIp)?;
        Ok(Self(Some(reader)))
    }

    /// Whether there is a database.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// The country, as two letters.
    pub(crate) fn country(&self, address: IpAddr) -> Option<&str> {
        let record: Record<'_> = self.0.as_ref()?.lookup(address).ok()?.decode().ok()??;
        record.country?.iso_code
    }
}

impl fmt::Debug for GeoIp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.0.as_ref().map(|reader| reader.metadata().node_count);
        formatter.debug_struct("GeoIp").field("nodes", &nodes).finish()
    }
}
