//! Lists, of which equal ones are stored once.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::large_vec::large_vec;

/// A list in an [`Arena`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct List {
    start: u32,
    length: u32,
}

/// Many short lists, one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arena<T>(Vec<T>);

/// An arena that is being filled. It stores equal lists once: mirrors of one project carry the same sets of
/// directories, so most lists repeat.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    items: Vec<T>,
    known: HashTable<Known>,
    hasher: DefaultHashBuilder,
}

/// A list and half of its hash, so that the table can grow without reading the items.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: u32,
    list: List,
}

// === impl List ===

impl List {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

// === impl Arena ===

impl<T> Arena<T> {
    pub(crate) fn get(&self, list: List) -> &[T] {
        &self.0[list.range()]
    }
}

// === impl Interner ===

impl<T: Copy + Eq + Hash> Interner<T> {
    /// The place of a list; none if all lists together have more than 4,294,967,295 items.
    pub(crate) fn intern(&mut self, list: &[T]) -> Option<List> {
        let hash = half(self.hasher.hash_one(list));
        let items = &self.items;
        let found = self.known.find(spread(hash), |known| {
            known.hash == hash && items[known.list.range()] == *list
        });
        if let Some(known) = found {
            return Some(known.list);
        }
        let new = List {
            start: u32::try_from(self.items.len()).ok()?,
            length: u32::try_from(list.len()).ok()?,
        };
        u32::try_from(self.items.len() + list.len()).ok()?;
        self.items.extend_from_slice(list);
        let known = Known { hash, list: new };
        self.known
            .insert_unique(spread(hash), known, |known| spread(known.hash));
        Some(new)
    }

    pub(crate) fn done(self) -> Arena<T> {
        Arena(self.items)
    }
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            items: large_vec(),
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

fn half(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// Hash tables use the first and the last bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn lists_come_back_and_equal_ones_are_one(lists: Vec<Vec<u16>>) {
            let mut interner = Interner::default();
            let places: Vec<List> = lists.iter().map(|list| interner.intern(list).unwrap()).collect();
            for (list, place) in lists.iter().zip(&places) {
                assert_eq!(interner.intern(list), Some(*place));
            }
            let arena = interner.done();
            for (list, place) in lists.iter().zip(&places) {
                assert_eq!(arena.get(*place), list);
            }
        }
    }
}
