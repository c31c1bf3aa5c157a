//! Compiling a list into MirrorManager's format, which everything else reads.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

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

/// The numbers of written URLs; architectures in one directory share them.
#[derive(Default)]
struct Urls(HashMap<String, i64>);

impl Urls {
    fn number(&mut self, list: &mut ListWriter<Vec<u8>>, url: String) -> std::io::Result<i64> {
        let next = id(self.0.len());
        match self.0.entry(url) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(new) => {
                list.url(next, new.key())?;
                Ok(*new.insert(next))
            }
        }
    }
}

/// Writes all mirrors and repositories that may be used now.
pub(super) fn compile(file: &MirrorFile, state: &State, time: u64) -> Result<Vec<u8>, String> {
    write(file, state, time).map_err(|error| error.to_string())
}

fn write(file: &MirrorFile, state: &State, time: u64) -> std::io::Result<Vec<u8>> {
    let mut list = ListWriter::new(Vec::new(), time)?;
    let mut known_urls = Urls::default();
    for (number, mirror) in file.mirrors.iter().enumerate() {
        write_host(&mut list, id(number), mirror)?;
    }
    for (system, hosts) in grouped(file, |mirror| mirror.asn.clone()) {
        list.asn(system, &hosts)?;
    }
    for (network, hosts) in grouped(file, |mirror| mirror.netblocks.clone()) {
        list.netblock(&network.0.to_string(), &hosts)?;
    }
    let mut directories: Vec<(&str, Kind, Vec<Carrier>)> = Vec::new();
    for (number, repository) in file.repositories.iter().enumerate() {
        list.repository(&repository.key(), repository.directory())?;
        let mut carriers = Vec::new();
        for (place, mirror) in offered(file, state, repository) {
            let mut urls = Vec::new();
            for url in mirror.repository_urls(repository) {
                urls.push(known_urls.number(&mut list, url)?);
            }
            carriers.push(Carrier {
                id: id(place),
                urls,
                country: mirror.country.as_ref().map(|country| country.0.as_str()),
                private: mirror.private,
            });
        }
        if let Some(origin) = &repository.origin
            && carriers.iter().all(|carrier| carrier.private)
            && file.freshness.if_all_stale == IfAllStale::Origin
        {
            let url = known_urls.number(&mut list, origin.base().to_owned())?;
            carriers.push(Carrier {
                id: id(file.mirrors.len() + number),
                urls: vec![url],
                country: None,
                private: false,
            });
        }
        // Architectures of one repository may share a directory.
        let name = repository.directory();
        match directories.iter_mut().find(|(known, ..)| *known == name) {
            None => directories.push((name, repository.kind, carriers)),
            Some((_, kind, known)) => {
                if repository.kind == Kind::Rpm {
                    *kind = Kind::Rpm;
                }
                for carrier in carriers {
                    if known.iter().all(|other| other.id != carrier.id) {
                        known.push(carrier);
                    }
                }
            }
        }
    }
    for (name, kind, carriers) in &directories {
        write_directory(&mut list, name, "", carriers)?;
        if *kind == Kind::Rpm {
            let data = format!("{name}/repodata");
            let versions = versions(file, state, name);
            if !versions.is_empty() {
                list.file(&data, "repomd.xml", &versions)?;
            }
            write_directory(&mut list, &data, "repodata", carriers)?;
        }
    }
    list.finish()
}

/// Checksums of the origin's version, and of those that mirrors may still have.
fn versions(file: &MirrorFile, state: &State, directory: &str) -> Vec<Version> {
    let max_lag = file.freshness.max_lag.0.as_secs();
    let mut replaced = u64::MAX;
    let known = state.origins.get(directory).map(|origin| &origin.versions);
    known
        .into_iter()
        .flatten()
        .filter(|version| {
            let was_replaced = std::mem::replace(&mut replaced, version.since);
            state.checked.saturating_sub(was_replaced) <= max_lag
        })
        .map(|version| Version {
            timestamp: version.since,
            size: version.size,
            sha256: version.sha256.clone(),
            sha512: version.sha512.clone(),
            ..Version::default()
        })
        .collect()
}

fn write_host(list: &mut ListWriter<Vec<u8>>, id: i64, mirror: &Mirror) -> std::io::Result<()> {
    if let Some(country) = &mirror.country {
        list.host_country(id, &country.0)?;
    }
    list.host_bandwidth(id, mirror.bandwidth.0)
}

fn write_directory(
    list: &mut ListWriter<Vec<u8>>,
    name: &str,
    subpath: &str,
    carriers: &[Carrier<'_>],
) -> std::io::Result<()> {
    let public = || carriers.iter().filter(|carrier| !carrier.private);
    let mut by_country: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for carrier in public() {
        if let Some(country) = carrier.country {
            by_country.entry(country).or_default().push(carrier.id);
        }
    }
    let by_country: Vec<(&str, Vec<i64>)> = by_country.into_iter().collect();
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

/// The mirrors of a repository that are fresh enough; all of them if none is and the list says so.
fn offered<'a>(file: &'a MirrorFile, state: &State, repository: &Repository) -> Vec<(usize, &'a Mirror)> {
    let has_content = |(_, mirror): &(usize, &Mirror)| mirror.content.contains_key(&repository.repo.value.0);
    let carrying = file.mirrors.iter().enumerate().filter(has_content);
    let is_fresh = |(_, mirror): &(usize, &Mirror)| staleness(file, state, mirror, repository).is_none();
    let fresh: Vec<_> = carrying.clone().filter(is_fresh).collect();
    if fresh.is_empty() && file.freshness.if_all_stale == IfAllStale::Keep {
        return carrying.collect();
    }
    fresh
}

/// The mirrors of a directory that are not fresh enough, with the reasons.
pub(super) fn excluded(file: &MirrorFile, state: &State, directory: &str) -> BTreeMap<String, String> {
    let mut excluded = BTreeMap::new();
    let below = |repository: &&Repository| {
        let rest = directory.strip_prefix(repository.directory());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for repository in file.repositories.iter().filter(below) {
        let offered = offered(file, state, repository);
        for (number, mirror) in file.mirrors.iter().enumerate() {
            if offered.iter().all(|(other, _)| *other != number)
                && let Some(why) = staleness(file, state, mirror, repository)
            {
                excluded.insert(mirror.name.value.clone(), why);
            }
        }
    }
    excluded
}

/// Why a mirror is not fresh enough, by the known results.
fn staleness(file: &MirrorFile, state: &State, mirror: &Mirror, repository: &Repository) -> Option<String> {
    let finding = state.finding(&mirror.name.value, repository.directory())?;
    let drop_after = file.freshness.on_unreachable.0;
    let unreachable = drop_after.is_some_and(|limit| finding.failures >= limit);
    let max_lag = file.freshness.max_lag.0.as_secs();
    let is_behind = finding
        .behind_since
        .is_some_and(|since| state.checked.saturating_sub(since) > max_lag);
    (unreachable || is_behind).then(|| finding.problem(state.checked).unwrap_or_default())
}

/// Hosts by a value that they share.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirrors::state::{Finding, Origin, Original};

    const DAY: u64 = 86_400;

    /// Mirrors `a`, `b` and `c` of one repository, with the time since which each is behind and its failures.
    fn names(if_all_stale: &str, findings: [(Option<u64>, u32); 3]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirrors.yaml");
        let mut text = "version: 1\nrepositories:\n  - {repo: r, path: r, type: rpm}\nmirrors:\n".to_owned();
        let mut state = State {
            checked: 100 * DAY,
            ..State::default()
        };
        for (name, (behind_since, failures)) in ["a", "b", "c"].into_iter().zip(findings) {
            text.push_str(&format!(
                "  - {{name: {name}, urls: {{http: http://{name}/}}, content: {{r: r}}}}\n"
            ));
            let finding = Finding {
                failures,
                behind_since,
                problem: None,
            };
            state
                .mirrors
                .entry(name.to_owned())
                .or_default()
                .insert("r".to_owned(), finding);
        }
        text.push_str(&format!(
            "freshness: {{max_lag: 1d, on_unreachable: drop_after_3, if_all_stale: {if_all_stale}}}\n"
        ));
        std::fs::write(&path, text).unwrap();
        let file = MirrorFile::read(&path).unwrap();
        let offered = offered(&file, &state, &file.repositories[0]);
        offered
            .into_iter()
            .map(|(_, mirror)| mirror.name.value.clone())
            .collect()
    }

    #[test]
    fn old_mirrors_are_left_out_if_there_is_a_fresh_one() {
        let (fresh, late, old) = ((None, 0), (Some(99 * DAY), 0), (Some(90 * DAY), 0));
        let (shaky, away) = ((None, 2), (None, 3));
        for if_all_stale in ["origin", "keep"] {
            assert_eq!(names(if_all_stale, [fresh, late, old]), ["a", "b"]);
            assert_eq!(names(if_all_stale, [shaky, away, old]), ["a"]);
        }
        assert_eq!(names("keep", [away, old, old]), ["a", "b", "c"]);
        assert!(names("origin", [away, old, old]).is_empty());
    }

    /// Metalinks have the checksums of every version that a mirror in an answer may have.
    #[test]
    fn earlier_versions_are_alternates_as_long_as_mirrors_may_lag() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirrors.yaml");
        std::fs::write(
            &path,
            "version: 1\nrepositories: []\nmirrors: []\nfreshness: {max_lag: 1d}\n",
        )
        .unwrap();
        let file = MirrorFile::read(&path).unwrap();
        let mut origin = Origin::default();
        for (name, since) in [("a", 10), ("b", 97), ("c", 98), ("d", 100)] {
            let version = Original {
                sha256: name.to_owned(),
                since: since * DAY,
                ..Original::default()
            };
            origin.has(version, 0);
        }
        let state = State {
            checked: 100 * DAY,
            origins: BTreeMap::from([("r".to_owned(), origin)]),
            ..State::default()
        };
        let versions = versions(&file, &state, "r");
        let names: Vec<&str> = versions.iter().map(|version| version.sha256.as_str()).collect();
        assert_eq!(names, ["d", "c"], "b was replaced two days ago");
    }
}
