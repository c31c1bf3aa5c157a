//! The results of `check`, kept beside the list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_text::replace::replace;
use reveille_text::{counted, duration};
use serde::{Deserialize, Serialize};

use crate::error::{BadFile, Reason};

/// Results for all mirrors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub(super) schema: u32,
    /// Unix time of the last check, in seconds; 0 for never.
    pub checked: u64,
    /// The versions of origins, by directory.
    pub origins: BTreeMap<String, Origin>,
    /// The results by mirror and directory.
    pub mirrors: BTreeMap<String, BTreeMap<String, Finding>>,
}

/// The versions of an origin. A mirror with an earlier version is behind since the next one appeared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The newest first.
    pub(super) versions: Vec<Original>,
    /// Why the last check could not read it.
    pub problem: Option<String>,
}

/// A version of the origin's file, with which mirrors are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Original {
    pub(super) sha256: String,
    pub(super) sha512: String,
    pub(super) size: u64,
    /// When it was first seen, in seconds.
    pub(super) since: u64,
}

/// The result for one mirror's copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// Failures in a row.
    pub failures: u32,
    /// Unix time since which its origin has a newer version, in seconds.
    pub behind_since: Option<u64>,
    /// Why the last check failed.
    pub problem: Option<String>,
}

const SCHEMA: u32 = 1;

/// Most versions of an origin that are kept.
const VERSIONS: usize = 256;

// === impl State ===

impl State {
    /// Reads the file; without one there are no results.
    pub(super) fn read(path: &Path) -> Result<Self, BadFile> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let bad = |what: String| BadFile::new(path, Reason::Mirrors(what));
                let state: Self = serde_json::from_str(&text).map_err(|error| {
                    bad(format!(
                        "not a file of `check`: {error}; remove it and run `check` again"
                    ))
                })?;
                if state.schema > SCHEMA {
                    return Err(bad(format!(
                        "a newer version of this program wrote it (schema {})",
                        state.schema
                    )));
                }
                Ok(state)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(BadFile::new(path, error)),
        }
    }

    /// Replaces the file in one step.
    pub(super) fn write(&mut self, path: &Path) -> std::io::Result<()> {
        self.schema = SCHEMA;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        replace(path, text.as_bytes())
    }

    pub(super) fn finding(&self, mirror: &str, directory: &str) -> Option<&Finding> {
        self.mirrors.get(mirror)?.get(directory)
    }
}

// === impl Finding ===

impl Finding {
    /// What is wrong with the copy, if anything; `checked` is the time of the last check.
    pub fn problem(&self, checked: u64) -> Option<String> {
        if let Some(problem) = &self.problem {
            let times = counted(self.failures, "time");
            return Some(format!("failed {times} in a row: {problem}"));
        }
        let behind = Duration::from_secs(checked.saturating_sub(self.behind_since?));
        Some(format!("behind its origin for {}", duration::shown(behind)))
    }
}

// === impl Origin ===

impl Origin {
    /// Adds the origin's current version. Versions that were replaced before `oldest` are removed: a mirror that still
    /// has one is left out anyway.
    pub(super) fn has(&mut self, version: Original, oldest: u64) {
        self.problem = None;
        if self
            .versions
            .first()
            .is_none_or(|newest| newest.sha256 != version.sha256)
        {
            self.versions.retain(|former| former.sha256 != version.sha256);
            self.versions.insert(0, version);
        }
        let mut replaced = u64::MAX;
        self.versions.retain(|version| {
            let was_replaced = std::mem::replace(&mut replaced, version.since);
            was_replaced >= oldest
        });
        self.versions.truncate(VERSIONS);
    }

    /// Since when a mirror with a version is behind; `known` is the earlier result, and `now` the time.
    pub(super) fn behind_since(&self, sha256: &str, known: Option<u64>, now: u64) -> Option<u64> {
        match self.versions.iter().position(|version| version.sha256 == sha256) {
            Some(0) => None,
            Some(place) => Some(self.versions[place - 1].since),
            // If the origin can't be read, the mirror may be newer.
            None if self.problem.is_some() || self.versions.is_empty() => known,
            // Older than all known versions, or newer than the origin was a moment ago.
            None => known.or(Some(now)),
        }
    }
}

/// The file with the results for a list, beside it.
pub(crate) fn state_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".state.json");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, since: u64) -> Original {
        Original {
            sha256: name.to_owned(),
            since,
            ..Original::default()
        }
    }

    /// A mirror that always follows a little late is behind since the version that it lacks appeared.
    #[test]
    fn a_mirror_is_behind_since_the_version_that_it_lacks_appeared() {
        let mut origin = Origin::default();
        assert_eq!(
            origin.behind_since("a", Some(5), 9),
            Some(5),
            "no version is known"
        );
        for (name, since) in [("a", 10), ("b", 20), ("b", 25), ("c", 30)] {
            origin.has(version(name, since), 0);
        }
        assert_eq!(origin.behind_since("c", Some(20), 40), None);
        assert_eq!(origin.behind_since("b", Some(20), 40), Some(30));
        assert_eq!(origin.behind_since("a", None, 40), Some(20));
        assert_eq!(origin.behind_since("x", None, 40), Some(40));
        assert_eq!(origin.behind_since("x", Some(7), 40), Some(7));
        origin.problem = Some("away".to_owned());
        assert_eq!(origin.behind_since("c", Some(20), 40), None);
        assert_eq!(origin.behind_since("b", None, 40), Some(30));
        assert_eq!(origin.behind_since("x", None, 40), None, "it may be newer");
    }

    #[test]
    fn old_versions_are_removed_and_an_old_one_can_come_back() {
        let mut origin = Origin::default();
        for (name, since) in [("a", 10), ("b", 20), ("c", 30), ("a", 40)] {
            origin.has(version(name, since), 0);
        }
        let names = |origin: &Origin| -> Vec<String> {
            origin
                .versions
                .iter()
                .map(|version| version.sha256.clone())
                .collect()
        };
        assert_eq!(names(&origin), ["a", "c", "b"]);
        origin.has(version("d", 50), 35);
        assert_eq!(names(&origin), ["d", "a", "c"], "b was replaced at 30");
    }

    #[test]
    fn a_file_has_all_results() {
        let mut origin = Origin::default();
        for (name, since) in [("a", 10), ("b", 20)] {
            origin.has(version(name, since), 0);
        }
        let finding = Finding {
            failures: 2,
            behind_since: Some(20),
            problem: Some("http://m.example/: status 404".to_owned()),
        };
        let of_mirror = BTreeMap::from([("epel/9".to_owned(), finding)]);
        let mut state = State {
            checked: 30,
            origins: BTreeMap::from([("epel/9".to_owned(), origin)]),
            mirrors: BTreeMap::from([("fra1".to_owned(), of_mirror)]),
            ..State::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        state.write(&path).unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap());
        assert_eq!(State::read(&path).unwrap(), state);
        std::fs::write(&path, "{\"schema\": 2}").unwrap();
        let newer = State::read(&path).unwrap_err().to_string();
        assert!(
            newer.ends_with("state.json: a newer version of this program wrote it (schema 2)"),
            "{newer}"
        );
    }
}
