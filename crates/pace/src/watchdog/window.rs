//! The last values of a series, also in order of size.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// The last `limit` values, with their median and largest at hand. It grows with what is in it: 12 bytes a value.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: usize,
    arrived: VecDeque<f32>,
    /// Values with the number of their arrival, which wraps around.
    sorted: Vec<(f32, u32)>,
    /// The number of the next arrival.
    next: u32,
}

// === impl Window ===

impl Window {
    /// Holds `limit` values, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            arrived: VecDeque::new(),
            sorted: Vec::new(),
            next: 0,
        }
    }

    /// Takes in a value; the oldest makes room.
    pub(super) fn push(&mut self, value: f32) {
        if self.arrived.len() == self.limit
            && let Some(oldest) = self.arrived.pop_front()
        {
            // Of equal values the oldest stands first.
            self.sorted.remove(self.place(oldest, Ordering::is_lt));
        }
        let at = self.place(value, Ordering::is_le);
        self.sorted.insert(at, (value, self.next));
        self.next = self.next.wrapping_add(1);
        self.arrived.push_back(value);
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The upper median.
    pub(super) fn median(&self) -> Option<f64> {
        let (value, _) = self.sorted.get(self.len() / 2)?;
        Some((*value).into())
    }

    pub(super) fn largest(&self) -> Option<f64> {
        let (value, _) = self.sorted.last()?;
        Some((*value).into())
    }

    /// From the largest down, each with how many values arrived after it.
    pub(super) fn descending(&self) -> impl Iterator<Item = (f64, u32)> {
        let age = |arrival: u32| self.next.wrapping_sub(arrival).wrapping_sub(1);
        self.sorted
            .iter()
            .rev()
            .map(move |(value, arrival)| (f64::from(*value), age(*arrival)))
    }

    fn place(&self, value: f32, before: impl Fn(Ordering) -> bool) -> usize {
        self.sorted
            .partition_point(|(other, _)| before(other.total_cmp(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_holds_the_last_values(values in proptest::collection::vec(-5i16..5, 1..200), limit in 1usize..50) {
            let mut window = Window::new(limit);
            for value in &values {
                window.push((*value).into());
            }
            let mut last: Vec<f64> = values.iter().rev().take(limit).copied().map(f64::from).collect();
            last.sort_by(f64::total_cmp);
            proptest::prop_assert_eq!(window.len(), last.len());
            proptest::prop_assert_eq!(window.median(), last.get(last.len() / 2).copied());
            proptest::prop_assert_eq!(window.largest(), last.last().copied());
            for (value, age) in window.descending() {
                let arrived = values[values.len() - 1 - usize::try_from(age).unwrap()];
                proptest::prop_assert_eq!(value.total_cmp(&f64::from(arrived)), Ordering::Equal);
            }
        }
    }
}
