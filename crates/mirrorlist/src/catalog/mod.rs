//! The catalogue: what MirrorManager knows of hosts and directories, compiled into an index for fast reading.
//!
//! MirrorManager's data repeat much: each directory lists its hosts up to three times, by identifiers of eight bytes,
//! and each host with the identifiers of its URLs. Here, hosts and countries have numbers of two bytes, a host together
//! with its URLs (an *offer*) has a number of four bytes, and equal lists are stored once.
//!
//! ```text
//! name ─► Directory ─┬─ carriers   [host, host, …]      sorted, for a binary search
//!                    ├─ offers     [offer, offer, …]    the URLs of the carrier at the same place
//!                    ├─ global     [host, …]            carriers that everybody may use
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
use std::fmt;

use reveille_text::grouped;

use self::arena::{Arena, List};
use self::names::Names;
pub(crate) use self::netblocks::Netblocks;
pub(crate) use self::netblocks::parse as parse_netblock;
use self::texts::Keys;

pub(crate) use self::files::Files;
pub(crate) use self::repositories::Repositories;

/// The number of a host, in the order of the data.
pub(crate) type HostNumber = u16;

/// Hosts and directories at one moment.
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
    /// Continents of countries, instead of those of the table.
    pub(crate) continents: HashMap<Box<str>, Box<str>>,
    /// Mistakes in the data that were ignored.
    pub(crate) warnings: Vec<String>,
}

/// A mirror.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// MirrorManager's number.
    pub(crate) id: i64,
    /// Two letters, upper case.
    pub(crate) country: Box<str>,
    /// Bandwidth in Mbit/s: its weight in random orders.
    pub(crate) bandwidth: i64,
    /// The countries whose clients may use it; empty for all.
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
    /// The text escaped for XML, if that differs.
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
}

// === impl Catalog ===

impl Catalog {
    /// Unix time at which the data were created, in seconds.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The same as a date.
    pub fn created_text(&self) -> String {
        i64::try_from(self.created)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| format!("{} s", self.created), |time| time.to_string())
    }

    /// Mistakes in the data that were ignored.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many of everything there are.
    pub fn counts(&self) -> Counts {
        Counts {
            directories: self.table.len(),
            hosts: self.hosts.len(),
            repositories: self.repositories.len(),
            urls: self.urls.len(),
            netblocks: self.netblocks.len(),
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

    /// The hosts that carry a directory.
    pub(crate) fn carriers(&self, directory: Directory) -> &[HostNumber] {
        self.hosts_lists.get(directory.carriers)
    }

    /// A host's name for people: the one in its URLs for a directory, or MirrorManager's number.
    pub(crate) fn mirror_name(&self, directory: Directory, host: HostNumber) -> String {
        let offer = self.offer(directory, host);
        let url = offer.and_then(|offer| self.urls(offer).next());
        let rest = url.and_then(|url| url.text.split_once("://"));
        match rest.and_then(|(_, rest)| rest.split('/').next()) {
            Some(name) => name.to_owned(),
            None => format!("mirror {}", self.hosts[usize::from(host)].id),
        }
    }

    /// Whether only clients in its own networks may use a host.
    pub(crate) fn is_private(&self, directory: Directory, host: HostNumber) -> bool {
        self.global(directory).binary_search(&host).is_err()
    }

    /// A host's offer for a directory, if it carries the directory.
    pub(crate) fn offer(&self, directory: Directory, host: HostNumber) -> Option<u32> {
        let place = self.carriers(directory).binary_search(&host).ok()?;
        Some(self.offers_lists.get(directory.offers)[place])
    }

    /// The URLs of an offer, in MirrorManager's order.
    pub(crate) fn urls(&self, offer: u32) -> impl Iterator<Item = &Url> + Clone {
        self.urls_lists
            .get(self.offers[offer as usize])
            .iter()
            .map(|url| &self.urls[*url as usize])
    }

    /// The hosts of a directory that everybody may use, by country; countries in the order of their names.
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

    /// Whether clients of a country may use a host.
    pub(crate) fn is_allowed(&self, host: HostNumber, country: &str) -> bool {
        let only_for = &self.hosts[usize::from(host)].only_for;
        only_for.is_empty() || only_for.iter().any(|allowed| **allowed == *country)
    }
}

// === impl Counts ===

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.directories, "directory", "directories"),
            (self.repositories, "repository", "repositories"),
            (self.hosts, "mirror", "mirrors"),
            (self.urls, "URL", "URLs"),
            (self.netblocks, "network of mirrors", "networks of mirrors"),
        ];
        for (place, (count, one, many)) in counts.into_iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            let noun = if count == 1 { one } else { many };
            write!(formatter, "{separator}{} {noun}", grouped(count as u64))?;
        }
        Ok(())
    }
}

// === impl Url ===

impl Url {
    /// The part before the colon.
    pub(crate) fn protocol(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    pub(crate) fn escaped(&self) -> &str {
        self.escaped.as_deref().unwrap_or(&self.text)
    }
}
