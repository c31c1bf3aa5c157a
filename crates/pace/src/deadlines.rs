//! How long something may be silent, and how long it may take.

use std::time::Duration;

use tokio::time::Instant;

/// The deadlines of a step. Pure: the caller says what time it is and when something last moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// The longest silence.
    pub idle: Option<Duration>,
    /// The longest duration.
    pub total: Option<Duration>,
}

/// Which deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// Nothing moved for too long.
    Idle,
    /// It took too long as a whole.
    Total,
}

// === impl Deadlines ===

impl Deadlines {
    /// The deadline that passes first if nothing moves any more, and when. The total one, if both do together.
    pub fn next(&self, started: Instant, progress: Instant) -> Option<(Instant, Deadline)> {
        // A moment too far away to be expressed never comes.
        let total = self.total.and_then(|total| started.checked_add(total));
        let idle = self.idle.and_then(|idle| progress.max(started).checked_add(idle));
        match (total, idle) {
            (Some(total), Some(idle)) if idle < total => Some((idle, Deadline::Idle)),
            (Some(total), _) => Some((total, Deadline::Total)),
            (None, Some(idle)) => Some((idle, Deadline::Idle)),
            (None, None) => None,
        }
    }

    /// The deadline that has passed, if one has.
    pub fn passed(&self, started: Instant, progress: Instant, now: Instant) -> Option<Deadline> {
        self.next(started, progress)
            .filter(|(at, _)| *at <= now)
            .map(|(_, deadline)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_pass_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let both = Deadlines {
            idle: Some(Duration::from_secs(10)),
            total: Some(Duration::from_mins(1)),
        };
        assert_eq!(both.next(start, start), Some((at(10), Deadline::Idle)));
        assert_eq!(both.next(start, at(55)), Some((at(60), Deadline::Total)));
        assert_eq!(both.next(start, at(50)), Some((at(60), Deadline::Total)));
        assert_eq!(both.passed(start, at(5), at(14)), None);
        assert_eq!(both.passed(start, at(5), at(15)), Some(Deadline::Idle));
        assert_eq!(both.passed(start, at(59), at(60)), Some(Deadline::Total));
        assert_eq!(Deadlines::default().next(start, start), None);
        let endless = Deadlines {
            idle: None,
            total: Some(Duration::MAX),
        };
        assert_eq!(endless.next(start, start), None);
    }
}
