//! Compiling the catalogue from MirrorManager's file, in one pass over it.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use super::arena::{Interner, List};
use super::marks::Marks;
use super::names::Names;
use super::offers::{KnownOffers, Offer};
use super::texts::Keys;
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
#[derive(Debug)]
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
    marks: Marks,
    /// By host: its offer, for those that are marked.
    offer_of: Vec<u32>,
    hosts: Vec<HostNumber>,
    offers: Vec<u32>,
    global: Vec<HostNumber>,
    /// What sorts a country, its number, and its place among the lists.
    countries: Vec<(u64, u16, u16)>,
    country_hosts: Vec<Vec<HostNumber>>,
    ends: Vec<u16>,
}

/// Small numbers for identifiers of 64 bits.
#[derive(Debug, Default)]
struct Numbers {
    small: Vec<u32>,
    large: hashbrown::HashMap<i64, u32>,
    count: u32,
}

// === impl Catalog ===

impl Catalog {
    /// Compiles what MirrorManager wrote.
    pub(crate) fn read(input: impl BufRead) -> Result<Self, Reason> {
        let mut builder = Builder::new();
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
    fn new() -> Self {
        Self {
            time: None,
            hosts: Vec::new(),
            host_numbers: Numbers::default(),
            url_texts: Vec::new(),
            url_numbers: Numbers::default(),
            directories: Keys::new(),
            table: Vec::new(),
            countries: Names::default(),
            hosts_lists: Interner::default(),
            offers_lists: Interner::default(),
            urls_lists: Interner::default(),
            offers: Vec::new(),
            known_offers: KnownOffers::default(),
            subpaths: Vec::new(),
            known_subpaths: hashbrown::HashMap::new(),
            repositories: Repositories::new(),
            files: Files::new(),
            asn_hosts: HashMap::new(),
            netblocks: Netblocks::default(),
            netblock_countries: Netblocks::default(),
            locations: HashMap::new(),
            continents: HashMap::new(),
            bandwidths_seen: HashSet::new(),
            warnings: Vec::new(),
            more_warnings: 0,
            scratch: Scratch::default(),
        }
    }

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
                if !self.repositories.add(key, directory).ok_or(TOO_MANY)? {
                    self.warn(|| format!("repository {key} is there twice; the first one counts"));
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
                    let (host, offer) = self.offer(value.bytes()?)?;
                    scratch.carry(host, offer);
                }
                _ => {}
            }
        }
        let name = name.ok_or(Malformed("a directory without a name"))?;
        if self.directories.add(name).ok_or(TOO_MANY)? {
            let place = self.store_directory(subpath, &mut scratch)?;
            self.table.push(place);
        } else {
            self.warn(|| format!("directory {name} is there twice; the first one counts"));
        }
        self.scratch = scratch;
        Ok(())
    }

    fn store_directory(&mut self, subpath: &str, scratch: &mut Scratch) -> Result<Directory, Malformed> {
        let Scratch {
            marks,
            offer_of,
            hosts,
            offers,
            global,
            countries,
            country_hosts,
            ends,
        } = scratch;
        marks.drain(|host| {
            hosts.push(host);
            offers.push(offer_of[usize::from(host)]);
        });
        let carriers = self.hosts_lists.intern(hosts).ok_or(TOO_MANY)?;
        let offers = self.offers_lists.intern(offers).ok_or(TOO_MANY)?;
        for host in global.drain(..) {
            marks.add(host);
        }
        marks.drain(|host| global.push(host));
        let global = self.hosts_lists.intern(global).ok_or(TOO_MANY)?;
        // By name, so that what clients read has an order; of two entries for one country the first one stays.
        countries.sort_unstable();
        countries.dedup_by_key(|(_, country, _)| *country);
        hosts.clear();
        for (_, country, place) in countries {
            let list = &mut country_hosts[usize::from(*place)];
            if !list.is_sorted() {
                list.sort_unstable();
            }
            list.dedup();
            hosts.extend_from_slice(list);
            ends.push(*country);
            ends.push(u16::try_from(hosts.len()).map_err(|_| TOO_MANY)?);
        }
        Ok(Directory {
            carriers,
            offers,
            global,
            countries: self.hosts_lists.intern(ends).ok_or(TOO_MANY)?,
            country_hosts: self.hosts_lists.intern(hosts).ok_or(TOO_MANY)?,
            subpath: self.subpath(subpath)?,
        })
    }

    fn add_country(&mut self, message: &[u8], scratch: &mut Scratch) -> Result<(), Malformed> {
        let place = scratch.countries.len();
        if place == scratch.country_hosts.len() {
            scratch.country_hosts.push(Vec::new());
        }
        let hosts = &mut scratch.country_hosts[place];
        hosts.clear();
        let mut country = None;
        for field in Fields::of(message) {
            match field? {
                (entry::KEY, value) => {
                    country = Some(self.countries.add(value.text()?).ok_or(TOO_MANY)?);
                }
                (entry::VALUE, value) => self.hosts_of(value, hosts)?,
                _ => {}
            }
        }
        let country = country.ok_or(NO_KEY)?;
        let place = u16::try_from(place).map_err(|_| TOO_MANY)?;
        scratch
            .countries
            .push((self.countries.key(country), country, place));
        Ok(())
    }

    /// A host, and the number of it together with its URLs.
    #[inline]
    fn offer(&mut self, message: &[u8]) -> Result<Offer, Malformed> {
        match self.known_offers.get(message) {
            Some(known) => Ok(known),
            None => self.new_offer(message),
        }
    }

    fn new_offer(&mut self, message: &[u8]) -> Result<Offer, Malformed> {
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
        self.offers.push(self.urls_lists.intern(&urls).ok_or(TOO_MANY)?);
        self.known_offers.insert(message, (host, number));
        Ok((host, number))
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
            let warning = format!("the directory of repository {first} is not in the file{more}");
            self.warn(|| warning);
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
            files: self.files.done(),
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
        let offers = std::mem::take(&mut self.offers);
        let (lists, offers) = if missing == 0 {
            (lists, offers)
        } else {
            self.warn(|| format!("{missing} URLs are named and not there; they are left out"));
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
        // A directory that was there twice leaves its marks.
        self.marks.drain(|_| {});
        self.hosts.clear();
        self.offers.clear();
        self.global.clear();
        self.countries.clear();
        self.ends.clear();
    }

    /// Of two entries for one host the first one stays.
    #[inline]
    fn carry(&mut self, host: HostNumber, offer: u32) {
        if self.marks.add(host) {
            let place = usize::from(host);
            if place >= self.offer_of.len() {
                self.offer_of.resize(place + 1, 0);
            }
            self.offer_of[place] = offer;
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
