//! Arrivals of the open model: they come when the schedule says, whether or not anybody is free.
//!
//! Two cursors walk over the same schedule: one counts the arrivals whose time has come, the other gives the intended time
//! of the next one that is started. What lies between them waits, and costs no memory however much it is.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::rc::Rc;
use std::time::Duration;

use super::user::{ON_TIME, Signal};
use crate::scenario::Schedule;

/// A shard's arrivals.
pub(crate) struct Open {
    due: Peekable<crate::scenario::ArrivalsOf>,
    start: crate::scenario::ArrivalsOf,
    waiting: u64,
    idle: VecDeque<Rc<Signal>>,
}

/// What became due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) arrived: u64,
    /// How many more users are needed than are free.
    pub(crate) wanted: u64,
}

// === impl Open ===

impl Open {
    pub(crate) fn new(schedule: &Schedule, shard: u64, shards: u64) -> Self {
        let arrivals = schedule.arrivals(shard, shards);
        Self {
            due: arrivals.clone().peekable(),
            start: arrivals,
            waiting: 0,
            idle: VecDeque::new(),
        }
    }

    /// When the next arrival comes.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        self.due.peek().copied()
    }

    /// Counts what has come by `now`, and calls those who are free.
    pub(crate) fn advance(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        while self.due.next_if(|at| *at <= now).is_some() {
            due.arrived += 1;
        }
        self.waiting += due.arrived;
        let called = self.waiting.min(self.idle.len() as u64);
        for _ in 0..called {
            if let Some(signal) = self.idle.pop_front() {
                signal.go.set(true);
                signal.wake();
            }
        }
        due.wanted = self.waiting - called;
        due
    }

    /// The next arrival that waits: how long after its time it starts `now`. Without one, `signal` is called later.
    pub(crate) fn take(&mut self, now: Duration, signal: &Rc<Signal>) -> Option<Duration> {
        if self.waiting == 0 {
            self.idle.push_back(Rc::clone(signal));
            return None;
        }
        self.waiting -= 1;
        let intended = self.start.next()?;
        let late = now.saturating_sub(intended);
        Some(if late > ON_TIME { late } else { Duration::ZERO })
    }

    /// Arrivals whose time has come, and that nobody has taken.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Gives up on what waits; returns how many that are.
    pub(crate) fn abandon(&mut self) -> u64 {
        let waiting = std::mem::take(&mut self.waiting);
        for _ in 0..waiting {
            self.start.next();
        }
        waiting
    }

    /// Those who are free leave.
    pub(crate) fn dismiss(&mut self) {
        for signal in self.idle.drain(..) {
            signal.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Stage;

    #[test]
    fn late_arrivals_wait_and_keep_their_time() {
        let second = Duration::from_secs(1);
        let schedule = Schedule::new(&[Stage::Arrive {
            rate: 10.0,
            time: second,
            ramp: false,
            max_users: 1,
        }]);
        let mut open = Open::new(&schedule, 0, 1);
        let signal = Rc::new(Signal::default());
        assert_eq!(open.take(Duration::ZERO, &signal), None);
        assert_eq!(
            open.advance(Duration::ZERO),
            Due {
                arrived: 1,
                wanted: 0
            }
        );
        assert!(signal.go.get());
        assert_eq!(open.take(Duration::ZERO, &signal), Some(Duration::ZERO));
        // Nine more come while the user is busy; the first of them was due at 100 ms.
        assert_eq!(
            open.advance(second),
            Due {
                arrived: 9,
                wanted: 9
            }
        );
        assert_eq!(open.take(second, &signal), Some(second * 9 / 10));
        assert_eq!(open.abandon(), 8);
        assert_eq!(open.next(), None);
    }
}
