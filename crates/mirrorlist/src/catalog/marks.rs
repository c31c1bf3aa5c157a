//! Numbers in ascending order, each once, without sorting: a directory has a hundred of a thousand hosts.

use super::HostNumber;

/// A set of numbers, with a bit for each.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<u64>);

// === impl Marks ===

impl Marks {
    /// Adds a number. Returns whether it is new.
    pub(super) fn add(&mut self, number: HostNumber) -> bool {
        let (place, bit) = (usize::from(number / 64), 1_u64 << (number % 64));
        if place >= self.0.len() {
            self.0.resize(place + 1, 0);
        }
        let word = &mut self.0[place];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Returns all numbers, and empties the set.
    pub(super) fn drain(&mut self, mut each: impl FnMut(HostNumber)) {
        for (place, word) in (0..=HostNumber::MAX / 64).zip(&mut self.0) {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                let bit = HostNumber::try_from(bits.trailing_zeros()).unwrap_or_default();
                each(place * 64 + bit);
                bits &= bits - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn they_are_sorted_and_each_is_there_once(numbers: Vec<HostNumber>) {
            let mut marks = Marks::default();
            let mut expected: Vec<HostNumber> = Vec::new();
            for number in &numbers {
                assert_eq!(marks.add(*number), !expected.contains(number));
                if !expected.contains(number) {
                    expected.push(*number);
                }
            }
            expected.sort_unstable();
            for expected in [expected, Vec::new()] {
                let mut found = Vec::new();
                marks.drain(|number| found.push(number));
                assert_eq!(found, expected);
            }
        }
    }
}
