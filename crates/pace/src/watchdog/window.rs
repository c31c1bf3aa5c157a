//! The last values of a series, also in order of size.

use std::collections::VecDeque;

/// The last `limit` values, with their median and largest at hand. It grows with what is in it: 8 bytes a value.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: usize,
    arrived: VecDeque<f32>,
    sorted: Vec<f32>,
}

// === impl Window ===

impl Window {
    /// Holds `limit` values, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            arrived: VecDeque::new(),
            sorted: Vec::new(),
        }
    }

    /// Takes in a value; the oldest makes room.
    pub(super) fn push(&mut self, value: f32) {
        if self.arrived.len() == self.limit
            && let Some(oldest) = self.arrived.pop_front()
        {
            let at = self
                .sorted
                .partition_point(|other| other.total_cmp(&oldest).is_lt());
            self.sorted.remove(at);
        }
        let at = self
            .sorted
            .partition_point(|other| other.total_cmp(&value).is_lt());
        self.sorted.insert(at, value);
        self.arrived.push_back(value);
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The part of the window that is filled, up to 1.
    pub(super) fn filled(&self) -> f64 {
        self.len() as f64 / self.limit as f64
    }

    /// The upper median.
    pub(super) fn median(&self) -> Option<f64> {
        self.sorted.get(self.len() / 2).copied().map(f64::from)
    }

    pub(super) fn largest(&self) -> Option<f64> {
        self.sorted.last().copied().map(f64::from)
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
        }
    }
}
