//! How many handshakes this machine can do at once, told by how late it is.

use std::time::Duration;

/// A tick this late means that the CPU is wanted by more than it can serve.
const LATE: Duration = Duration::from_millis(8);

/// Sets the global handshake limit after the controller's own CPU: it grows by an eighth while it is used up and ticks
/// are on time, and shrinks by a quarter when they are late. Nothing that a host does, or fails to do, moves it.
#[derive(Debug, Clone)]
pub struct Governor {
    limit: usize,
    least: usize,
    most: usize,
}

// === impl Governor ===

impl Governor {
    /// How often [`observe`](Self::observe) is meant to be called.
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

    /// The limit at this moment.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes the most, at least the least: memory or CPU pressure may allow fewer than were planned.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(self.least);
        self.limit = self.limit.min(self.most);
    }

    /// Takes in how late a tick was, and whether the limit was used up; tells the new limit.
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
    fn an_idle_machine_opens_up_and_a_late_one_closes_down() {
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
