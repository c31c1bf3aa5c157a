//! The catalogue: what MirrorManager knows of hosts and directories, compiled into an index that is made for reading.
//!
//! MirrorManager repeats itself: each directory lists its hosts up to three times, by identifiers of eight bytes, and
//! each host with the identifiers of its URLs. Here hosts and countries have numbers of two bytes; a host together with
//! its URLs (an *offer*) has one of four; and a list that was seen before is not stored again.
//!
//! ```text
//! name ─► Directory ─┬─ carriers   [host, host, …]      sorted: "does it carry this?" is a binary search
//!                    ├─ offers     [offer, offer, …]    beside them: the host's URLs
//!                    ├─ global     [host, …]            those that are offered to everybody
//!                    └─ countries  [country, end, …] over hosts [host, …]
//! ```

mod arena;
mod build;
mod files;
mod marks;
mod names;
mod netblocks;
mod offers;
mod repositories;
mod texts;

use std::collections::HashMap;

use self::arena::{Arena, List};
use self::names::Names;
pub(crate) use self::netblocks::Netblocks;
pub(crate) use self::netblocks::parse as parse_netblock;
use self::texts::Keys;

pub(crate) use self::files::Files;
pub(crate) use self::repositories::Repositories;

/// A host, by the order in which it was seen.
pub(crate) type HostNumber = u16;

/// Hosts and directories of one moment.
#[derive(Debug)]
pub struct Catalog {
    pub(crate) created: u64,
    pub(crate) hosts: Vec<Host>,
    directories: Keys,
    table: Vec<Directory>,
    pub(crate) countries: Names,
    hosts_lists: Arena<HostNumber>,
    offers_lists: Arena<u32>,
    offers: Vec<List>,
    urls_lists: Arena<u32>,
    urls: Vec<Url>,
    subpaths: Vec<Box<str>>,
    pub(crate) repositories: Repositories,
    pub(crate) files: Files,
    pub(crate) asn_hosts: HashMap<u32, Box<[HostNumber]>>,
    pub(crate) netblocks: Netblocks<Vec<HostNumber>>,
    pub(crate) netblock_countries: Netblocks<String>,
    pub(crate) locations: HashMap<Box<str>, Box<[HostNumber]>>,
    /// Countries whose continent is not that of the table.
    pub(crate) continents: HashMap<Box<str>, Box<str>>,
    /// What was wrong with the data and could be passed over.
    pub(crate) warnings: Vec<String>,
}

/// A mirror.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// MirrorManager's number.
    pub(crate) id: i64,
    /// Two letters, upper case.
    pub(crate) country: Box<str>,
    /// The share of clients it gets, as its bandwidth in Mbit/s.
    pub(crate) bandwidth: i64,
    /// If not empty: clients of these countries only.
    pub(crate) only_for: Box<[Box<str>]>,
}

/// Who carries a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory {
    carriers: List,
    offers: List,
    global: List,
    countries: List,
    country_hosts: List,
    subpath: u32,
}

/// Where one host has one category of content.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    pub(crate) text: Box<str>,
    /// With XML's characters escaped, if there are any.
    pub(crate) escaped: Option<Box<str>>,
}

/// How large a catalogue is, for metrics and for `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Directories.
    pub directories: usize,
    /// Mirrors.
    pub hosts: usize,
    /// Names of repositories, with their architectures.
    pub repositories: usize,
    /// Distinct URLs.
    pub urls: usize,
    /// Networks that hosts named as their own.
    pub netblocks: usize,
    /// Bytes of the lists of hosts and offers.
    pub list_bytes: usize,
}

// === impl Catalog ===

impl Catalog {
    /// Unix time at which it was made, in seconds.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The same, as people read it.
    pub fn created_text(&self) -> String {
        i64::try_from(self.created)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| format!("{} s", self.created), |time| time.to_string())
    }

    /// What was wrong with the data and could be passed over.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How large it is.
    pub fn counts(&self) -> Counts {
        Counts {
            directories: self.table.len(),
            hosts: self.hosts.len(),
            repositories: self.repositories.len(),
            urls: self.urls.len(),
            netblocks: self.netblocks.len(),
            list_bytes: self.hosts_lists.size() + self.offers_lists.size() + self.urls_lists.size(),
        }
    }

    pub(crate) fn directory(&self, name: &str) -> Option<Directory> {
        self.directories
            .number(name)
            .map(|number| self.table[number as usize])
    }

    pub(crate) fn subpath(&self, directory: Directory) -> &str {
        &self.subpaths[directory.subpath as usize]
    }

    pub(crate) fn global(&self, directory: Directory) -> &[HostNumber] {
        self.hosts_lists.get(directory.global)
    }

    /// Whether a host is offered in its own networks only.
    pub(crate) fn is_private(&self, directory: Directory, host: HostNumber) -> bool {
        self.global(directory).binary_search(&host).is_err()
    }

    /// What a host offers of a directory, if it carries it.
    pub(crate) fn offer(&self, directory: Directory, host: HostNumber) -> Option<u32> {
        let place = self
            .hosts_lists
            .get(directory.carriers)
            .binary_search(&host)
            .ok()?;
        Some(self.offers_lists.get(directory.offers)[place])
    }

    /// The URLs of an offer, in MirrorManager's order.
    pub(crate) fn urls(&self, offer: u32) -> impl Iterator<Item = &Url> + Clone {
        self.urls_lists
            .get(self.offers[offer as usize])
            .iter()
            .map(|url| &self.urls[*url as usize])
    }

    /// The countries in which a directory is offered to everybody, by name, and the hosts there.
    pub(crate) fn by_country(&self, directory: Directory) -> impl Iterator<Item = (u16, &[HostNumber])> {
        let hosts = self.hosts_lists.get(directory.country_hosts);
        let mut start = 0;
        self.hosts_lists
            .get(directory.countries)
            .chunks_exact(2)
            .map(move |pair| {
                let end = usize::from(pair[1]);
                let part = &hosts[start..end];
                start = end;
                (pair[0], part)
            })
    }

    /// Whether clients of a country may be sent to a host.
    pub(crate) fn is_allowed(&self, host: HostNumber, country: &str) -> bool {
        let only_for = &self.hosts[usize::from(host)].only_for;
        only_for.is_empty() || only_for.iter().any(|allowed| **allowed == *country)
    }
}

// === impl Url ===

impl Url {
    /// What stands before the colon.
    pub(crate) fn protocol(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    pub(crate) fn escaped(&self) -> &str {
        self.escaped.as_deref().unwrap_or(&self.text)
    }
}
