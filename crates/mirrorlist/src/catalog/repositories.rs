//! Names of repositories, and their directories.

use std::collections::{HashMap, HashSet};

use super::texts::{Keys, Texts};

/// Names of repositories.
#[derive(Debug, Default)]
pub(crate) struct Repositories {
    /// `repo+arch`.
    keys: Keys,
    /// The directory of each.
    directories: Texts,
    pub(crate) redirects: HashMap<Box<str>, Box<str>>,
    pub(crate) disabled: HashSet<Box<str>>,
    /// The list of all repositories, for clients that request another one.
    pub(crate) listing: String,
}

// === impl Repositories ===

impl Repositories {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The directory of a repository, by `repo+arch`.
    pub(crate) fn directory(&self, key: &str) -> Option<&str> {
        Some(self.directories.get(self.keys.number(key)?))
    }

    /// All repositories, each with its directory.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().zip(self.directories.iter())
    }

    /// Adds a repository. Returns whether it is new; none if there is no room for more.
    pub(super) fn add(&mut self, key: &str, directory: &str) -> Option<bool> {
        let is_new = self.keys.add(key)?;
        if is_new {
            self.directories.add(directory)?;
        }
        Some(is_new)
    }

    /// Writes the list of all repositories.
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
