//! What repositories are called, and where they lead.

use std::collections::{HashMap, HashSet};

use super::texts::{Keys, Texts};

/// Names of repositories.
#[derive(Debug)]
pub(crate) struct Repositories {
    /// `repo+arch`.
    keys: Keys,
    /// The directory of each.
    directories: Texts,
    pub(crate) redirects: HashMap<Box<str>, Box<str>>,
    pub(crate) disabled: HashSet<Box<str>>,
    /// All of them, as they are listed for a client that asked for another one.
    pub(crate) listing: String,
}

// === impl Repositories ===

impl Repositories {
    pub(super) fn new() -> Self {
        Self {
            keys: Keys::new(),
            directories: Texts::new(),
            redirects: HashMap::new(),
            disabled: HashSet::new(),
            listing: String::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The directory of a repository, by `repo+arch`.
    pub(crate) fn directory(&self, key: &str) -> Option<&str> {
        Some(self.directories.get(self.keys.number(key)?))
    }

    /// All, each with its directory.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().zip(self.directories.iter())
    }

    /// Whether a repository is new; nothing if there is no room for more.
    pub(super) fn add(&mut self, key: &str, directory: &str) -> Option<bool> {
        let is_new = self.keys.add(key)?;
        if is_new {
            self.directories.add(directory)?;
        }
        Some(is_new)
    }

    /// Writes the list of all.
    pub(super) fn list(&mut self) {
        let mut keys: Vec<&str> = self.keys.iter().collect();
        keys.sort_unstable();
        let mut listing = String::new();
        for key in keys {
            if let Some((repo, arch)) = key.split_once('+')
                && !arch.contains('+')
                && !key.contains(|c: char| c.is_control())
            {
                for part in ["# repo=", repo, "&arch=", arch, "\n"] {
                    listing.push_str(part);
                }
            }
        }
        listing.shrink_to_fit();
        self.listing = listing;
    }
}
