//! Compiling the catalogue from MirrorManager's file, in one pass over it.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use super::arena::{Interner, List};
use super::names::Names;
use super::{Catalog, Directory, Files, Host, HostNumber, Netblocks, Repositories, Url, parse_netblock};
use crate::error::Reason;
use crate::render::xml::Escaped;
use crate::wire::{Broken, Fields, Malformed, Messages, Value, directory, entry, mirror_list};

/// Warnings that are kept; the rest is counted.
const MOST_WARNINGS: usize = 20;

/// Identifiers below this are looked up in a plain table.
const SMALL: usize = 1 << 18;

/// MirrorManager's bandwidth of a host that names none.
const NO_BANDWIDTH: i64 = 0;

/// A catalogue that is being compiled.
#[derive(Debug, Default)]
struct Builder {
    time: Option<u64>,
    hosts: Vec<Host>,
    host_numbers: Numbers,
    url_texts: Vec<Option<Box<str>>>,
    url_numbers: Numbers,
    directories: HashMap<Box<str>, u32>,
    table: Vec<Directory>,
    countries: Names,
    hosts_lists: Interner<HostNumber>,
    offers_lists: Interner<u32>,
    urls_lists: Interner<u32>,
    offers: Vec<(HostNumber, List)>,
    /// An offer by the bytes that told of it: most are repeated for thousands of directories.
    known_offers: hashbrown::HashMap<OfferKey, u32>,
    subpaths: Vec<Box<str>>,
    known_subpaths: HashMap<Box<str>, u32>,
    repositories: Repositories,
    files: Files,
    asn_hosts: HashMap<u32, Vec<HostNumber>>,
    netblocks: Netblocks<Vec<HostNumber>>,
    netblock_countries: Netblocks<String>,
    locations: HashMap<Box<str>, Box<[HostNumber]>>,
    continents: HashMap<Box<str>, Box<str>>,
    bandwidths_seen: HashSet<HostNumber>,
    warnings: Vec<String>,
    more_warnings: usize,
    scratch: Scratch,
}

/// Buffers that are used for each directory anew.
#[derive(Debug, Default)]
struct Scratch {
    carriers: Vec<(HostNumber, u32)>,
    hosts: Vec<HostNumber>,
    offers: Vec<u32>,
    global: Vec<HostNumber>,
    countries: Vec<(u16, Vec<HostNumber>)>,
    spare: Vec<Vec<HostNumber>>,
}

/// The bytes that tell of an offer; most are few.
#[derive(Debug, PartialEq, Eq, Hash)]
enum OfferKey {
    Short(u128),
    Long(Box<[u8]>),
}

/// Small numbers for identifiers of 64 bits.
#[derive(Debug, Default)]
struct Numbers {
    small: Vec<u32>,
    large: HashMap<i64, u32>,
    count: u32,
}

// === impl Catalog ===

impl Catalog {
    /// Compiles what MirrorManager wrote.
    pub(crate) fn read(input: impl BufRead) -> Result<Self, Reason> {
        let mut builder = Builder {
            files: Files::new(),
            ..Builder::default()
        };
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
                    self.warn(|| format!("file details of {name} are there twice; the first ones count"));
                }
            }
            mirror_list::NETBLOCK_COUNTRY => self.add_netblock_country(value.bytes()?)?,
            mirror_list::HOST_NETBLOCK => self.add_netblock(value.bytes()?)?,
            mirror_list::LOCATION => {
                let (name, hosts) = self.text_hosts(value.bytes()?)?;
                self.locations.entry(name.into()).or_insert(hosts.into());
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
                self.continents.entry(country.into()).or_insert(continent.into());
            }
            mirror_list::REPOSITORY_REDIRECT => {
                let (from, to) = texts(value.bytes()?)?;
                if self.repositories.redirects.contains_key(from) {
                    self.warn(|| format!("repository {from} is redirected twice; the first one counts"));
                } else {
                    self.repositories.redirects.insert(from.into(), to.into());
                }
            }
            mirror_list::REPOSITORY_DIRECTORY => {
                let (key, directory) = texts(value.bytes()?)?;
                if self.repositories.directories.contains_key(key) {
                    self.warn(|| format!("repository {key} is there twice; the first one counts"));
                } else {
                    self.repositories.directories.insert(key.into(), directory.into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_directory(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let (mut name, mut subpath) = (None, "");
        for field in Fields::of(message) {
            match field? {
                (directory::NAME, value) => name = Some(value.text()?),
                (directory::SUBPATH, value) => subpath = value.text()?,
                (directory::GLOBAL, value) => self.hosts_of(value, &mut scratch.global)?,
                (directory::BY_COUNTRY, value) => self.add_country(value.bytes()?, &mut scratch)?,
                (directory::BY_HOST, value) => {
                    let offer = self.offer(value.bytes()?)?;
                    scratch.carriers.push((self.offers[offer as usize].0, offer));
                }
                _ => {}
            }
        }
        let name = name.ok_or(Malformed("a directory without a name"))?;
        if self.directories.contains_key(name) {
            self.warn(|| format!("directory {name} is there twice; the first one counts"));
        } else {
            let place = self.store_directory(subpath, &mut scratch)?;
            let number = u32::try_from(self.table.len()).map_err(|_| TOO_MANY)?;
            self.table.push(place);
            self.directories.insert(name.into(), number);
        }
        self.scratch = scratch;
        Ok(())
    }

    fn store_directory(&mut self, subpath: &str, scratch: &mut Scratch) -> Result<Directory, Malformed> {
        // Stable, so that of two entries for one host the first one stays.
        scratch.carriers.sort_by_key(|(host, _)| *host);
        scratch.carriers.dedup_by_key(|(host, _)| *host);
        for (host, offer) in &scratch.carriers {
            scratch.hosts.push(*host);
            scratch.offers.push(*offer);
        }
        let carriers = self.hosts_lists.intern(&scratch.hosts).ok_or(TOO_MANY)?;
        let offers = self.offers_lists.intern(&scratch.offers).ok_or(TOO_MANY)?;
        scratch.global.sort_unstable();
        scratch.global.dedup();
        let global = self.hosts_lists.intern(&scratch.global).ok_or(TOO_MANY)?;
        // By name, so that what clients read has an order.
        let names = &self.countries;
        scratch
            .countries
            .sort_by_key(|(country, _)| (names.key(*country), *country));
        scratch.countries.dedup_by_key(|(country, _)| *country);
        scratch.hosts.clear();
        let mut ends = Vec::with_capacity(scratch.countries.len() * 2);
        for (country, hosts) in &mut scratch.countries {
            hosts.sort_unstable();
            hosts.dedup();
            scratch.hosts.extend_from_slice(hosts);
            ends.push(*country);
            ends.push(u16::try_from(scratch.hosts.len()).map_err(|_| TOO_MANY)?);
        }
        Ok(Directory {
            carriers,
            offers,
            global,
            countries: self.hosts_lists.intern(&ends).ok_or(TOO_MANY)?,
            country_hosts: self.hosts_lists.intern(&scratch.hosts).ok_or(TOO_MANY)?,
            subpath: self.subpath(subpath)?,
        })
    }

    fn add_country(&mut self, message: &[u8], scratch: &mut Scratch) -> Result<(), Malformed> {
        let mut hosts = scratch.spare.pop().unwrap_or_default();
        let mut country = None;
        for field in Fields::of(message) {
            match field? {
                (entry::KEY, value) => {
                    country = Some(self.countries.add(value.text()?).ok_or(TOO_MANY)?);
                }
                (entry::VALUE, value) => self.hosts_of(value, &mut hosts)?,
                _ => {}
            }
        }
        let country = country.ok_or(NO_KEY)?;
        scratch.countries.push((country, hosts));
        Ok(())
    }

    /// The number of a host together with its URLs.
    fn offer(&mut self, message: &[u8]) -> Result<u32, Malformed> {
        let key = OfferKey::of(message);
        if let Some(known) = self.known_offers.get(&key) {
            return Ok(*known);
        }
        let (mut host, mut urls) = (None, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (entry::KEY, value) => host = Some(self.host(value.integer()?)?),
                (entry::VALUE, value) => value.integers(|url| urls.push(url))?,
                _ => {}
            }
        }
        let host = host.ok_or(NO_KEY)?;
        let urls: Vec<u32> = urls
            .into_iter()
            .map(|id| self.url(id))
            .collect::<Result<_, _>>()?;
        let number = u32::try_from(self.offers.len()).map_err(|_| TOO_MANY)?;
        let list = self.urls_lists.intern(&urls).ok_or(TOO_MANY)?;
        self.offers.push((host, list));
        self.known_offers.insert(key, number);
        Ok(number)
    }

    fn add_url(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (id, text) = pair(message)?;
        let number = self.url(id.integer()?)?;
        let text = text.map_or(Ok(""), Value::text)?;
        if text.contains(|c: char| c.is_control()) {
            // It would be two lines, or an apt priority, in a client's list.
            self.warn(|| format!("URL {text:?} has control characters; it is left out"));
            return Ok(());
        }
        let place = &mut self.url_texts[number as usize];
        if place.is_none() {
            *place = Some(text.into());
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
        let first_bandwidth = field != mirror_list::HOST_BANDWIDTH || self.bandwidths_seen.insert(number);
        let host = &mut self.hosts[usize::from(number)];
        for part in Fields::of(message) {
            let (entry::VALUE, value) = part? else { continue };
            match field {
                mirror_list::HOST_COUNTRY if host.country.is_empty() => {
                    host.country = value.text()?.to_uppercase().into();
                }
                mirror_list::HOST_BANDWIDTH if first_bandwidth => host.bandwidth = value.integer()?,
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
        let (mut number, mut hosts) = (None, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (entry::KEY, value) => number = Some(value.integer()?),
                (entry::VALUE, value) => self.hosts_of(value, &mut hosts)?,
                _ => {}
            }
        }
        match u32::try_from(number.ok_or(NO_KEY)?) {
            Ok(number) => {
                self.asn_hosts.entry(number).or_insert(hosts);
            }
            Err(_) => self.warn(|| "an ASN is not a number of 32 bits; it is left out".to_owned()),
        }
        Ok(())
    }

    fn add_netblock(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (name, hosts) = self.text_hosts(message)?;
        match parse_netblock(name) {
            Some(net) => self.netblocks.entry(net).extend(hosts),
            None => self.warn(|| format!("{name:?} is neither a network nor an address; it is left out")),
        }
        Ok(())
    }

    fn add_netblock_country(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (name, country) = texts(message)?;
        match parse_netblock(name) {
            Some(net) => {
                let known = self.netblock_countries.entry(net);
                if known.is_empty() {
                    country.clone_into(known);
                }
            }
            None => self.warn(|| format!("{name:?} is neither a network nor an address; it is left out")),
        }
        Ok(())
    }

    fn text_hosts<'a>(&mut self, message: &'a [u8]) -> Result<(&'a str, Vec<HostNumber>), Malformed> {
        let (mut name, mut hosts) = (None, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (entry::KEY, value) => name = Some(value.text()?),
                (entry::VALUE, value) => self.hosts_of(value, &mut hosts)?,
                _ => {}
            }
        }
        Ok((name.ok_or(NO_KEY)?, hosts))
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
        let number = HostNumber::try_from(number)
            .map_err(|_| Malformed("more than 65,536 hosts: not a list of mirrors"))?;
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

    fn subpath(&mut self, subpath: &str) -> Result<u32, Malformed> {
        if let Some(known) = self.known_subpaths.get(subpath) {
            return Ok(*known);
        }
        let number = u32::try_from(self.subpaths.len()).map_err(|_| TOO_MANY)?;
        self.subpaths.push(subpath.into());
        self.known_subpaths.insert(subpath.into(), number);
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
        let lost = self
            .repositories
            .directories
            .values()
            .filter(|name| !self.directories.contains_key(*name))
            .count();
        if lost > 0 {
            self.warn(|| format!("{lost} repositories lead to directories that are not in the file"));
        }
        self.repositories.list();
        if self.more_warnings > 0 {
            let more = self.more_warnings;
            self.warnings.push(format!("and {more} more of these"));
        }
        // Temporary tables go before lists are made as small as they can be.
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
            files: self.files,
            asn_hosts: boxed(self.asn_hosts),
            netblocks: self.netblocks,
            netblock_countries: self.netblock_countries,
            locations: self.locations,
            continents: self.continents,
            warnings: self.warnings,
        })
    }

    /// URLs that are known by number only are dropped from the offers.
    fn urls(&mut self) -> (Vec<Url>, super::arena::Arena<u32>, Vec<List>) {
        let texts = std::mem::take(&mut self.url_texts);
        let missing = texts.iter().filter(|text| text.is_none()).count();
        let lists = std::mem::take(&mut self.urls_lists).done();
        let offers = std::mem::take(&mut self.offers).into_iter().map(|(_, list)| list);
        let (lists, offers) = if missing == 0 {
            (lists, offers.collect())
        } else {
            self.warn(|| format!("{missing} URLs are named and not there; they are left out"));
            let mut kept = Interner::default();
            let offers = offers
                .map(|list| {
                    let urls: Vec<u32> = lists
                        .get(list)
                        .iter()
                        .copied()
                        .filter(|url| texts[*url as usize].is_some())
                        .collect();
                    kept.intern(&urls)
                        .expect("no longer than the lists it is made from")
                })
                .collect();
            (kept.done(), offers)
        };
        let urls = texts
            .into_iter()
            .map(|text| {
                let text = text.unwrap_or_default();
                let escaped = Escaped(&text).to_string();
                Url {
                    escaped: (escaped != *text).then(|| escaped.into()),
                    text,
                }
            })
            .collect();
        (urls, lists, offers)
    }
}

// === impl Scratch ===

impl Scratch {
    fn clear(&mut self) {
        self.carriers.clear();
        self.hosts.clear();
        self.offers.clear();
        self.global.clear();
        for (_, mut hosts) in self.countries.drain(..) {
            hosts.clear();
            self.spare.push(hosts);
        }
    }
}

// === impl OfferKey ===

impl OfferKey {
    fn of(message: &[u8]) -> Self {
        let mut bytes = [0; 16];
        let length = message.len();
        if length < bytes.len() {
            bytes[..length].copy_from_slice(message);
            // With the length, bytes of zero at the end are told apart.
            bytes[15] = length.to_le_bytes()[0];
            Self::Short(u128::from_le_bytes(bytes))
        } else {
            Self::Long(message.into())
        }
    }
}

// === impl Numbers ===

impl Numbers {
    fn number(&mut self, id: i64) -> Result<u32, Malformed> {
        let place = match usize::try_from(id) {
            Ok(place) if place < SMALL => {
                if place >= self.small.len() {
                    self.small.resize(place + 1, u32::MAX);
                }
                &mut self.small[place]
            }
            _ => self.large.entry(id).or_insert(u32::MAX),
        };
        if *place == u32::MAX {
            *place = self.count;
            self.count = self.count.checked_add(1).ok_or(TOO_MANY)?;
        }
        Ok(*place)
    }
}

// === impl Repositories ===

impl Repositories {
    fn list(&mut self) {
        let mut keys: Vec<&str> = self.directories.keys().map(|key| &**key).collect();
        keys.sort_unstable();
        let mut listing = String::new();
        for key in keys {
            if let Some((repo, arch)) = key.split_once('+')
                && !arch.contains('+')
                && !key.contains(|c: char| c.is_control())
            {
                listing.push_str(&format!("# repo={repo}&arch={arch}\n"));
            }
        }
        listing.shrink_to_fit();
        self.listing = listing;
    }
}

const NO_KEY: Malformed = Malformed("an entry of a map without a key");
const TOO_MANY: Malformed = Malformed("more entries than an index can hold");

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

fn boxed(lists: HashMap<u32, Vec<HostNumber>>) -> HashMap<u32, Box<[HostNumber]>> {
    lists
        .into_iter()
        .map(|(number, hosts)| (number, hosts.into()))
        .collect()
}
