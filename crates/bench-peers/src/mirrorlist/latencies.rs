//! How long requests took.

use std::time::Duration;

/// Counts of durations, to 3 %.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    worst: Duration,
    number: u64,
}

/// Steps of a doubling.
const STEPS: u64 = 32;

// === impl Latencies ===

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        self.counts[place(micros(took))] += 1;
        self.worst = self.worst.max(took);
        self.number += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.worst = self.worst.max(other.worst);
        self.number += other.number;
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn worst(&self) -> Duration {
        self.worst
    }

    /// What a share of the requests did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.number as f64 * share).ceil();
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return Duration::from_micros(upper_end(place)).min(self.worst);
            }
        }
        self.worst
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * 32],
            worst: Duration::ZERO,
            number: 0,
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Below 32 µs each microsecond has a place of its own; above, each doubling has 32.
fn place(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = u64::from(micros.ilog2()) - 5;
    let place = (doubling + 1) * STEPS + ((micros >> doubling) - STEPS);
    usize::try_from(place).unwrap_or(0)
}

fn upper_end(place: usize) -> u64 {
    let place = place as u64;
    if place < STEPS {
        return place;
    }
    let doubling = place / STEPS - 1;
    ((place % STEPS + STEPS + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_percent() {
        let mut latencies = Latencies::default();
        for micros in 1..=100_000 {
            latencies.add(Duration::from_micros(micros));
        }
        for (share, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.001, 100.0)] {
            let found = latencies.quantile(share).as_secs_f64() * 1e6;
            assert!((found / exact - 1.0).abs() < 0.035, "{share}: {found}");
        }
        assert_eq!(latencies.worst(), Duration::from_millis(100));
    }
}
