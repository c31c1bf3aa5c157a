//! How many handshakes this machine can run at once, judged by the lateness of its timers.

use std::time::Duration;

/// A tick this late means that the CPU is overloaded.
const LATE: Duration = Duration::from_millis(8);

/// Adapts the global handshake limit to the controller's own CPU: it grows by an eighth while it is used up and ticks
/// are on time, and shrinks by a quarter when ticks are late. Nothing that hosts do changes it.
#[derive(Debug, Clone)]
pub struct Governor {
    limit: usize,
    least: usize,
    most: usize,
}

// === impl Governor ===

impl Governor {
    /// The interval at which to call [`observe`](Self::observe).
    pub const TICK: Duration = Duration::from_millis(50);

    /// Starts at `limit` and stays within `least` and `most`.
    pub fn new(limit: usize, least: usize, most: usize) -> Self {
        let least = least.max(1);
        let most = most.max(least);
        Self {
            limit: limit.clamp(least, most),
            least,
            most,
        }
    }

    /// The current limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Sets the upper bound, at least `least`: memory or CPU pressure may permit fewer than planned.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(self.least);
        self.limit = self.limit.min(self.most);
    }

    /// Records how late a tick was and whether the limit was used up; returns the new limit.
    pub fn observe(&mut self, lateness: Duration, used_up: bool) -> usize {
        if lateness > LATE {
            self.limit = (self.limit - self.limit.div_ceil(4)).max(self.least);
        } else if used_up {
            self.limit = (self.limit + (self.limit / 8).max(1)).min(self.most);
        }
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_grows_on_an_idle_machine_and_shrinks_on_a_late_one() {
        let mut governor = Governor::new(16, 4, 512);
        for _ in 0..60 {
            governor.observe(Duration::ZERO, true);
        }
        assert_eq!(governor.limit(), 512);
        assert_eq!(governor.observe(Duration::from_millis(20), true), 384);
        for _ in 0..60 {
            governor.observe(Duration::from_millis(20), true);
        }
        assert_eq!(governor.limit(), 4);
        assert_eq!(governor.observe(Duration::ZERO, false), 4);
        governor.set_most(2);
        assert_eq!(governor.observe(Duration::ZERO, true), 4);
        governor.set_most(5);
        assert_eq!(
            [
                governor.observe(Duration::ZERO, true),
                governor.observe(Duration::ZERO, true)
            ],
            [5, 5]
        );
    }

    proptest::proptest! {
        #[test]
        fn it_stays_within_its_bounds(start: u16, ticks in proptest::collection::vec((0u64..30, proptest::bool::ANY), 0..200)) {
            let mut governor = Governor::new(start.into(), 4, 512);
            for (late, used) in ticks {
                let limit = governor.observe(Duration::from_millis(late), used);
                proptest::prop_assert!((4..=512).contains(&limit));
            }
        }
    }
}
