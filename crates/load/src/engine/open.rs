//! Arrivals of the open model. They come when the schedule says, whether or not a user is free.
//!
//! Two cursors move over the same schedule: one counts the arrivals that are due, the other has the intended time of the
//! next one that starts. The arrivals between them wait, and take no memory.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::rc::Rc;
use std::time::Duration;

use super::signal::{ON_TIME, Signal};
use crate::scenario::{ArrivalsOf, Schedule};

/// A shard's arrivals.
pub(crate) struct Open {
    due: Peekable<ArrivalsOf>,
    start: ArrivalsOf,
    waiting: u64,
    /// Users that wait for an arrival.
    idle: VecDeque<Rc<Signal>>,
}

/// Arrivals that became due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) arrived: u64,
    /// How many users are needed in addition to the free ones.
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

    /// Counts the arrivals that are due by `now`, and wakes free users.
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

    /// Takes the next waiting arrival and returns its delay. If none waits, `signal` is woken later.
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

    /// The number of arrivals that are due and have not started.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Gives up the waiting arrivals; returns their number.
    pub(crate) fn abandon(&mut self) -> u64 {
        let waiting = std::mem::take(&mut self.waiting);
        for _ in 0..waiting {
            self.start.next();
        }
        waiting
    }

    /// Stops the free users.
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
