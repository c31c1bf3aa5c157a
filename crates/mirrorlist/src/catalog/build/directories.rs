//! The hosts of each directory: millions of small messages, and nearly all of a snapshot.

use super::{Builder, NO_KEY, TOO_MANY};
use crate::catalog::marks::Marks;
use crate::catalog::offers::Offer;
use crate::catalog::{Directory, HostNumber};
use crate::wire::{Fields, Malformed, directory, entry};

/// Buffers that are reused for each directory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    marks: Marks,
    /// The offers of marked hosts, by host.
    offer_of: Vec<u32>,
    hosts: Vec<HostNumber>,
    offers: Vec<u32>,
    global: Vec<HostNumber>,
    /// The sort key of a country, its number, and its place among the lists.
    countries: Vec<(u64, u16, u16)>,
    country_hosts: Vec<Vec<HostNumber>>,
    ends: Vec<u16>,
}

// === impl Builder ===

impl Builder {
    pub(super) fn add_directory(&mut self, message: &[u8]) -> Result<(), Malformed> {
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
        let name = name.ok_or(Malformed("a directory has no name"))?;
        if self.directories.add(name).ok_or(TOO_MANY)? {
            let place = self.store_directory(subpath, &mut scratch)?;
            self.table.push(place);
        } else {
            self.warn(|| format!("directory {name} appears twice; the first one counts"));
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
        // Sorted by name, so that answers have an order; of two entries for one country the first one stays.
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

    /// A host and its offer.
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

    fn subpath(&mut self, subpath: &str) -> Result<u32, Malformed> {
        if let Some(known) = self.known_subpaths.get(subpath) {
            return Ok(*known);
        }
        let number = u32::try_from(self.subpaths.len()).map_err(|_| TOO_MANY)?;
        self.subpaths.push(subpath.into());
        self.known_subpaths.insert(subpath.into(), number);
        Ok(number)
    }
}

// === impl Scratch ===

impl Scratch {
    fn clear(&mut self) {
        // A directory that appeared twice leaves its marks.
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
