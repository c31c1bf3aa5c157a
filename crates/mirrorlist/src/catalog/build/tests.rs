//! Unusual data that are accepted.

use super::*;
use crate::wire::{DirectoryEntry, ListWriter};

fn entry<'a>(name: &'a str, by_host: &'a [(i64, Vec<i64>)], global: &'a [i64]) -> DirectoryEntry<'a> {
    DirectoryEntry {
        name,
        subpath: "",
        global,
        by_country: &[],
        by_host,
    }
}

fn urls(catalog: &Catalog, directory: &str, host: HostNumber) -> Vec<String> {
    let directory = catalog.directory(directory).unwrap();
    let offer = catalog.offer(directory, host).unwrap();
    catalog.urls(offer).map(|url| url.text.to_string()).collect()
}

/// Of entries that appear twice the first counts, invalid entries are left out, and each causes a warning.
#[test]
fn unusual_data_are_accepted_with_a_warning() {
    let mut list = ListWriter::new(Vec::new(), 7).unwrap();
    list.url(1, "http://one.example").unwrap();
    list.url(2, "http://two.example\nhttp://evil.example").unwrap();
    list.repository("r+x", "d").unwrap();
    list.repository("r+x", "other").unwrap();
    list.repository("lost+x", "nowhere").unwrap();
    list.redirect("a", "r").unwrap();
    list.redirect("a", "b").unwrap();
    list.netblock("10.1.2.3/8", &[5]).unwrap();
    list.netblock("ten", &[5]).unwrap();
    list.netblock("192.0.2.7", &[5]).unwrap();
    list.host_bandwidth(5, 10).unwrap();
    list.host_bandwidth(5, 20).unwrap();
    list.host_country(5, "DE").unwrap();
    list.host_country(5, "FR").unwrap();
    list.asn(64500, &[5]).unwrap();
    list.asn(64500, &[6]).unwrap();
    list.location("here", &[5]).unwrap();
    list.location("here", &[6]).unwrap();
    list.continent("DE", "EU").unwrap();
    list.continent("DE", "AS").unwrap();
    list.netblock_country("192.0.2.0/24", "DE").unwrap();
    list.netblock_country("192.0.2.1/24", "FR").unwrap();
    list.url(1, "http://one.example").unwrap();
    list.url(1, "http://another.example").unwrap();
    // Entries that are joined.
    list.netblock("10.0.0.0/8", &[6]).unwrap();
    list.host_countries_allowed(5, &["DE"]).unwrap();
    list.host_countries_allowed(5, &["FR"]).unwrap();
    // URL 9 is missing, and host 5 appears twice.
    list.directory(&entry("d", &[(5, vec![9, 1]), (5, vec![2])], &[5]))
        .unwrap();
    list.directory(&entry("d", &[(6, vec![1])], &[6])).unwrap();
    list.directory(&entry("e", &[(6, vec![2])], &[6, 6])).unwrap();
    let mut bytes = list.finish().unwrap();
    // Fields of a later version: a number, text, and one of a fixed width.
    bytes.extend_from_slice(&[0xf8, 0x01, 5, 0xfa, 0x01, 2, b'h', b'i', 0xfd, 0x01, 1, 2, 3, 4]);
    let catalog = Catalog::read(bytes.as_slice()).unwrap();
    assert_eq!(catalog.created(), 7);
    let counts = catalog.counts();
    assert_eq!((counts.directories, counts.hosts, counts.repositories), (2, 2, 2));
    assert_eq!(catalog.repositories.directory("r+x"), Some("d"));
    assert_eq!(catalog.repositories.redirects["a"].as_ref(), "r");
    assert_eq!(catalog.hosts[0].bandwidth, 10);
    assert_eq!(
        (&*catalog.hosts[0].country, catalog.hosts[0].only_for.len()),
        ("DE", 2)
    );
    assert_eq!(
        (&*catalog.asn_hosts[&64500], &*catalog.locations["here"]),
        (&[0][..], &[0][..])
    );
    assert_eq!(&*catalog.continents["DE"], "EU");
    let named = catalog
        .netblock_countries
        .around("192.0.2.9".parse().unwrap())
        .pop();
    assert_eq!(named.unwrap().1, "DE");
    let joined = catalog.netblocks.around("10.0.0.1".parse().unwrap()).pop();
    assert_eq!(joined.unwrap().1, &[0, 1]);
    assert_eq!(urls(&catalog, "d", 0), ["http://one.example"]);
    assert_eq!(urls(&catalog, "e", 1), [""; 0]);
    for (address, inside) in [("10.200.0.1", true), ("11.0.0.1", false), ("192.0.2.7", true)] {
        let around = catalog.netblocks.around(address.parse().unwrap()).len();
        assert_eq!(around == 1, inside, "{address}");
    }
    let warnings = catalog.warnings().join("\n");
    for words in [
        "URL \"http://two.example\\nhttp://evil.example\" contains control characters",
        "repository r+x appears twice",
        "repository a is redirected twice",
        "\"ten\" is neither a network nor an address",
        "directory d appears twice",
        "the bandwidth of mirror 5 appears twice",
        "the country of mirror 5 appears twice",
        "AS 64500 appears twice",
        "location here appears twice",
        "country DE has two continents",
        "network 192.0.2.1/24 has two countries",
        "URL \"http://another.example\" has the number of an earlier one",
        "2 URLs missing in the data and left out",
        "the directory of repository lost+x is not in the data",
    ] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
}

/// Countries are sorted by name and hosts by number, whatever the order in the file.
#[test]
fn lists_are_sorted_whatever_the_order_in_the_file() {
    let mut list = ListWriter::new(Vec::new(), 7).unwrap();
    for host in 1..=9 {
        list.host_country(host, "DE").unwrap();
    }
    let by_country = [("US", vec![9, 3]), ("DE", vec![5, 1, 5]), ("US", vec![2])];
    list.directory(&DirectoryEntry {
        name: "d",
        subpath: "s",
        global: &[9, 1, 5, 3, 1],
        by_country: &by_country,
        by_host: &[(9, vec![]), (3, vec![]), (5, vec![])],
    })
    .unwrap();
    let catalog = Catalog::read(list.finish().unwrap().as_slice()).unwrap();
    let directory = catalog.directory("d").unwrap();
    assert_eq!(catalog.global(directory), [0, 2, 4, 8]);
    let found: Vec<(String, Vec<HostNumber>)> = catalog
        .by_country(directory)
        .map(|(country, hosts)| (catalog.countries.name(country).to_owned(), hosts.to_vec()))
        .collect();
    assert_eq!(
        found,
        [("DE".to_owned(), vec![0, 4]), ("US".to_owned(), vec![2, 8])]
    );
    assert!(
        [2, 4, 8]
            .iter()
            .all(|host| catalog.offer(directory, *host).is_some())
    );
    assert!(catalog.offer(directory, 0).is_none());
}

/// Without them no request could be answered.
#[test]
fn a_file_without_time_or_directories_is_refused() {
    let list = ListWriter::new(Vec::new(), 7).unwrap();
    let bytes = list.finish().unwrap();
    assert!(matches!(
        Catalog::read(bytes.as_slice()),
        Err(Reason::NoDirectories)
    ));
    assert!(matches!(
        Catalog::read([0x22, 0].as_slice()),
        Err(Reason::Malformed { offset: 0, .. })
    ));
    assert!(matches!(
        Catalog::read([0xf8, 0x01, 5].as_slice()),
        Err(Reason::NoTime)
    ));
    assert!(matches!(Catalog::read([].as_slice()), Err(Reason::Empty)));
    let cut = [bytes.as_slice(), &[0x82, 0x01, 9, 1]].concat();
    assert!(matches!(
        Catalog::read(cut.as_slice()),
        Err(Reason::Malformed { .. })
    ));
}
