//! The controller's own stalls: swap, SIGSTOP, a suspended machine.

use std::time::Duration;

use tokio::time::Instant;

/// Notices that a timer fired late, and adds up the time that was lost. No host is killed because the controller slept:
/// a [`Watch`](super::Watch) counts time without what is [`lost`](Self::lost), so all deadlines move at once.
#[derive(Debug, Clone)]
pub struct Stalls {
    every: Duration,
    due: Instant,
    lost: Duration,
}

/// A tick that is later than this is a stall.
const LATE: Duration = Duration::from_secs(1);

// === impl Stalls ===

impl Stalls {
    /// Ticks come every `every` from `now` on.
    pub fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            due: now + every,
            lost: Duration::ZERO,
        }
    }

    /// A tick. If it is more than a second late: how far all deadlines move. Sockets are read before anything is judged.
    pub fn tick(&mut self, now: Instant) -> Option<Duration> {
        let late = now.saturating_duration_since(self.due);
        self.due = now + self.every;
        if late <= LATE {
            return None;
        }
        self.lost = self.lost.saturating_add(late);
        Some(late)
    }

    /// All time lost since the beginning. Ticks that are due right now are not in it: tick first, then judge.
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
