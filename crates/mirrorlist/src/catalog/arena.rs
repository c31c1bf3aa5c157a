//! Lists that are stored once.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::room::roomy;

/// A list in an [`Arena`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct List {
    start: u32,
    length: u32,
}

/// Many short lists, one behind the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arena<T>(Vec<T>);

/// An arena that is being filled: a list that is there already is found, not stored again. Mirrors of one project carry
/// the same sets of directories, so most lists are.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    items: Vec<T>,
    known: HashTable<List>,
    hasher: DefaultHashBuilder,
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

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        std::mem::size_of_val(self.0.as_slice())
    }
}

// === impl Interner ===

impl<T: Copy + Eq + Hash> Interner<T> {
    /// The place of a list; nothing if all lists together have more than 4,294,967,295 items.
    pub(crate) fn intern(&mut self, list: &[T]) -> Option<List> {
        let hash = self.hasher.hash_one(list);
        let items = &self.items;
        if let Some(known) = self.known.find(hash, |known| items[known.range()] == *list) {
            return Some(*known);
        }
        let new = List {
            start: u32::try_from(self.items.len()).ok()?,
            length: u32::try_from(list.len()).ok()?,
        };
        u32::try_from(self.items.len() + list.len()).ok()?;
        self.items.extend_from_slice(list);
        let (items, hasher) = (&self.items, &self.hasher);
        self.known
            .insert_unique(hash, new, |known| hasher.hash_one(&items[known.range()]));
        Some(new)
    }

    pub(crate) fn done(self) -> Arena<T> {
        Arena(self.items)
    }
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            items: roomy(),
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
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
