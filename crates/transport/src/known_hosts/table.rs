//! The lines of known_hosts files, found again by a host's name.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// Bytes of a `known_hosts` file that are read at most.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// How many lines name an authority.
    pub(super) authorities: usize,
    exact: HashMap<String, Vec<usize>>,
    patterns: Vec<(String, usize)>,
    hashed: Vec<(Vec<u8>, Vec<u8>, usize)>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) marker: Marker,
    pub(super) algorithm: String,
    pub(super) key: Vec<u8>,
    pub(super) place: String,
    pub(super) since: Since,
}

/// Since when a key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// It was in a file when this process began.
    Before,
    /// This process has seen it for the first time; it is durable in its file.
    Recorded,
    /// The same, and it is not, or not yet.
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
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, FILE_LIMIT + 1), &mut bytes)
            .map_err(|e| e.to_string())?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(format!("it is larger than {} MiB", FILE_LIMIT >> 20));
        }
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            self.read_line(line, &format!("{}:{}", path.display(), index + 1));
        }
        Ok(())
    }

    /// A line that can't be understood says nothing about any host, as in OpenSSH.
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

    /// Adds an entry and tells its index, which stays.
    pub(super) fn add(&mut self, names: &str, entry: Entry) -> usize {
        let index = self.entries.len();
        self.authorities += usize::from(entry.marker == Marker::Authority);
        self.entries.push(entry);
        if let Some(hashed) = names.strip_prefix("|1|") {
            let Some((salt, hash)) = hashed.split_once('|') else {
                return index;
            };
            let (Ok(salt), Ok(hash)) = (BASE64.decode(salt.as_bytes()), BASE64.decode(hash.as_bytes()))
            else {
                return index;
            };
            self.hashed.push((salt, hash, index));
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

    pub(super) fn find(&self, name: &str) -> Vec<usize> {
        let name = name.to_ascii_lowercase();
        let mut found = self.exact.get(&name).cloned().unwrap_or_default();
        found.extend(
            self.patterns
                .iter()
                .filter(|(list, _)| list_matches(list, &name))
                .map(|(_, index)| *index),
        );
        found.extend(
            self.hashed
                .iter()
                .filter(|(salt, hash, _)| hashes_to(salt, hash, &name))
                .map(|(.., index)| *index),
        );
        found
    }
}

fn hashes_to(salt: &[u8], hash: &[u8], name: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else {
        return false;
    };
    mac.update(name.as_bytes());
    mac.verify_slice(hash).is_ok()
}

/// A comma list of patterns: some must match, and no negated one.
fn list_matches(list: &str, name: &str) -> bool {
    let mut matched = false;
    for pattern in list.split(',') {
        if let Some(negated) = pattern.strip_prefix('!') {
            if glob_matches(negated, name) {
                return false;
            }
        } else {
            matched |= glob_matches(pattern, name);
        }
    }
    matched
}

/// `*` and `?` of sshd(8), in time linear in the name for each star.
pub(super) fn glob_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase().into_bytes(), name.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star, tried)) = retry else { return false };
                retry = Some((star, tried + 1));
                at = star;
                from = tried + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_file_panics(text: String) {
            let mut table = Table::default();
            for line in text.lines() {
                table.read_line(line, "f:1");
            }
            let _ = table.find(&text);
        }

        #[test]
        fn globs_agree_with_a_naive_matcher(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            fn naive(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern.first(), name.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => naive(&pattern[1..], name) || (!name.is_empty() && naive(pattern, &name[1..])),
                    (Some(b'?'), Some(_)) => naive(&pattern[1..], &name[1..]),
                    (Some(a), Some(b)) if a == b => naive(&pattern[1..], &name[1..]),
                    _ => false,
                }
            }
            proptest::prop_assert_eq!(glob_matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
