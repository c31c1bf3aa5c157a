//! Which mirrors are best for a client.
//!
//! In this order, each host at its first place:
//!
//! 1. *netblock*: hosts that claim the client's network, the longest prefix first;
//! 2. *ASN*: hosts that claim its autonomous system, in random order;
//! 3. *country*: hosts in the client's country, and 4. *continent*: hosts in the other countries of its continent;
//! 5. *global*: all hosts that everybody may use, if fewer than the minimum with the content were found.
//!
//! `country=` replaces 1 to 5: hosts of these countries, or of their continents if there are none. Within 3, 4 and 5
//! the order is random by bandwidth.

use std::fmt::Write as _;
use std::net::IpAddr;

use fastrand::Rng;
use ipnet::IpNet;
use reveille_text::counted;
use reveille_text::harmless::word;

use crate::catalog::{Catalog, HostNumber};
use crate::order;
use crate::query::Query;
use crate::snapshot::{NO_COUNTRY, Snapshot};
use crate::target::Target;

/// The client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    /// The address that the answer is for: `ip=`, or the client itself.
    pub(crate) address: IpAddr,
    /// The client itself. It sees private mirrors of a network only if it is in that network.
    pub(crate) itself: IpAddr,
    /// Its country, from [`Snapshot::country`].
    pub(crate) country: &'a str,
}

/// How answers are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Global mirrors are added if fewer mirrors than this have the content.
    pub minimum: usize,
    /// As MirrorManager's server does, even where that is questionable.
    pub strict: bool,
}

/// Why a host is in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Location,
    Netblock,
    Asn,
    Country,
    GeoIp,
    Continent,
    Global,
}

/// A host of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) host: HostNumber,
    pub(crate) offer: u32,
    pub(crate) source: Source,
}

/// The hosts of an answer, the best first.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) hosts: Vec<Chosen>,
    /// The first line of the answer.
    pub(crate) header: String,
    /// The source of the first mirrors.
    pub(crate) found: Option<Source>,
}

/// A selection in progress.
struct Search<'a> {
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    target: &'a Target,
    client: Client<'a>,
    rules: Rules,
    header: String,
    found: Option<Source>,
    explain: Option<&'a mut Vec<String>>,
    /// The hosts of each source, in the order of sources.
    locations: Vec<HostNumber>,
    netblocks: Vec<(u8, HostNumber)>,
    systems: Vec<HostNumber>,
    countries: Vec<HostNumber>,
    own_country: Vec<HostNumber>,
    continent: Vec<HostNumber>,
    global: Vec<HostNumber>,
}

// === impl Selection ===

impl Selection {
    /// Chooses hosts, and adds each step to `explain`.
    pub(crate) fn make(
        snapshot: &Snapshot,
        target: &Target,
        query: &Query<'_>,
        client: Client<'_>,
        rules: Rules,
        random: &mut Rng,
        explain: Option<&mut Vec<String>>,
    ) -> Self {
        let mut search = Search {
            snapshot,
            catalog: snapshot.catalog(),
            target,
            client,
            rules,
            header: target.header.clone(),
            found: None,
            explain,
            locations: Vec::new(),
            netblocks: Vec::new(),
            systems: Vec::new(),
            countries: Vec::new(),
            own_country: Vec::new(),
            continent: Vec::new(),
            global: Vec::new(),
        };
        search.run(query);
        search.order(random)
    }
}

// === impl Search ===

impl Search<'_> {
    fn run(&mut self, query: &Query<'_>) {
        let requested = query.countries();
        if let Some(location) = &query.location {
            self.by_location(location);
        }
        if requested.is_empty() && query.wants_networks() {
            self.by_netblock();
            self.by_system();
        } else {
            self.note(|_| "netblock, ASN: skipped, because of country= or netblock=0".to_owned());
        }
        let only_country = !requested.is_empty() && self.by_countries(&requested);
        if only_country {
            self.note(|_| "country=: no other mirrors are added".to_owned());
            return;
        }
        self.by_own_country();
        self.by_own_continent();
        let protocols = query.protocols();
        let near = self.carrying(&protocols);
        let minimum = self.rules.minimum;
        let needed = near < minimum;
        self.note(|_| {
            let needed = if needed { "needed" } else { "not needed" };
            let found = counted(near, "mirror");
            format!("global: {needed}, {found} with the content found (minimum {minimum})")
        });
        if needed {
            self.by_everywhere(near == 0);
        }
    }

    /// Mirrors of a named place, such as a region of a cloud.
    fn by_location(&mut self, location: &str) {
        let catalog = self.catalog;
        let Some(hosts) = catalog.locations.get(location) else {
            self.note(|_| format!("location: there is no {location:?}"));
            return;
        };
        let directory = self.target.directory;
        self.locations
            .extend(hosts.iter().filter(|host| !catalog.is_private(directory, **host)));
        let _ = write!(self.header, "Using location {} ", word(location));
        self.note(|search| format!("location: {} of {location:?}", mirrors(&search.locations)));
        self.found_by(Source::Location, !self.locations.is_empty());
    }

    fn by_netblock(&mut self) {
        let (catalog, directory) = (self.catalog, self.target.directory);
        for (net, hosts) in catalog.netblocks.around(self.client.address) {
            for &host in hosts {
                let carries = catalog.offer(directory, host).is_some();
                let shown = self.may_see(host, |itself| net.contains(&itself));
                if carries && shown {
                    self.netblocks.push((net.prefix_len(), host));
                }
                self.note(|search| search.netblock_note(net, host, carries, shown));
            }
        }
        if self.netblocks.is_empty() {
            self.note(|search| {
                format!(
                    "netblock: no mirror with the content claims a network of {}",
                    search.client.address
                )
            });
        } else {
            self.header.push_str("Using preferred netblock ");
        }
        self.found_by(Source::Netblock, !self.netblocks.is_empty());
    }

    fn by_system(&mut self) {
        let (catalog, networks) = (self.catalog, self.snapshot.networks());
        let address = self.client.address;
        let Some(system) = networks.system(address) else {
            self.note(|_| format!("ASN: the AS of {address} is unknown"));
            return;
        };
        if let Some(hosts) = catalog.asn_hosts.get(&system) {
            let inside = |itself| networks.system(itself) == Some(system);
            let shown: Vec<HostNumber> = hosts
                .iter()
                .copied()
                .filter(|host| self.may_see(*host, inside))
                .collect();
            self.systems = shown;
        }
        self.note(|search| {
            let carrying = search.number_carrying(&search.systems);
            format!(
                "ASN: {address} is in AS {system}: {}, {carrying} with the content",
                mirrors(&search.systems)
            )
        });
        if !self.systems.is_empty() {
            let _ = write!(self.header, "Using ASN {system} ");
        }
        self.found_by(Source::Asn, !self.systems.is_empty());
    }

    /// Whether the answer has hosts of the requested countries, or of their continents, only.
    fn by_countries(&mut self, requested: &[&str]) -> bool {
        for country in requested {
            if country.eq_ignore_ascii_case("global") {
                self.countries.extend(self.catalog.global(self.target.directory));
                self.header.push_str("country = global ");
                let allowed = self.allowed(&self.countries);
                self.countries = allowed;
            }
            self.add_country(country, Source::Country);
        }
        self.note(|search| format!("country=: {}", mirrors(&search.countries)));
        if self.countries.is_empty() {
            let mut continents = Vec::new();
            for country in requested.iter().map(|country| country.to_uppercase()) {
                // A client may request all countries of the world; each continent is added once.
                let continent = self.snapshot.continent(&country);
                if !continents.contains(&continent) {
                    continents.push(continent);
                    self.add_continent(&country);
                }
            }
            self.note(|search| {
                let found = mirrors(&search.continent);
                format!("country=: no mirrors there, {found} on the same continent")
            });
        }
        if self.countries.is_empty() && self.continent.is_empty() {
            self.note(|_| {
                "country=: ignored, because there are no mirrors there or on the continent".to_owned()
            });
            return false;
        }
        self.countries = self.allowed(&self.countries);
        self.continent = self.allowed(&self.continent);
        self.found_by(Source::Country, true);
        true
    }

    fn by_own_country(&mut self) {
        let country = self.client.country;
        self.add_country(country, Source::GeoIp);
        self.note(|search| {
            if country == NO_COUNTRY {
                return "country: unknown".to_owned();
            }
            let carrying = search.number_carrying(&search.own_country);
            format!(
                "country: {country}: {}, {carrying} with the content",
                mirrors(&search.own_country)
            )
        });
        self.found_by(Source::GeoIp, !self.own_country.is_empty());
    }

    fn by_own_continent(&mut self) {
        let country = self.client.country.to_uppercase();
        let continent = self.add_continent(&country);
        self.note(|search| match continent {
            Some(number) => format!(
                "continent: {}: {} in its other countries",
                search.snapshot.continent_named(number),
                mirrors(&search.continent)
            ),
            None if country == NO_COUNTRY => "continent: unknown".to_owned(),
            None => format!("continent: unknown for {country}, or without mirrors"),
        });
        self.found_by(Source::Continent, !self.continent.is_empty());
    }

    fn by_everywhere(&mut self, nothing_near: bool) {
        self.header.push_str("country = global ");
        self.global = self.allowed(self.catalog.global(self.target.directory));
        self.note(|search| format!("global: {}", mirrors(&search.global)));
        if nothing_near {
            self.found = None;
        }
        self.found_by(Source::Global, true);
    }

    fn add_country(&mut self, country: &str, source: Source) {
        let upper = country.to_uppercase();
        let Some(number) = self.catalog.countries.number(&upper) else {
            return;
        };
        let (catalog, directory) = (self.catalog, self.target.directory);
        let Some((_, hosts)) = catalog
            .by_country(directory)
            .find(|(country, _)| *country == number)
        else {
            return;
        };
        let list = match source {
            Source::Country => &mut self.countries,
            _ => &mut self.own_country,
        };
        list.extend_from_slice(hosts);
        let _ = write!(self.header, "country = {country} ");
    }

    /// The other countries of a country's continent.
    fn add_continent(&mut self, country: &str) -> Option<u8> {
        let continent = self.snapshot.continent(country)?;
        let catalog = self.catalog;
        let own = catalog.countries.number(country);
        for (number, hosts) in catalog.by_country(self.target.directory) {
            if Some(number) != own && self.snapshot.continent_of(number) == Some(continent) {
                self.continent.extend_from_slice(hosts);
                self.header.push_str("country = ");
                self.header.push_str(catalog.countries.name(number));
                self.header.push(' ');
            }
        }
        Some(continent)
    }

    /// Without the hosts that only serve other countries.
    fn allowed(&self, hosts: &[HostNumber]) -> Vec<HostNumber> {
        hosts
            .iter()
            .copied()
            .filter(|host| self.catalog.is_allowed(*host, self.client.country))
            .collect()
    }

    /// `ip=` must not show the private mirrors of a network to others.
    fn may_see(&self, host: HostNumber, inside: impl Fn(IpAddr) -> bool) -> bool {
        self.client.address == self.client.itself
            || self.rules.strict
            || !self.catalog.is_private(self.target.directory, host)
            || inside(self.client.itself)
    }

    /// How many mirrors so far have the content, over the requested protocols.
    fn carrying(&self, protocols: &[&str]) -> usize {
        let mut seen = Seen::new(self.catalog);
        let (mut all, mut matching) = (0, 0);
        let netblocks = self.netblocks.iter().map(|(_, host)| host);
        let near = self.locations.iter().chain(netblocks).chain(&self.systems);
        for &host in near.chain(&self.own_country).chain(&self.continent) {
            if seen.first_time(host)
                && let Some(offer) = self.catalog.offer(self.target.directory, host)
            {
                all += 1;
                if self
                    .catalog
                    .urls(offer)
                    .any(|url| has_protocol(&url.text, protocols))
                {
                    matching += 1;
                }
            }
        }
        if protocols.is_empty() { all } else { matching }
    }

    fn order(mut self, random: &mut Rng) -> Selection {
        let bandwidth = |host: HostNumber| self.catalog.hosts[usize::from(host)].bandwidth;
        random.shuffle(&mut self.locations);
        random.shuffle(&mut self.netblocks);
        self.netblocks
            .sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        random.shuffle(&mut self.systems);
        for list in [
            &mut self.countries,
            &mut self.own_country,
            &mut self.continent,
            &mut self.global,
        ] {
            order::weighted(list, bandwidth, random);
        }
        let netblocks: Vec<HostNumber> = self.netblocks.iter().map(|(_, host)| *host).collect();
        let lists = [
            (Source::Location, &self.locations),
            (Source::Netblock, &netblocks),
            (Source::Asn, &self.systems),
            (Source::Country, &self.countries),
            (Source::GeoIp, &self.own_country),
            (Source::Continent, &self.continent),
            (Source::Global, &self.global),
        ];
        let mut seen = Seen::new(self.catalog);
        let mut hosts = Vec::with_capacity(lists.iter().map(|(_, list)| list.len()).sum());
        for (source, list) in lists {
            for &host in list {
                if seen.first_time(host)
                    && let Some(offer) = self.catalog.offer(self.target.directory, host)
                {
                    hosts.push(Chosen { host, offer, source });
                }
            }
        }
        Selection {
            hosts,
            header: self.header,
            found: self.found,
        }
    }

    fn found_by(&mut self, source: Source, something: bool) {
        if something && self.found.is_none() {
            self.found = Some(source);
        }
    }

    fn note(&mut self, note: impl FnOnce(&Self) -> String) {
        if self.explain.is_some() {
            let text = note(self);
            if let Some(notes) = &mut self.explain {
                notes.push(text);
            }
        }
    }

    fn netblock_note(&self, net: IpNet, host: HostNumber, carries: bool, shown: bool) -> String {
        let name = self.catalog.mirror_name(self.target.directory, host);
        let what = match (carries, shown) {
            (true, true) => "has the content",
            (false, _) => "does not have the content",
            (_, false) => "is private to that network",
        };
        format!("netblock: {name} claims {net} and {what}")
    }

    fn number_carrying(&self, hosts: &[HostNumber]) -> usize {
        hosts
            .iter()
            .filter(|host| self.catalog.offer(self.target.directory, **host).is_some())
            .count()
    }
}

/// `1 mirror`, `2 mirrors`.
fn mirrors(hosts: &[HostNumber]) -> String {
    counted(hosts.len(), "mirror")
}

/// Whether a URL has one of some protocols.
pub(crate) fn has_protocol(url: &str, protocols: &[&str]) -> bool {
    protocols.iter().any(|protocol| {
        url.strip_prefix(protocol)
            .is_some_and(|rest| rest.starts_with(':'))
    })
}

/// A bit for each host.
struct Seen(Vec<u64>);

// === impl Seen ===

impl Seen {
    fn new(catalog: &Catalog) -> Self {
        Self(vec![0; catalog.hosts.len() / 64 + 1])
    }

    fn first_time(&mut self, host: HostNumber) -> bool {
        let (word, bit) = (usize::from(host) / 64, 1 << (host % 64));
        let first = self.0[word] & bit == 0;
        self.0[word] |= bit;
        first
    }
}

// === impl Source ===

impl Source {
    pub(crate) const ALL: [Self; 7] = [
        Self::Location,
        Self::Netblock,
        Self::Asn,
        Self::Country,
        Self::GeoIp,
        Self::Continent,
        Self::Global,
    ];

    /// The name in metrics and explanations.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Location => "location",
            Self::Netblock => "netblock",
            Self::Asn => "asn",
            Self::Country => "country",
            Self::GeoIp => "geoip",
            Self::Continent => "continent",
            Self::Global => "global",
        }
    }
}

#[cfg(test)]
mod tests;
