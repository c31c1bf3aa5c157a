//! Synthetic data of a given size, for tests, benchmarks and comparisons with other servers. Equal seeds give equal
//! data.
//!
//! Every directory has a random set of hosts of its own, which is the worst case for the index. Real distributions have
//! similar sets.

mod mmdb;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv6Addr;
use std::path::Path;

use fastrand::Rng;

use crate::continents::Continents;
use crate::wire::{DirectoryEntry, ListWriter, Version};

/// The size of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Directories; every second one is the `repodata` of the one before it.
    pub directories: u32,
    /// Mirrors.
    pub hosts: u16,
    /// Mirrors of each directory.
    pub carriers: u16,
    /// Prefixes with an AS number; every sixth is an IPv6 prefix.
    pub prefixes: u32,
}

/// The name of MirrorManager's snapshot among the files.
pub const CACHE: &str = "mirrorlist_cache.proto";
/// The name of the prefixes.
pub const NETBLOCKS: &str = "global_netblocks.txt";
/// The name of the continents.
pub const COUNTRIES: &str = "country_continent.csv";
/// The name of the country database.
pub const GEOIP: &str = "country.mmdb";

/// Countries; the first ones have the most mirrors.
const COUNTRY_CODES: [&str; 48] = [
    "US", "DE", "FR", "GB", "CN", "JP", "CA", "NL", "BR", "AU", "SE", "IT", "ES", "PL", "CZ", "CH", "AT",
    "RU", "IN", "KR", "TW", "SG", "HK", "ZA", "KE", "AR", "CL", "CO", "EC", "MX", "CR", "NZ", "NC", "FI",
    "NO", "DK", "BE", "PT", "GR", "HU", "RO", "BG", "UA", "TR", "IR", "ID", "TH", "VN",
];

/// Kinds of content, each with a URL of its own on a host.
const CATEGORIES: [&str; 4] = ["linux", "epel", "archive", "centos-stream"];

const ARCHITECTURES: [&str; 4] = ["x86_64", "aarch64", "ppc64le", "s390x"];

/// 2026-11-01, in seconds.
const TIME: u64 = 1_793_491_200;

/// AS numbers that prefixes are in.
const SYSTEMS: u32 = 70_000;

/// A synthetic mirror.
struct Host {
    id: i64,
    country: usize,
    private: bool,
}

/// Writes all files into a directory, which must exist. The names of all mirrors end in `domain`, so that answers from
/// two sets of data differ.
pub fn write(directory: &Path, size: Size, domain: &str, seed: u64) -> io::Result<()> {
    let mut random = Rng::with_seed(seed);
    let create =
        |name: &str| File::create(directory.join(name)).map(|file| BufWriter::with_capacity(1 << 20, file));
    write_cache(create(CACHE)?, size, domain, &mut random)?;
    write_prefixes(create(NETBLOCKS)?, size, &mut random)?;
    let mut countries = create(COUNTRIES)?;
    writeln!(countries, "\"iso 3166 country\",\"continent code\"")?;
    let continents = Continents::built_in();
    for country in COUNTRY_CODES {
        let continent = continents.of(country).unwrap_or_default();
        writeln!(countries, "{country},{continent}")?;
    }
    countries.flush()?;
    // 1.0.0.0/8 to 223.0.0.0/8 in turn, and 2001::/16 as Germany.
    let mut tree = mmdb::Tree::default();
    for octet in 1..224_u32 {
        let country = COUNTRY_CODES[octet as usize % COUNTRY_CODES.len()];
        tree.add(u128::from(octet) << 24, 96 + 8, country);
    }
    tree.add(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0).to_bits(), 16, "DE");
    std::fs::write(directory.join(GEOIP), tree.bytes())
}

/// MirrorManager's snapshot alone, in memory.
pub(crate) fn cache(size: Size, domain: &str, seed: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_cache(&mut bytes, size, domain, &mut Rng::with_seed(seed))?;
    Ok(bytes)
}

/// The name of a directory.
pub fn directory_name(number: u32) -> String {
    let base = number / 2;
    let category = CATEGORIES[base as usize % CATEGORIES.len()];
    let sub = subpath(number);
    format!("pub/{category}/{sub}")
}

/// The repository and the architecture of a directory.
pub fn repository(number: u32) -> (String, &'static str) {
    let base = number / 2;
    (
        format!("repo-{base}"),
        ARCHITECTURES[base as usize / 7 % ARCHITECTURES.len()],
    )
}

fn subpath(number: u32) -> String {
    let base = number / 2;
    let (_, arch) = repository(number);
    let repodata = if number % 2 == 1 { "/repodata" } else { "" };
    format!("releases/{}/Everything-{base}/{arch}/os{repodata}", base % 50)
}

fn write_cache(output: impl Write, size: Size, domain: &str, random: &mut Rng) -> io::Result<()> {
    let mut list = ListWriter::new(output, TIME)?;
    let hosts: Vec<Host> = (1..=i64::from(size.hosts))
        .map(|id| Host {
            id,
            // The lower of two numbers, so that the first countries are the most frequent ones.
            country: random
                .usize(..COUNTRY_CODES.len())
                .min(random.usize(..COUNTRY_CODES.len())),
            private: random.u8(..) < 13,
        })
        .collect();
    list.netblock_country("203.0.113.0/24", "NZ")?;
    list.location("cloud-region", &[1, 2, 3])?;
    write_urls(&mut list, &hosts, domain)?;
    for number in (1..size.directories).step_by(2) {
        let versions: Vec<Version> = (0..=u64::from(number % 5 == 1))
            .map(|age| version(random, age))
            .collect();
        list.file(&directory_name(number), "repomd.xml", &versions)?;
    }
    list.disabled("repo-disabled")?;
    list.redirect("repo-old", "repo-1")?;
    list.redirect("repo-oldest", "repo-old")?;
    list.continent("TR", "EU")?;
    for number in (0..size.directories).step_by(2) {
        let (repo, arch) = repository(number);
        list.repository(&format!("{repo}+{arch}"), &directory_name(number))?;
    }
    list.repository("repo-source-1+source", &directory_name(0))?;
    list.repository("repo-lost+x86_64", "pub/nowhere")?;
    write_hosts(&mut list, &hosts, random)?;
    for number in 0..size.directories {
        write_directory(&mut list, number, &hosts, size, random)?;
    }
    list.finish()?;
    Ok(())
}

fn write_urls(list: &mut ListWriter<impl Write>, hosts: &[Host], domain: &str) -> io::Result<()> {
    for host in hosts {
        let country = COUNTRY_CODES[host.country];
        let name = format!("mirror{}.{}.{domain}", host.id, country.to_lowercase());
        for (place, category) in CATEGORIES.iter().enumerate() {
            let [web, sync] = urls(host.id, place);
            // Some mirrors have no TLS.
            let scheme = if host.id % 5 == 0 { "http" } else { "https" };
            list.url(web, &format!("{scheme}://{name}/pub/{category}"))?;
            list.url(sync, &format!("rsync://{name}/{category}"))?;
        }
    }
    Ok(())
}

fn write_hosts(list: &mut ListWriter<impl Write>, hosts: &[Host], random: &mut Rng) -> io::Result<()> {
    for host in hosts.iter().filter(|host| host.id % 3 == 0) {
        list.asn(system_of(host.id), &[host.id, host.id / 2 + 1])?;
    }
    for host in hosts {
        list.host_country(host.id, COUNTRY_CODES[host.country])?;
    }
    for host in hosts {
        list.host_bandwidth(host.id, [100, 1000, 1000, 10_000, 40_000][random.usize(..5)])?;
    }
    for host in hosts.iter().filter(|host| host.id % 41 == 0) {
        list.host_countries_allowed(host.id, &[COUNTRY_CODES[host.country], "SE"])?;
    }
    for host in hosts.iter().filter(|host| host.id % 2 == 0) {
        let (high, low) = (host.id / 200 + 20, host.id % 200);
        list.netblock(&format!("{high}.{low}.0.0/16"), &[host.id])?;
        list.netblock(&format!("{high}.{low}.64.1/24"), &[host.id / 2 + 1, host.id])?;
        list.netblock(&format!("2001:db8:{:x}::/48", host.id), &[host.id])?;
    }
    Ok(())
}

fn write_directory(
    list: &mut ListWriter<impl Write>,
    number: u32,
    hosts: &[Host],
    size: Size,
    random: &mut Rng,
) -> io::Result<()> {
    let category = (number / 2) as usize % CATEGORIES.len();
    let mut chosen = random.choose_multiple(hosts.iter(), size.carriers.into());
    chosen.sort_by_key(|host| host.id);
    let global: Vec<i64> = chosen
        .iter()
        .filter(|host| !host.private)
        .map(|host| host.id)
        .collect();
    let mut by_country: Vec<(&str, Vec<i64>)> = Vec::new();
    for host in chosen.iter().filter(|host| !host.private) {
        let country = COUNTRY_CODES[host.country];
        match by_country.iter_mut().find(|(known, _)| *known == country) {
            Some((_, hosts)) => hosts.push(host.id),
            None => by_country.push((country, vec![host.id])),
        }
    }
    let by_host: Vec<(i64, Vec<i64>)> = chosen
        .iter()
        .map(|host| (host.id, urls(host.id, category).to_vec()))
        .collect();
    list.directory(&DirectoryEntry {
        name: &directory_name(number),
        subpath: &subpath(number),
        global: &global,
        by_country: &by_country,
        by_host: &by_host,
    })
}

fn urls(host: i64, category: usize) -> [i64; 2] {
    let number = |place: usize| i64::try_from(place).unwrap_or(0);
    let first = ((host - 1) * number(CATEGORIES.len()) + number(category)) * 2 + 1;
    [first, first + 1]
}

fn system_of(host: i64) -> u32 {
    u32::try_from(host * 37 % i64::from(SYSTEMS)).unwrap_or(0) + 1
}

fn version(random: &mut Rng, age: u64) -> Version {
    let mut hash = |length: usize| {
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        data_encoding::HEXLOWER.encode(&bytes)
    };
    Version {
        timestamp: TIME - 3600 - age * 86_400,
        size: 4000 + age,
        md5: hash(16),
        sha1: hash(20),
        sha256: hash(32),
        sha512: hash(64),
    }
}

fn write_prefixes(mut output: impl Write, size: Size, random: &mut Rng) -> io::Result<()> {
    for number in 0..size.prefixes {
        let system = random.u32(1..=SYSTEMS);
        if number % 6 == 5 {
            let length = [32, 40, 44, 48][random.usize(..4)];
            let (high, low) = (
                random.u16(..),
                random.u16(..) & u16::MAX.checked_shl(48 - length).unwrap_or(0),
            );
            writeln!(
                output,
                "2a{:02x}:{high:x}:{low:x}::/{length} {system}",
                number % 16
            )?;
        } else {
            let length = [16, 19, 20, 21, 22, 22, 23, 24, 24, 24][random.usize(..10)];
            let address = (random.u32(..) & (u32::MAX << (32 - length))) % (223 << 24) + (1 << 24);
            let [a, b, c, d] = address.to_be_bytes();
            writeln!(output, "{a}.{b}.{c}.{d}/{length} {system}")?;
        }
    }
    output.flush()
}
