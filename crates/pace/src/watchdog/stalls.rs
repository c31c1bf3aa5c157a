//! The controller's own stalls: swap, SIGSTOP, a suspended machine.

use std::time::Duration;

use tokio::time::Instant;

/// Detects timers that fired late, and adds up the lost time. No host is killed because the controller slept: a
/// [`Watch`](super::Watch) does not count the [`lost`](Self::lost) time, so all deadlines move at once.
#[derive(Debug, Clone)]
pub struct Stalls {
    every: Duration,
    due: Instant,
    lost: Duration,
}

/// A tick later than this is a stall.
const LATE: Duration = Duration::from_secs(1);

// === impl Stalls ===

impl Stalls {
    /// Expects a tick every `every`, starting at `now`.
    pub fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            due: now + every,
            lost: Duration::ZERO,
        }
    }

    /// Records a tick. Returns how far all deadlines move if it is more than a second late. Read sockets before
    /// judging.
    pub fn tick(&mut self, now: Instant) -> Option<Duration> {
        let late = now.saturating_duration_since(self.due);
        self.due = now + self.every;
        if late <= LATE {
            return None;
        }
        self.lost = self.lost.saturating_add(late);
        Some(late)
    }

    /// All time lost so far, except by a tick that is due now: tick first, then judge.
    pub fn lost(&self) -> Duration {
        self.lost
    }

    /// When the next tick is due.
    pub fn due(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_late_ticks_count() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut stalls = Stalls::new(Duration::from_millis(250), start);
        assert_eq!(stalls.tick(at(250)), None);
        assert_eq!(stalls.tick(at(1500)), None, "exactly a second late");
        assert_eq!(stalls.tick(at(61_750)), Some(Duration::from_mins(1)));
        assert_eq!(stalls.tick(at(62_000)), None);
        assert_eq!(stalls.lost(), Duration::from_mins(1));
        assert_eq!(stalls.due(), at(62_250));
    }
}
