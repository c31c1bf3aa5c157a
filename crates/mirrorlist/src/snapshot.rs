//! The snapshot: everything that an answer depends on. It is read as a whole and never changes.

use std::fs::{self, File};
use std::io::BufReader;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use reveille_text::grouped;

use crate::catalog::Catalog;
use crate::continents::Continents;
use crate::error::{BadFile, Reason};
use crate::geoip::GeoIp;
use crate::mirrors;
use crate::networks::Networks;
use crate::throttled_read::{Throttle, ThrottledRead};

/// The country of a client whose country is unknown.
pub(crate) const NO_COUNTRY: &str = "N/A";

/// Bytes that are read at once, between two possible pauses.
const BUFFER: usize = 32 << 10;

/// The files from which a snapshot is compiled.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Hosts and directories.
    pub data: Data,
    /// Lines `PREFIX ASN`.
    pub netblocks: Option<PathBuf>,
    /// Lines `COUNTRY,CONTINENT`; without it, a built-in table is used.
    pub countries: Option<PathBuf>,
    /// A country database in MaxMind's format.
    pub geoip: Option<PathBuf>,
}

/// Where hosts and directories come from.
#[derive(Debug, Clone)]
pub enum Data {
    /// The snapshot of MirrorManager.
    Cache(PathBuf),
    /// A list of mirrors in YAML, and the results of `check` beside it.
    Mirrors(PathBuf),
}

/// Everything that an answer depends on.
#[derive(Debug)]
pub struct Snapshot {
    catalog: Part<Catalog>,
    networks: Part<Networks>,
    continents: Part<Continents>,
    geoip: Part<GeoIp>,
    /// The continent of each country of the catalogue, as a number.
    continent_of: Vec<Option<u8>>,
    continent_names: Vec<Box<str>>,
    identity: u64,
}

/// What was read from files, and the stamps of the files before that.
#[derive(Debug)]
struct Part<T> {
    value: Arc<T>,
    stamps: Stamps,
}

/// The states of a source's files. If they are equal, the contents are taken to be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

// === impl Sources ===

impl Sources {
    /// The current stamps of all files.
    pub fn stamps(&self) -> Stamps {
        let all = [
            self.data.stamps(),
            Stamps::of(&[self.netblocks.as_deref()]),
            Stamps::of(&[self.countries.as_deref()]),
            Stamps::of(&[self.geoip.as_deref()]),
        ];
        Stamps(all.into_iter().flat_map(|stamps| stamps.0).collect())
    }
}

// === impl Data ===

impl Data {
    fn stamps(&self) -> Stamps {
        match self {
            Self::Cache(path) => Stamps::of(&[Some(path)]),
            Self::Mirrors(path) => Stamps::of(&[Some(path), Some(&mirrors::state_path(path))]),
        }
    }

    fn read(&self, throttle: &Throttle) -> Result<Catalog, BadFile> {
        match self {
            Self::Cache(path) => {
                let bad = |reason: Reason| BadFile::new(path, reason);
                let file = File::open(path).map_err(|error| bad(error.into()))?;
                Catalog::read(BufReader::with_capacity(
                    BUFFER,
                    ThrottledRead::new(file, throttle),
                ))
                .map_err(bad)
            }
            Self::Mirrors(path) => mirrors::read(path),
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Reads all files, except those that have not changed since the snapshot `before`.
    pub fn load(sources: &Sources, before: Option<&Self>) -> Result<Self, BadFile> {
        Self::load_with(&Throttle::unthrottled(), sources, before)
    }

    /// The same, with pauses between bursts of work.
    pub(crate) fn load_with(
        throttle: &Throttle,
        sources: &Sources,
        before: Option<&Self>,
    ) -> Result<Self, BadFile> {
        let stamps = sources.data.stamps();
        let catalog = match before.filter(|before| before.catalog.stamps == stamps) {
            Some(before) => before.catalog.again(),
            None => Part::new(sources.data.read(throttle)?, stamps),
        };
        let networks = part(
            sources.netblocks.as_deref(),
            before.map(|before| &before.networks),
            Networks::default,
            |path| {
                let file = ThrottledRead::new(File::open(path)?, throttle);
                Networks::read(BufReader::with_capacity(BUFFER, file))
            },
        )?;
        let continents = part(
            sources.countries.as_deref(),
            before.map(|before| &before.continents),
            Continents::built_in,
            Continents::open,
        )?;
        let geoip = part(
            sources.geoip.as_deref(),
            before.map(|before| &before.geoip),
            GeoIp::default,
            GeoIp::open,
        )?;
        Ok(Self::of(catalog, networks, continents, geoip))
    }

    /// A snapshot of a catalogue without other files.
    #[cfg(any(test, feature = "synthetic"))]
    pub(crate) fn of_catalog(catalog: Catalog) -> Self {
        let none = || Stamps(Vec::new());
        Self::of(
            Part::new(catalog, none()),
            Part::new(Networks::default(), none()),
            Part::new(Continents::built_in(), none()),
            Part::new(GeoIp::default(), none()),
        )
    }

    fn of(
        catalog: Part<Catalog>,
        networks: Part<Networks>,
        continents: Part<Continents>,
        geoip: Part<GeoIp>,
    ) -> Self {
        let mut snapshot = Self {
            catalog,
            networks,
            continents,
            geoip,
            continent_of: Vec::new(),
            continent_names: Vec::new(),
            identity: fastrand::u64(..),
        };
        snapshot.number_continents();
        snapshot
    }

    /// Hosts and directories.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog.value
    }

    /// A number that differs for each snapshot, for caches of answers.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// Mistakes in the files that were ignored.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let catalog = self.catalog.value.warnings().iter().cloned();
        catalog.chain(self.networks.value.warning())
    }

    /// What was read, for people.
    pub fn summary(&self) -> String {
        let prefixes = self.networks().prefixes();
        let noun = if prefixes == 1 { "prefix" } else { "prefixes" };
        format!(
            "{}, {} {noun} with an AS; created at {}",
            self.catalog().counts(),
            grouped(prefixes as u64),
            self.catalog().created_text()
        )
    }

    /// Whether a GeoIP database was read.
    pub(crate) fn has_geoip(&self) -> bool {
        self.geoip.value.is_there()
    }

    /// AS numbers of addresses.
    pub fn networks(&self) -> &Networks {
        &self.networks.value
    }

    /// The country of an address, and whether it comes from the data's table of networks.
    pub(crate) fn country(&self, address: IpAddr) -> (&str, bool) {
        let named = self.catalog.value.netblock_countries.around(address).pop();
        match named {
            Some((_, country)) if !country.is_empty() => (country, true),
            _ => (self.geoip.value.country(address).unwrap_or(NO_COUNTRY), false),
        }
    }

    /// The number of a country's continent; the country is in upper case.
    pub(crate) fn continent(&self, country: &str) -> Option<u8> {
        let name = self.continent_name(country)?;
        let number = self.continent_names.iter().position(|known| **known == *name)?;
        u8::try_from(number).ok()
    }

    /// The name of the continent with a number.
    pub(crate) fn continent_named(&self, number: u8) -> &str {
        &self.continent_names[usize::from(number)]
    }

    /// The continent of a country of the catalogue.
    pub(crate) fn continent_of(&self, country: u16) -> Option<u8> {
        self.continent_of.get(usize::from(country)).copied().flatten()
    }

    /// A country that is not in the table has no continent, even if MirrorManager redirects it to one.
    fn continent_name(&self, country: &str) -> Option<&str> {
        let listed = self.continents.value.of(country)?;
        let redirected = self.catalog.value.continents.get(country);
        Some(redirected.map_or(listed, |name| name))
    }

    fn number_continents(&mut self) {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut numbers = Vec::new();
        for country in self.catalog.value.countries.iter() {
            let number = self.continent_name(country).and_then(|name| {
                let known = names.iter().position(|known| **known == *name);
                let place = known.unwrap_or_else(|| {
                    names.push(name.into());
                    names.len() - 1
                });
                u8::try_from(place).ok()
            });
            numbers.push(number);
        }
        self.continent_names = names;
        self.continent_of = numbers;
    }
}

// === impl Part ===

impl<T> Part<T> {
    fn new(value: T, stamps: Stamps) -> Self {
        Self {
            value: Arc::new(value),
            stamps,
        }
    }

    fn again(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            stamps: self.stamps.clone(),
        }
    }
}

// === impl Stamps ===

impl Stamps {
    fn of(paths: &[Option<&Path>]) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let stamp = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some(Stamp {
                modified: metadata.modified().ok(),
                length: metadata.len(),
                inode: metadata.ino(),
            })
        };
        Self(paths.iter().map(|path| path.and_then(stamp)).collect())
    }
}

/// One part, which is read again if its file has changed.
fn part<T>(
    path: Option<&Path>,
    before: Option<&Part<T>>,
    none: impl FnOnce() -> T,
    read: impl FnOnce(&Path) -> Result<T, Reason>,
) -> Result<Part<T>, BadFile> {
    // Taken before reading, so that a file that changes in the meantime is read again next time.
    let stamps = Stamps::of(&[path]);
    if let Some(before) = before.filter(|before| before.stamps == stamps) {
        return Ok(before.again());
    }
    let value = match path {
        None => none(),
        Some(path) => read(path).map_err(|reason| BadFile::new(path, reason))?,
    };
    Ok(Part::new(value, stamps))
}
