//! A limit on retries for the whole fleet.

use std::time::Duration;

use tokio::time::Instant;

/// A fleet-wide limit on recoveries: a share of the recent dispatches, and a floor for small fleets.
///
/// Without it, a fault that hits every host (a mirror, the network) makes every host retry.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    share: f64,
    floor: f64,
    started: Instant,
    /// One slot per second of the window.
    slots: [Slot; WINDOW_S],
}

/// What happened in one second.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    dispatched: u32,
    withdrawn: u32,
}

/// The window of a [`RetryBudget`], in seconds.
const WINDOW_S: usize = 10;

// === impl RetryBudget ===

impl RetryBudget {
    /// Permits `share` of the dispatches of the last ten seconds, and at least `floor` a second.
    pub fn new(share: f64, floor: f64, now: Instant) -> Self {
        Self {
            share: share.max(0.0),
            floor: floor.max(0.0),
            started: now,
            slots: [Slot::default(); WINDOW_S],
        }
    }

    /// Records a dispatch.
    pub fn dispatched(&mut self, now: Instant) {
        let slot = self.slot(now);
        slot.dispatched = slot.dispatched.saturating_add(1);
    }

    /// Takes one recovery; returns false if the budget is used up for now.
    #[must_use]
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let some = self.left(now) >= 1.0;
        if some {
            let slot = self.slot(now);
            slot.withdrawn = slot.withdrawn.saturating_add(1);
        }
        some
    }

    /// The recoveries available now.
    pub fn left(&self, now: Instant) -> f64 {
        let second = self.second(now);
        let (mut dispatched, mut withdrawn) = (0.0, 0.0);
        for slot in self.slots {
            if slot.second + WINDOW_S as u64 > second {
                dispatched += f64::from(slot.dispatched);
                withdrawn += f64::from(slot.withdrawn);
            }
        }
        (self.share * dispatched).max(self.floor * WINDOW_S as f64) - withdrawn
    }

    /// How long to wait before asking again.
    pub fn pause(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn slot(&mut self, now: Instant) -> &mut Slot {
        let second = self.second(now);
        // The remainder is less than the number of slots.
        let index = usize::try_from(second % WINDOW_S as u64).unwrap_or_default();
        let slot = &mut self.slots[index];
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::default()
            };
        }
        slot
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs()
    }
}

impl Default for RetryBudget {
    /// A fifth of the dispatches, and at least 10 a second.
    fn default() -> Self {
        Self::new(0.2, 10.0, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn never_more_than_the_share_or_the_floor(seconds in proptest::collection::vec((0u32..300, 0u32..300), 1..40)) {
            let start = Instant::now();
            let mut budget = RetryBudget::new(0.2, 10.0, start);
            let mut taken = Vec::new();
            for (second, (dispatched, wanted)) in seconds.iter().enumerate() {
                let now = start + Duration::from_secs(second as u64);
                for _ in 0..*dispatched {
                    budget.dispatched(now);
                }
                taken.push((0..*wanted).filter(|_| budget.withdraw(now)).count());
                let from = (second + 1).saturating_sub(WINDOW_S);
                let lately: u32 = seconds[from..=second].iter().map(|(dispatched, _)| dispatched).sum();
                let most = (f64::from(lately) * 0.2).max(100.0);
                let in_window = taken[from..].iter().sum::<usize>();
                // Recoveries taken against dispatches that have left the window stay taken.
                proptest::prop_assert!(*taken.last().unwrap() == 0 || in_window as f64 <= most);
            }
        }
    }

    #[test]
    fn recoveries_are_a_share_of_the_dispatches() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(0.2, 1.0, start);
        let withdraw = |budget: &mut RetryBudget, now| (0..1000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(withdraw(&mut budget, start), 10, "the floor");
        for _ in 0..200 {
            budget.dispatched(start);
        }
        assert_eq!(withdraw(&mut budget, start), 30, "the share, less what was taken");
        let soon = start + Duration::from_secs(9);
        assert_eq!(withdraw(&mut budget, soon), 0);
        let later = start + Duration::from_secs(10);
        assert_eq!(withdraw(&mut budget, later), 10);
    }
}
