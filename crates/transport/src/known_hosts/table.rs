//! The lines of known_hosts files, indexed by host name.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reveille_text::bounded;
use reveille_text::glob::Wildcard;
use sha1::Sha1;

/// The most to read of a `known_hosts` file, in bytes.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// The number of lines with an authority.
    pub(super) authorities: usize,
    exact: HashMap<String, Vec<usize>>,
    patterns: Vec<(String, usize)>,
    /// Lines with hashed names that are still unknown.
    hashed: Vec<Hashed>,
    /// Names that were compared with all of those lines.
    asked: HashSet<String>,
}

/// A line with a hashed name.
#[derive(Debug)]
struct Hashed {
    /// Keyed with the line's salt.
    mac: Hmac<Sha1>,
    hash: Vec<u8>,
    index: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) marker: Marker,
    pub(super) algorithm: String,
    pub(super) key: Vec<u8>,
    pub(super) place: String,
    pub(super) since: Since,
}

/// Since when a key is known, the longest time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Since {
    /// It was in a file when this process began.
    Before,
    /// Seen by this process for the first time, and durable in its file.
    Recorded,
    /// Seen by this process for the first time, and not durable (yet).
    Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    None,
    Revoked,
    Authority,
}

// === impl Table ===

impl Table {
    pub(super) fn read(&mut self, path: &Path) -> Result<(), String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let bytes = bounded::bytes_of(file, FILE_LIMIT).map_err(|error| error.to_string())?;
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            self.read_line(line, &format!("{}:{}", path.display(), index + 1));
        }
        Ok(())
    }

    /// Reads a line; as in OpenSSH, an invalid line is ignored.
    pub(super) fn read_line(&mut self, line: &str, place: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let mut words = line.split_ascii_whitespace();
        let Some(mut names) = words.next() else { return };
        let marker = match names {
            "@revoked" => Marker::Revoked,
            "@cert-authority" => Marker::Authority,
            _ if names.starts_with('@') => return,
            _ => Marker::None,
        };
        if marker != Marker::None {
            let Some(next) = words.next() else { return };
            names = next;
        }
        let (Some(algorithm), Some(key)) = (words.next(), words.next()) else {
            return;
        };
        let Ok(key) = BASE64.decode(key.as_bytes()) else {
            return;
        };
        self.add(
            names,
            Entry {
                marker,
                algorithm: algorithm.to_owned(),
                key,
                place: place.to_owned(),
                since: Since::Before,
            },
        );
    }

    /// Adds an entry and returns its permanent index.
    pub(super) fn add(&mut self, names: &str, entry: Entry) -> usize {
        let index = self.entries.len();
        self.authorities += usize::from(entry.marker == Marker::Authority);
        self.entries.push(entry);
        if let Some(hashed) = names.strip_prefix("|1|") {
            let line = hashed.split_once('|').and_then(|(salt, hash)| {
                let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
                Some(Hashed {
                    mac: Hmac::new_from_slice(&decode(salt)?).ok()?,
                    hash: decode(hash)?,
                    index,
                })
            });
            if let Some(line) = line {
                self.hashed.push(line);
                self.asked.clear();
            }
        } else if names.contains(['*', '?', '!']) {
            self.patterns.push((names.to_owned(), index));
        } else {
            for name in names.split(',').filter(|name| !name.is_empty()) {
                self.exact
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .push(index);
            }
        }
        index
    }

    /// The entries for a host.
    pub(super) fn find(&mut self, name: &str) -> Vec<usize> {
        let name = name.to_ascii_lowercase();
        self.unhash(&name);
        let mut found = self.exact.get(&name).cloned().unwrap_or_default();
        found.extend(
            self.patterns
                .iter()
                .filter(|(list, _)| list_matches(list, &name))
                .map(|(_, index)| *index),
        );
        // In the order of the files.
        found.sort_unstable();
        found
    }

    /// Resolves the hashed lines for a name. A line has only one name, so it is not tried again: with thousands of
    /// hosts and lines, trying every pair for every connection would take most of the time.
    fn unhash(&mut self, name: &str) {
        if self.hashed.is_empty() || self.asked.contains(name) {
            return;
        }
        let found = self.hashed.extract_if(.., |line| line.is_of(name));
        let found: Vec<usize> = found.map(|line| line.index).collect();
        if !found.is_empty() {
            self.exact.entry(name.to_owned()).or_default().extend(found);
        }
        self.asked.insert(name.to_owned());
    }
}

// === impl Hashed ===

impl Hashed {
    fn is_of(&self, name: &str) -> bool {
        let mut mac = self.mac.clone();
        mac.update(name.as_bytes());
        mac.verify_slice(&self.hash).is_ok()
    }
}

/// Whether a comma-separated list matches: some pattern, and no negated one.
fn list_matches(list: &str, name: &str) -> bool {
    let mut matched = false;
    for pattern in list.split(',') {
        if let Some(negated) = pattern.strip_prefix('!') {
            if pattern_fits(negated, name) {
                return false;
            }
        } else {
            matched |= pattern_fits(pattern, name);
        }
    }
    matched
}

/// Whether a pattern, in any case, matches a name in lower case.
pub(super) fn pattern_fits(pattern: &str, name: &str) -> bool {
    Wildcard(&pattern.to_ascii_lowercase()).fits(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(name: &str, salt: u8) -> String {
        let salt = [salt; 20];
        let mut mac = Hmac::<Sha1>::new_from_slice(&salt).unwrap();
        mac.update(name.as_bytes());
        let hash = mac.finalize().into_bytes();
        format!("|1|{}|{}", BASE64.encode(&salt), BASE64.encode(&hash))
    }

    #[test]
    fn hashed_lines_are_found_however_often_and_in_whatever_order() {
        let names = ["web1", "[web2]:2222", "web3"];
        let mut table = Table::default();
        for salt in 0..3 {
            for name in names {
                table.read_line(&format!("{} ssh-ed25519 AAAA", hashed(name, salt)), "f");
            }
            table.read_line(&format!("{} ssh-ed25519 AAAA", names[0]), "f");
        }
        for (at, name) in [
            (1, "[web2]:2222"),
            (0, "WEB1"),
            (1, "[WEB2]:2222"),
            (2, "web3"),
            (0, "web1"),
        ] {
            let mut expected: Vec<usize> = (0..3).map(|round| 4 * round + at).collect();
            if at == 0 {
                expected.extend((0..3).map(|round| 4 * round + 3));
                expected.sort_unstable();
            }
            assert_eq!(table.find(name), expected, "{name}");
            assert_eq!(table.find("web4"), [] as [usize; 0]);
        }
        assert_eq!(table.hashed.len(), 0);
        // A line that is added later is found, too.
        table.read_line(&format!("{} ssh-ed25519 AAAA", hashed("web4", 9)), "f");
        assert_eq!(table.find("web4"), [12]);
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text: String) {
            let mut table = Table::default();
            for line in text.lines() {
                table.read_line(line, "f:1");
            }
            let _ = table.find(&text);
        }
    }
}
