//! Many short texts in one long text. As boxes they would be a hundred thousand small blocks of memory, which the
//! allocator would keep in pieces when it frees an earlier snapshot.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::large_vec::large_string;

/// Texts, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Texts {
    all: String,
    /// The end of each text, where the next one begins.
    ends: Vec<u32>,
}

/// Distinct texts, which are found by their numbers and by themselves.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    texts: Texts,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

// === impl Texts ===

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start as usize..self.ends[number] as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let text = &self.all[start as usize..*end as usize];
            start = *end;
            text
        })
    }

    /// Adds the text that `write` appends; none if all texts together have more than 4 GiB.
    pub(crate) fn add_with(&mut self, write: impl FnOnce(&mut String)) -> Option<()> {
        write(&mut self.all);
        self.ends.push(u32::try_from(self.all.len()).ok()?);
        Some(())
    }

    pub(crate) fn add(&mut self, text: &str) -> Option<()> {
        self.add_with(|all| all.push_str(text))
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            all: large_string(),
            ends: Vec::new(),
        }
    }
}

// === impl Keys ===

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter()
    }

    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        self.find(self.hasher.hash_one(key), key)
    }

    /// Adds a key. Returns whether it is new; none if there is no room for more.
    pub(crate) fn add(&mut self, key: &str) -> Option<bool> {
        let hash = self.hasher.hash_one(key);
        if self.find(hash, key).is_some() {
            return Some(false);
        }
        let number = u32::try_from(self.texts.len()).ok()?;
        self.texts.add(key)?;
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.numbers
            .insert_unique(hash, number, |known| hasher.hash_one(texts.get(*known)));
        Some(true)
    }

    fn find(&self, hash: u64, key: &str) -> Option<u32> {
        self.numbers
            .find(hash, |known| self.texts.get(*known) == key)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn keys_are_found_by_their_order(words in proptest::collection::vec("[ab]{0,4}", 0..60)) {
            let mut keys = Keys::default();
            let mut seen: Vec<&String> = Vec::new();
            for word in &words {
                let is_new = !seen.contains(&word);
                assert_eq!(keys.add(word), Some(is_new));
                if is_new {
                    seen.push(word);
                }
            }
            assert_eq!((keys.len(), keys.number("c")), (seen.len(), None));
            for (number, word) in seen.iter().enumerate() {
                assert_eq!(keys.number(word).map(|number| number as usize), Some(number));
            }
            assert!(keys.iter().eq(seen.iter().map(|word| word.as_str())));
        }
    }
}
