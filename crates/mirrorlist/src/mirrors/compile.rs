//! From a list to MirrorManager's format, which everything else reads.

use std::collections::BTreeMap;

use super::list::{IfAllStale, Kind, Mirror, MirrorFile, Repository};
use super::state::State;
use crate::wire::{DirectoryEntry, ListWriter, Version};

/// A host of one repository.
struct Carrier<'a> {
    id: i64,
    urls: Vec<i64>,
    country: Option<&'a str>,
    private: bool,
}

/// Writes everything that is offered at this moment.
pub(super) fn compile(file: &MirrorFile, state: &State, time: u64) -> Result<Vec<u8>, String> {
    write(file, state, time).map_err(|error| error.to_string())
}

fn write(file: &MirrorFile, state: &State, time: u64) -> std::io::Result<Vec<u8>> {
    let mut list = ListWriter::new(Vec::new(), time)?;
    let mut next_url = 1;
    for (number, mirror) in file.mirrors.iter().enumerate() {
        write_host(&mut list, id(number), mirror)?;
    }
    for (system, hosts) in grouped(file, |mirror| mirror.asn.clone()) {
        list.asn(system, &hosts)?;
    }
    for (network, hosts) in grouped(file, |mirror| mirror.netblocks.clone()) {
        list.netblock(&network, &hosts)?;
    }
    for (number, repository) in file.repositories.iter().enumerate() {
        list.repository(&repository.key(), repository.directory())?;
        let mut carriers = Vec::new();
        for (place, mirror) in file.mirrors.iter().enumerate() {
            let mut urls = Vec::new();
            if is_offered(file, state, mirror, repository) {
                for url in mirror.repository_urls(repository) {
                    list.url(next_url, &url)?;
                    urls.push(next_url);
                    next_url += 1;
                }
            }
            if !urls.is_empty() {
                carriers.push(Carrier {
                    id: id(place),
                    urls,
                    country: mirror.country.as_deref(),
                    private: mirror.private,
                });
            }
        }
        if let Some(origin) = &repository.origin
            && carriers.iter().all(|carrier| carrier.private)
            && file.freshness.if_all_stale() == IfAllStale::Origin
        {
            list.url(next_url, origin.trim_end_matches('/'))?;
            carriers.push(Carrier {
                id: id(file.mirrors.len() + number),
                urls: vec![next_url],
                country: None,
                private: false,
            });
            next_url += 1;
        }
        write_directory(&mut list, repository.directory(), "", &carriers)?;
        if repository.kind == Kind::Rpm {
            let name = format!("{}/repodata", repository.directory());
            if let Some(original) = state.origins.get(repository.directory()) {
                let version = Version {
                    timestamp: original.since,
                    size: original.size,
                    sha256: original.sha256.clone(),
                    sha512: original.sha512.clone(),
                    ..Version::default()
                };
                list.file(&name, "repomd.xml", &[version])?;
            }
            write_directory(&mut list, &name, "repodata", &carriers)?;
        }
    }
    list.finish()
}

fn write_host(list: &mut ListWriter<Vec<u8>>, id: i64, mirror: &Mirror) -> std::io::Result<()> {
    if let Some(country) = &mirror.country {
        list.host_country(id, &country.to_uppercase())?;
    }
    // It was checked when the list was read.
    list.host_bandwidth(id, mirror.bandwidth().unwrap_or(100))
}

fn write_directory(
    list: &mut ListWriter<Vec<u8>>,
    name: &str,
    subpath: &str,
    carriers: &[Carrier<'_>],
) -> std::io::Result<()> {
    let public = || carriers.iter().filter(|carrier| !carrier.private);
    let mut by_country: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for carrier in public() {
        if let Some(country) = carrier.country {
            by_country
                .entry(country.to_uppercase())
                .or_default()
                .push(carrier.id);
        }
    }
    let by_country: Vec<(&str, Vec<i64>)> = by_country
        .iter()
        .map(|(country, hosts)| (country.as_str(), hosts.clone()))
        .collect();
    let global: Vec<i64> = public().map(|carrier| carrier.id).collect();
    let by_host: Vec<(i64, Vec<i64>)> = carriers
        .iter()
        .map(|carrier| (carrier.id, carrier.urls.clone()))
        .collect();
    list.directory(&DirectoryEntry {
        name,
        subpath,
        global: &global,
        by_country: &by_country,
        by_host: &by_host,
    })
}

/// Whether a mirror is fresh enough, as far as is known.
fn is_offered(file: &MirrorFile, state: &State, mirror: &Mirror, repository: &Repository) -> bool {
    let Some(finding) = state.finding(&mirror.name, repository.directory()) else {
        return true;
    };
    let unreachable = match file.freshness.drop_after() {
        Ok(Some(limit)) => finding.failures >= limit,
        _ => false,
    };
    let max_lag = file.freshness.max_lag().unwrap_or_default().as_secs();
    let is_behind = finding
        .behind_since
        .is_some_and(|since| state.checked.saturating_sub(since) > max_lag);
    let all_stale_is_fine = file.freshness.if_all_stale() == IfAllStale::Keep
        && file
            .mirrors
            .iter()
            .filter(|other| other.content.contains_key(&repository.repo))
            .all(|other| {
                state
                    .finding(&other.name, repository.directory())
                    .is_some_and(|finding| finding.failures > 0 || finding.behind_since.is_some())
            });
    all_stale_is_fine || !(unreachable || is_behind)
}

/// Hosts by what they have in common.
fn grouped<K: Ord>(file: &MirrorFile, keys: impl Fn(&Mirror) -> Vec<K>) -> BTreeMap<K, Vec<i64>> {
    let mut groups: BTreeMap<K, Vec<i64>> = BTreeMap::new();
    for (number, mirror) in file.mirrors.iter().enumerate() {
        for key in keys(mirror) {
            groups.entry(key).or_default().push(id(number));
        }
    }
    groups
}

fn id(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX - 1) + 1
}
