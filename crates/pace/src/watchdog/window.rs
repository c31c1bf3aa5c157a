//! The last values of a series, also sorted.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// The last `limit` values, with their median and maximum at hand. It grows as needed: 12 bytes per value.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: usize,
    arrived: VecDeque<f32>,
    /// Values with their arrival numbers, which wrap around.
    sorted: Vec<(f32, u32)>,
    /// The next arrival number.
    next: u32,
}

// === impl Window ===

impl Window {
    /// A window of `limit` values, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            arrived: VecDeque::new(),
            sorted: Vec::new(),
            next: 0,
        }
    }

    /// Adds a value, and removes the oldest if the window is full.
    pub(super) fn push(&mut self, value: f32) {
        if self.arrived.len() == self.limit
            && let Some(oldest) = self.arrived.pop_front()
        {
            // Among equal values the oldest comes first.
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

    /// The values from the largest down, each with the number of values that arrived after it.
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
