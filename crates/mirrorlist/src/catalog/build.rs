//! Compiling the catalogue from MirrorManager's file, in one pass over it.

mod directories;
mod numbers;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io::BufRead;

use ipnet::IpNet;
use reveille_text::{Markup, counted};

use self::directories::Scratch;
use self::numbers::Numbers;
use super::arena::{Interner, List};
use super::names::Names;
use super::offers::KnownOffers;
use super::texts::Keys;
use super::{Catalog, Directory, Files, Host, HostNumber, Netblocks, Repositories, Url, parse_netblock};
use crate::error::Reason;
use crate::wire::{Broken, Fields, Malformed, Messages, Value, entry, mirror_list};

/// Most warnings that are kept; further ones are counted.
const MOST_WARNINGS: usize = 20;

/// Bandwidth of a host that states none, as in MirrorManager.
const NO_BANDWIDTH: i64 = 0;

/// A catalogue in progress.
#[derive(Debug, Default)]
struct Builder {
    time: Option<u64>,
    hosts: Vec<Host>,
    host_numbers: Numbers,
    url_texts: Vec<Option<Box<str>>>,
    url_numbers: Numbers,
    directories: Keys,
    table: Vec<Directory>,
    countries: Names,
    hosts_lists: Interner<HostNumber>,
    offers_lists: Interner<u32>,
    urls_lists: Interner<u32>,
    offers: Vec<List>,
    known_offers: KnownOffers,
    subpaths: Vec<Box<str>>,
    known_subpaths: hashbrown::HashMap<Box<str>, u32>,
    repositories: Repositories,
    files: Files,
    asn_hosts: HashMap<u32, Box<[HostNumber]>>,
    netblocks: Netblocks<Vec<HostNumber>>,
    netblock_countries: Netblocks<String>,
    locations: HashMap<Box<str>, Box<[HostNumber]>>,
    continents: HashMap<Box<str>, Box<str>>,
    bandwidths_seen: HashSet<HostNumber>,
    warnings: Vec<String>,
    more_warnings: usize,
    scratch: Scratch,
}

// === impl Catalog ===

impl Catalog {
    /// Compiles MirrorManager's snapshot.
    pub(crate) fn read(input: impl BufRead) -> Result<Self, Reason> {
        let mut builder = Builder::default();
        let mut messages = Messages::of(input);
        loop {
            let offset = messages.offset();
            let at = |Malformed(what): Malformed| Reason::Malformed { offset, what };
            match messages.next() {
                Ok(None) => break,
                Ok(Some((field, value))) => builder.add(field, value).map_err(at)?,
                Err(Broken::Malformed(malformed)) => return Err(at(malformed)),
                Err(Broken::Io(error)) => return Err(Reason::Io(error)),
            }
        }
        if messages.offset() == 0 {
            return Err(Reason::Empty);
        }
        builder.done()
    }
}

// === impl Builder ===

impl Builder {
    fn add(&mut self, field: u32, value: Value<'_>) -> Result<(), Malformed> {
        match field {
            mirror_list::TIME => self.time = Some(value.number()?),
            mirror_list::DIRECTORY => self.add_directory(value.bytes()?)?,
            mirror_list::URL => self.add_url(value.bytes()?)?,
            mirror_list::FILE_DETAILS => {
                if let Some(name) = self.files.add(value.bytes()?)? {
                    self.warn(|| format!("the file details of {name} appear twice; the first ones count"));
                }
            }
            mirror_list::NETBLOCK_COUNTRY => self.add_netblock_country(value.bytes()?)?,
            mirror_list::HOST_NETBLOCK => self.add_netblock(value.bytes()?)?,
            mirror_list::LOCATION => {
                let (name, hosts) = self.keyed_hosts(value.bytes()?)?;
                let name = name.text()?;
                if !keep_first(&mut self.locations, name, hosts) {
                    self.warn(|| format!("location {name} appears twice; the first one counts"));
                }
            }
            mirror_list::HOST_ASN => self.add_asn(value.bytes()?)?,
            mirror_list::HOST_COUNTRY | mirror_list::HOST_BANDWIDTH | mirror_list::HOST_COUNTRY_ALLOWED => {
                self.add_host(field, value.bytes()?)?;
            }
            mirror_list::DISABLED_REPOSITORY => {
                let (name, value) = pair(value.bytes()?)?;
                if value.map_or(Ok(0), Value::number)? != 0 {
                    self.repositories.disabled.insert(name.text()?.into());
                }
            }
            mirror_list::COUNTRY_CONTINENT_REDIRECT => {
                let (country, continent) = texts(value.bytes()?)?;
                if !keep_first(&mut self.continents, country, continent) {
                    self.warn(|| format!("country {country} has two continents; the first one counts"));
                }
            }
            mirror_list::REPOSITORY_REDIRECT => {
                let (from, to) = texts(value.bytes()?)?;
                if !keep_first(&mut self.repositories.redirects, from, to) {
                    self.warn(|| format!("repository {from} is redirected twice; the first one counts"));
                }
            }
            mirror_list::REPOSITORY_DIRECTORY => {
                let (key, directory) = texts(value.bytes()?)?;
                if !self.repositories.add(key, directory).ok_or(TOO_MANY)? {
                    self.warn(|| format!("repository {key} appears twice; the first one counts"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_url(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (id, text) = pair(message)?;
        let number = self.url(id.integer()?)?;
        let text = text.map_or(Ok(""), Value::text)?;
        if text.contains(|c: char| c.is_control()) {
            // In a client's list it would be two lines, or a priority of apt.
            self.warn(|| format!("URL {text:?} contains control characters and is left out"));
            return Ok(());
        }
        match &mut self.url_texts[number as usize] {
            Some(known) if **known == *text => {}
            Some(_) => self.warn(|| format!("URL {text:?} has the number of an earlier one, which counts")),
            place => *place = Some(text.into()),
        }
        Ok(())
    }

    fn add_host(&mut self, field: u32, message: &[u8]) -> Result<(), Malformed> {
        let mut host = None;
        for field in Fields::of(message) {
            if let (entry::KEY, value) = field? {
                host = Some(self.host(value.integer()?)?);
            }
        }
        let number = host.ok_or(NO_KEY)?;
        let is_first = match field {
            mirror_list::HOST_BANDWIDTH => self.bandwidths_seen.insert(number),
            mirror_list::HOST_COUNTRY => self.hosts[usize::from(number)].country.is_empty(),
            // The countries of all entries are joined.
            _ => true,
        };
        if !is_first {
            let id = self.hosts[usize::from(number)].id;
            let what = match field {
                mirror_list::HOST_BANDWIDTH => "bandwidth",
                _ => "country",
            };
            self.warn(|| format!("the {what} of mirror {id} appears twice; the first one counts"));
            return Ok(());
        }
        let host = &mut self.hosts[usize::from(number)];
        for part in Fields::of(message) {
            let (entry::VALUE, value) = part? else { continue };
            match field {
                mirror_list::HOST_COUNTRY => {
                    host.country = value.text()?.to_uppercase().into();
                }
                mirror_list::HOST_BANDWIDTH => host.bandwidth = value.integer()?,
                mirror_list::HOST_COUNTRY_ALLOWED => {
                    let mut only_for = std::mem::take(&mut host.only_for).into_vec();
                    only_for.push(value.text()?.into());
                    host.only_for = only_for.into();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_asn(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (number, hosts) = self.keyed_hosts(message)?;
        let Ok(number) = u32::try_from(number.integer()?) else {
            self.warn(|| "an AS number has more than 32 bits and is left out".to_owned());
            return Ok(());
        };
        if !keep_first(&mut self.asn_hosts, number, hosts) {
            self.warn(|| format!("AS {number} appears twice; the first one counts"));
        }
        Ok(())
    }

    fn add_netblock(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (name, hosts) = self.keyed_hosts(message)?;
        if let Some(net) = self.network(name.text()?) {
            self.netblocks.entry(net).extend(hosts);
        }
        Ok(())
    }

    fn add_netblock_country(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (name, country) = texts(message)?;
        let Some(net) = self.network(name) else {
            return Ok(());
        };
        let known = self.netblock_countries.entry(net);
        if known.is_empty() {
            country.clone_into(known);
        } else if *known != country {
            self.warn(|| format!("network {name} has two countries; the first one counts"));
        }
        Ok(())
    }

    fn network(&mut self, name: &str) -> Option<IpNet> {
        let net = parse_netblock(name);
        if net.is_none() {
            self.warn(|| format!("{name:?} is neither a network nor an address and is left out"));
        }
        net
    }

    /// Key and hosts of an entry.
    fn keyed_hosts<'a>(&mut self, message: &'a [u8]) -> Result<(Value<'a>, Vec<HostNumber>), Malformed> {
        let (mut key, mut hosts) = (None, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (entry::KEY, value) => key = Some(value),
                (entry::VALUE, value) => self.hosts_of(value, &mut hosts)?,
                _ => {}
            }
        }
        Ok((key.ok_or(NO_KEY)?, hosts))
    }

    fn hosts_of(&mut self, value: Value<'_>, hosts: &mut Vec<HostNumber>) -> Result<(), Malformed> {
        let mut result = Ok(());
        value.integers(|id| match self.host(id) {
            Ok(host) => hosts.push(host),
            Err(error) => result = Err(error),
        })?;
        result
    }

    fn host(&mut self, id: i64) -> Result<HostNumber, Malformed> {
        let number = self.host_numbers.number(id)?;
        let number = HostNumber::try_from(number).map_err(|_| Malformed("more than 65,536 mirrors"))?;
        if usize::from(number) == self.hosts.len() {
            self.hosts.push(Host {
                id,
                bandwidth: NO_BANDWIDTH,
                ..Host::default()
            });
        }
        Ok(number)
    }

    fn url(&mut self, id: i64) -> Result<u32, Malformed> {
        let number = self.url_numbers.number(id)?;
        if number as usize == self.url_texts.len() {
            self.url_texts.push(None);
        }
        Ok(number)
    }

    fn warn(&mut self, warning: impl FnOnce() -> String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(warning());
        } else {
            self.more_warnings += 1;
        }
    }

    fn done(mut self) -> Result<Catalog, Reason> {
        let created = self.time.ok_or(Reason::NoTime)?;
        if self.table.is_empty() {
            return Err(Reason::NoDirectories);
        }
        let (urls, urls_lists, offers) = self.urls();
        let lost: Vec<&str> = self
            .repositories
            .iter()
            .filter(|(_, directory)| self.directories.number(directory).is_none())
            .map(|(key, _)| key)
            .collect();
        if let [first, others @ ..] = lost.as_slice() {
            let more = match others.len() {
                0 => String::new(),
                number => format!(", and those of {number} more"),
            };
            let warning = format!("the directory of repository {first} is not in the data{more}");
            self.warn(|| warning);
        }
        self.repositories.list();
        if self.more_warnings > 0 {
            let more = self.more_warnings;
            self.warnings.push(format!("and {more} more warnings"));
        }
        // Temporary tables are freed before lists shrink to their size.
        drop(self.known_offers);
        self.table.shrink_to_fit();
        Ok(Catalog {
            created,
            hosts: self.hosts,
            directories: self.directories,
            table: self.table,
            countries: self.countries,
            hosts_lists: self.hosts_lists.done(),
            offers_lists: self.offers_lists.done(),
            offers,
            urls_lists,
            urls,
            subpaths: self.subpaths,
            repositories: self.repositories,
            files: self.files.done(),
            asn_hosts: self.asn_hosts,
            netblocks: self.netblocks,
            netblock_countries: self.netblock_countries,
            locations: self.locations,
            continents: self.continents,
            warnings: self.warnings,
        })
    }

    /// Removes URLs from the offers that are known by number only.
    fn urls(&mut self) -> (Vec<Url>, super::arena::Arena<u32>, Vec<List>) {
        let texts = std::mem::take(&mut self.url_texts);
        let missing = texts.iter().filter(|text| text.is_none()).count();
        let lists = std::mem::take(&mut self.urls_lists).done();
        let offers = std::mem::take(&mut self.offers);
        let (lists, offers) = if missing == 0 {
            (lists, offers)
        } else {
            self.warn(|| format!("{} missing in the data and left out", counted(missing, "URL")));
            let mut kept = Interner::default();
            let offers = offers
                .into_iter()
                .map(|list| {
                    let urls: Vec<u32> = lists
                        .get(list)
                        .iter()
                        .copied()
                        .filter(|url| texts[*url as usize].is_some())
                        .collect();
                    kept.intern(&urls)
                        .expect("it is not longer than the lists before")
                })
                .collect();
            (kept.done(), offers)
        };
        let urls = texts
            .into_iter()
            .map(|text| {
                let text = text.unwrap_or_default();
                let escaped = Markup(&text).to_string();
                Url {
                    escaped: (escaped != *text).then(|| escaped.into()),
                    text,
                }
            })
            .collect();
        (urls, lists, offers)
    }
}

const NO_KEY: Malformed = Malformed("an entry of a map has no key");
const TOO_MANY: Malformed = Malformed("there are more entries than an index can hold");

/// Key and value of an entry.
fn pair(message: &[u8]) -> Result<(Value<'_>, Option<Value<'_>>), Malformed> {
    let (mut key, mut value) = (None, None);
    for field in Fields::of(message) {
        match field? {
            (entry::KEY, found) => key = Some(found),
            (entry::VALUE, found) => value = Some(found),
            _ => {}
        }
    }
    Ok((key.ok_or(NO_KEY)?, value))
}

fn texts(message: &[u8]) -> Result<(&str, &str), Malformed> {
    let (key, value) = pair(message)?;
    Ok((key.text()?, value.map_or(Ok(""), Value::text)?))
}

/// Adds an entry unless there is one. Returns whether it is new.
fn keep_first<K: Eq + Hash, V>(entries: &mut HashMap<K, V>, key: impl Into<K>, value: impl Into<V>) -> bool {
    match entries.entry(key.into()) {
        Entry::Occupied(_) => false,
        Entry::Vacant(place) => {
            place.insert(value.into());
            true
        }
    }
}
