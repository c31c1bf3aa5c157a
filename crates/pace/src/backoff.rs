//! Delays between tries.

use std::time::Duration;

use fastrand::Rng;

/// Exponential back-off with full jitter: before try *n* + 1, a uniformly random time up to `base · 2ⁿ`, at most `cap`.
///
/// Full jitter spreads the tries of many hosts best (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    waits: u32,
    random: Rng,
}

// === impl Backoff ===

impl Backoff {
    /// Starts with waits of up to `base`; none exceeds `cap`. The same seed gives the same waits.
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            base,
            cap,
            waits: 0,
            random: Rng::with_seed(seed),
        }
    }

    /// How long to wait before the next try.
    pub fn wait(&mut self) -> Duration {
        let longest = self.longest();
        self.waits = self.waits.saturating_add(1);
        longest.mul_f64(self.random.f64())
    }

    /// The upper bound of the next wait.
    pub fn longest(&self) -> Duration {
        let factor = 1u32.checked_shl(self.waits).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.waits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn waits_stay_in_their_bounds(base_ms in 0u64..10_000, cap_ms in 0u64..100_000, seed: u64, waits in 0usize..80) {
            let (base, cap) = (Duration::from_millis(base_ms), Duration::from_millis(cap_ms));
            let mut backoff = Backoff::new(base, cap, seed);
            let mut again = backoff.clone();
            for number in 0..waits {
                let longest = backoff.longest();
                proptest::prop_assert!(longest <= cap);
                if number < 31 {
                    proptest::prop_assert_eq!(longest, (base * (1 << number)).min(cap));
                }
                let wait = backoff.wait();
                proptest::prop_assert!(wait <= longest);
                proptest::prop_assert_eq!(wait, again.wait());
            }
            backoff.reset();
            proptest::prop_assert_eq!(backoff.longest(), base.min(cap));
        }
    }
}
