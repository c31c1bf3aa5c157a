//! Latencies in HDR histograms: 3 significant digits, microseconds, from 1 µs to an hour.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency, an hour, in microseconds; longer ones count as this.
const LONGEST: u64 = 3_600_000_000;

/// The most missed starts that are recorded one by one; beyond that, one entry stands for several.
const STEPS: u64 = 1000;

/// A histogram of durations.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    counts: Histogram<u64>,
    /// In microseconds. It is exact, because means of buckets are not.
    sum: u128,
}

/// The non-empty entries of a histogram, as they travel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sparse {
    entries: Vec<(u64, u64)>,
    sum: u64,
}

// === impl Latencies ===

impl Default for Latencies {
    fn default() -> Self {
        let mut counts =
            Histogram::new_with_bounds(1, 2048, 3).expect("1 to 2048 with 3 digits is a valid histogram");
        // The histogram grows with its values, so that a fast service takes little memory.
        counts.auto(true);
        Self { counts, sum: 0 }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros())
        .unwrap_or(LONGEST)
        .clamp(1, LONGEST)
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        self.record_n(micros(latency), 1);
    }

    pub(crate) fn record_some(&mut self, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.record(latency);
        }
    }

    fn record_n(&mut self, micros: u64, count: u64) {
        self.sum += u128::from(micros) * u128::from(count);
        // This can't fail: the histogram grows, and no value is longer than the longest.
        let _ = self.counts.record_n(micros, count);
    }

    /// Records a latency, and those of the requests that the user would have sent meanwhile, one every `interval` (Gil
    /// Tene's correction for coordinated omission). Returns how many requests were added.
    pub(crate) fn record_with_missed(&mut self, latency: Duration, interval: Duration) -> u64 {
        let (latency, interval) = (micros(latency), micros(interval));
        self.record_n(latency, 1);
        let missed = (latency - 1) / interval;
        let group = missed.div_ceil(STEPS).max(1);
        let mut left = missed;
        let mut value = latency;
        while left > 0 {
            let count = left.min(group);
            value = value.saturating_sub(interval * count).max(1);
            // A group is recorded at its middle.
            self.record_n(value + interval * (count - 1) / 2, count);
            left -= count;
        }
        missed
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.len()
    }

    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.counts.value_at_quantile(quantile).min(self.counts.max()))
    }

    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.sum).unwrap_or(u64::MAX))
    }

    pub(crate) fn mean(&self) -> Duration {
        let mean = self.sum.checked_div(u128::from(self.counts.len())).unwrap_or(0);
        Duration::from_micros(u64::try_from(mean).unwrap_or(LONGEST))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.counts.max())
    }

    /// Returns the values with their counts and empties the histogram.
    pub(crate) fn take(&mut self) -> Sparse {
        if self.counts.is_empty() {
            return Sparse::default();
        }
        let sparse = Sparse {
            entries: self
                .counts
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
            sum: u64::try_from(self.sum).unwrap_or(u64::MAX),
        };
        self.counts.clear();
        self.sum = 0;
        sparse
    }

    pub(crate) fn add(&mut self, sparse: &Sparse) {
        for (value, count) in &sparse.entries {
            let _ = self.counts.record_n((*value).clamp(1, LONGEST), *count);
        }
        self.sum += u128::from(sparse.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn close(left: Duration, right: Duration) -> bool {
        left.abs_diff(right) <= right / 400 + Duration::from_micros(1)
    }

    #[test]
    fn quantiles_have_three_digits() {
        let mut latencies = Latencies::default();
        assert_eq!(
            (latencies.quantile(0.5), latencies.max()),
            (Duration::ZERO, Duration::ZERO)
        );
        for number in 1..=1000 {
            latencies.record(number * MS);
        }
        assert!(close(latencies.quantile(0.5), 500 * MS));
        assert!(close(latencies.quantile(0.99), 990 * MS));
        assert!(close(latencies.max(), 1000 * MS));
        assert_eq!(latencies.mean(), Duration::from_micros(500_500));
    }

    #[test]
    fn requests_missed_in_a_stall_are_added() {
        let mut latencies = Latencies::default();
        for _ in 0..900 {
            assert_eq!(latencies.record_with_missed(MS, 10 * MS), 0);
        }
        assert_eq!(latencies.record_with_missed(1000 * MS, 10 * MS), 99);
        assert_eq!(latencies.count(), 1000);
        // 1000, 990, 980 … 10 ms: a tenth of all.
        assert!(
            close(latencies.quantile(0.95), 500 * MS),
            "{:?}",
            latencies.quantile(0.95)
        );
        assert!(close(latencies.quantile(0.5), MS));
    }

    #[test]
    fn the_work_for_missed_requests_is_bounded() {
        let mut latencies = Latencies::default();
        let hour = Duration::from_hours(1);
        let missed = latencies.record_with_missed(hour, Duration::from_micros(1));
        assert_eq!(latencies.count(), missed + 1);
        assert!(
            close(latencies.quantile(0.5), hour / 2),
            "{:?}",
            latencies.quantile(0.5)
        );
    }

    proptest::proptest! {
        #[test]
        fn entries_arrive_as_they_were(values in proptest::collection::vec(1u64..LONGEST, 0..50)) {
            let (mut here, mut there) = (Latencies::default(), Latencies::default());
            for value in &values {
                here.record(Duration::from_micros(*value));
            }
            let before = (here.count(), here.mean());
            there.add(&here.take());
            proptest::prop_assert_eq!((there.count(), there.mean()), before);
            proptest::prop_assert_eq!(here.count(), 0);
            if let Some(most) = values.iter().max() {
                let most = Duration::from_micros(*most);
                proptest::prop_assert!(there.max().abs_diff(most) <= most / 400 + Duration::from_micros(1));
            }
        }
    }
}
