//! Known offers, by their bytes in the data: a host with the same URLs appears in thousands of directories, each time
//! as the same few bytes.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::HostNumber;

/// A host, and the number of the offer.
pub(super) type Offer = (HostNumber, u32);

/// Offers by their bytes.
#[derive(Debug, Default)]
pub(super) struct KnownOffers {
    short: HashTable<(Short, Offer)>,
    hasher: DefaultHashBuilder,
    /// Offers of hosts with many URLs.
    long: HashMap<Box<[u8]>, Offer>,
}

/// Up to 16 bytes: the first and the last eight, which may overlap, and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short {
    first: u64,
    last: u64,
    length: u8,
}

// === impl KnownOffers ===

impl KnownOffers {
    #[inline]
    pub(super) fn get(&self, message: &[u8]) -> Option<Offer> {
        match Short::of(message) {
            Some(short) => self
                .short
                .find(short.hash(&self.hasher), |(known, _)| *known == short)
                .map(|(_, offer)| *offer),
            None => self.long.get(message).copied(),
        }
    }

    pub(super) fn insert(&mut self, message: &[u8], offer: Offer) {
        let Some(short) = Short::of(message) else {
            self.long.insert(message.into(), offer);
            return;
        };
        let hasher = &self.hasher;
        self.short
            .insert_unique(short.hash(hasher), (short, offer), |(short, _)| {
                short.hash(hasher)
            });
    }
}

// === impl Short ===

impl Short {
    #[inline]
    fn of(message: &[u8]) -> Option<Self> {
        let (mut first, mut last) = ([0; 8], [0; 8]);
        if let (Some(start), Some(end)) = (message.first_chunk(), message.last_chunk()) {
            (first, last) = (*start, *end);
        } else {
            first[..message.len()].copy_from_slice(message);
        }
        Some(Self {
            first: u64::from_le_bytes(first),
            last: u64::from_le_bytes(last),
            length: u8::try_from(message.len()).ok().filter(|length| *length <= 16)?,
        })
    }

    fn hash(self, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one(u128::from(self.first) << 64 | u128::from(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_message_has_its_own_offer(messages in proptest::collection::hash_set(
            proptest::collection::vec(0_u8..3, 0..20), 0..200)
        ) {
            let mut known = KnownOffers::default();
            for (number, message) in (0..).zip(&messages) {
                assert_eq!(known.get(message), None);
                known.insert(message, (7, number));
            }
            for (number, message) in (0..).zip(&messages) {
                assert_eq!(known.get(message), Some((7, number)));
            }
        }
    }
}
