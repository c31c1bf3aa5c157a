//! The selection, compared with the rules by which the synthetic data are written.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::OnceLock;

use super::*;
use crate::snapshot::{Data, Sources};
use crate::synthetic::{self, Size};

/// Different data, with all files.
fn snapshots() -> &'static [Snapshot] {
    static SNAPSHOTS: OnceLock<Vec<Snapshot>> = OnceLock::new();
    SNAPSHOTS.get_or_init(|| {
        let size = Size {
            directories: 8,
            hosts: 90,
            carriers: 40,
            prefixes: 3000,
        };
        (0..4)
            .map(|seed| {
                let directory = tempfile::tempdir().unwrap();
                let file = |name: &str| directory.path().join(name);
                synthetic::write(directory.path(), size, "example", seed).unwrap();
                let sources = Sources {
                    data: Data::Cache(file(synthetic::CACHE)),
                    netblocks: Some(file(synthetic::NETBLOCKS)),
                    countries: Some(file(synthetic::COUNTRIES)),
                    geoip: Some(file(synthetic::GEOIP)),
                };
                Snapshot::load(&sources, None).unwrap()
            })
            .collect()
    })
}

/// The hosts of a directory, by MirrorManager's numbers.
struct Model<'a> {
    snapshot: &'a Snapshot,
    target: &'a Target,
}

impl Model<'_> {
    fn number(&self, id: i64) -> Option<HostNumber> {
        let hosts = &self.snapshot.catalog().hosts;
        let place = hosts.iter().position(|host| host.id == id)?;
        HostNumber::try_from(place).ok()
    }

    fn carriers(&self) -> BTreeSet<HostNumber> {
        let catalog = self.snapshot.catalog();
        (0..catalog.hosts.len())
            .filter_map(|host| HostNumber::try_from(host).ok())
            .filter(|host| catalog.offer(self.target.directory, *host).is_some())
            .collect()
    }

    fn public(&self, is_there: impl Fn(&str) -> bool) -> BTreeSet<HostNumber> {
        let catalog = self.snapshot.catalog();
        let mut hosts = self.carriers();
        hosts.retain(|host| {
            !catalog.is_private(self.target.directory, *host)
                && is_there(&catalog.hosts[usize::from(*host)].country)
        });
        hosts
    }

    /// Hosts with an even number have a /16, and share a /24 in it with another one.
    fn netblocks(&self, address: Ipv4Addr) -> (BTreeSet<HostNumber>, BTreeSet<HostNumber>) {
        let [high, low, third, _] = address.octets();
        let id = (i64::from(high) - 20) * 200 + i64::from(low);
        let is_host = high >= 20 && low < 200 && id > 0 && id % 2 == 0 && id <= 90;
        let carriers = self.carriers();
        let these = |ids: &[i64]| -> BTreeSet<HostNumber> {
            let numbers = ids.iter().filter_map(|id| self.number(*id));
            numbers.filter(|host| carriers.contains(host)).collect()
        };
        match (is_host, third == 64) {
            (false, _) => (these(&[]), these(&[])),
            (true, false) => (these(&[]), these(&[id])),
            (true, true) => (these(&[id / 2 + 1, id]), these(&[id])),
        }
    }

    /// Hosts with a number divisible by three are in an AS, together with another one.
    fn systems(&self, address: Ipv4Addr) -> BTreeSet<HostNumber> {
        let Some(system) = self.snapshot.networks().system(address.into()) else {
            return BTreeSet::new();
        };
        let carriers = self.carriers();
        (1..=90)
            .filter(|id| id % 3 == 0 && id * 37 % 70_000 + 1 == i64::from(system))
            .flat_map(|id| [id, id / 2 + 1])
            .filter_map(|id| self.number(id))
            .filter(|host| carriers.contains(host))
            .collect()
    }
}

fn of(selection: &Selection, source: Source) -> Vec<HostNumber> {
    let chosen = selection.hosts.iter().filter(|chosen| chosen.source == source);
    chosen.map(|chosen| chosen.host).collect()
}

fn select(
    snapshot: &Snapshot,
    query: &str,
    address: Ipv4Addr,
    minimum: usize,
    seed: u64,
) -> (Target, Selection) {
    let query = Query::parse(query);
    let target = Target::find(snapshot.catalog(), &query, false).unwrap();
    let address = IpAddr::V4(address);
    let client = Client {
        address,
        itself: address,
        country: snapshot.country(address).0,
    };
    let rules = Rules {
        minimum,
        strict: false,
    };
    let mut random = Rng::with_seed(seed);
    let selection = Selection::make(snapshot, &target, &query, client, rules, &mut random, None);
    (target, selection)
}

/// Each host appears once, and the sources are in order.
fn assert_ordered(selection: &Selection) {
    let order = [
        Source::Location,
        Source::Netblock,
        Source::Asn,
        Source::Country,
        Source::GeoIp,
        Source::Continent,
        Source::Global,
    ];
    let place = |chosen: &Chosen| order.iter().position(|source| *source == chosen.source);
    assert!(selection.hosts.is_sorted_by_key(place), "{selection:?}");
    let hosts: BTreeSet<HostNumber> = selection.hosts.iter().map(|chosen| chosen.host).collect();
    assert_eq!(hosts.len(), selection.hosts.len(), "{selection:?}");
}

proptest::proptest! {
    /// Networks, the longest prefix first; AS; country; continent; and all others if these are too few.
    #[test]
    fn near_mirrors_come_first_and_far_ones_if_they_are_too_few(
        which in 0_usize..4,
        directory in 0_u32..8,
        low in 0_u8..100,
        third in proptest::sample::select(vec![0_u8, 64]),
        high in proptest::sample::select(vec![5_u8, 20, 20, 20, 77, 200]),
        minimum in 0_usize..14,
        seed: u64,
    ) {
        let snapshot = &snapshots()[which];
        let catalog = snapshot.catalog();
        let address = Ipv4Addr::new(high, low, third, 9);
        let query = format!("path={}", synthetic::directory_name(directory));
        let (target, selection) = select(snapshot, &query, address, minimum, seed);
        let model = Model { snapshot, target: &target };
        assert_ordered(&selection);
        let mut seen = BTreeSet::new();
        let mut expect = |source: Source, expected: &BTreeSet<HostNumber>| {
            let found: BTreeSet<HostNumber> = of(&selection, source).into_iter().collect();
            let new: BTreeSet<HostNumber> = expected.difference(&seen).copied().collect();
            assert_eq!(found, new, "{source:?} of {address}: {selection:?}");
            seen.extend(new);
            seen.len()
        };
        let (inner, outer) = model.netblocks(address);
        expect(Source::Netblock, &inner.union(&outer).copied().collect());
        let first: BTreeSet<HostNumber> =
            of(&selection, Source::Netblock).into_iter().take(inner.len()).collect();
        assert_eq!(first, inner, "the longest prefix first: {selection:?}");
        expect(Source::Asn, &model.systems(address));
        let (country, _) = snapshot.country(address.into());
        expect(Source::GeoIp, &model.public(|other| other == country));
        let continent = snapshot.continent(country);
        let near = expect(
            Source::Continent,
            &model.public(|other| continent.is_some() && snapshot.continent(other) == continent),
        );
        let mut global = BTreeSet::new();
        if near < minimum {
            global = model.public(|_| true);
            global.retain(|host| catalog.is_allowed(*host, country));
        }
        expect(Source::Global, &global);
    }

    /// `country=` replaces the other sources if there are mirrors in these countries or on their continents.
    #[test]
    fn requested_countries_replace_other_sources(
        which in 0_usize..4,
        directory in 0_u32..8,
        country in proptest::sample::select(vec!["US", "de", "NZ", "KE", "XX"]),
        seed: u64,
    ) {
        let snapshot = &snapshots()[which];
        let catalog = snapshot.catalog();
        let address = Ipv4Addr::new(20, 2, 64, 9);
        let query = format!("path={}&country={country}", synthetic::directory_name(directory));
        let (target, selection) = select(snapshot, &query, address, 5, seed);
        let model = Model { snapshot, target: &target };
        assert_ordered(&selection);
        let upper = country.to_uppercase();
        let own = snapshot.country(address.into()).0;
        let allowed = |mut hosts: BTreeSet<HostNumber>| {
            hosts.retain(|host| catalog.is_allowed(*host, own));
            hosts
        };
        let (there, continent) = (model.public(|other| other == upper), snapshot.continent(&upper));
        let around = model.public(|other| continent.is_some() && snapshot.continent(other) == continent);
        let all: BTreeSet<HostNumber> = selection.hosts.iter().map(|chosen| chosen.host).collect();
        if !there.is_empty() {
            assert_eq!(all, allowed(there), "{selection:?}");
        } else if !around.is_empty() {
            assert_eq!(all, allowed(around), "{selection:?}");
        } else {
            assert!(of(&selection, Source::Country).is_empty(), "{selection:?}");
            assert!(of(&selection, Source::Netblock).is_empty(), "{selection:?}");
            assert!(all.len() >= 5, "others take their place: {selection:?}");
        }
    }
}
