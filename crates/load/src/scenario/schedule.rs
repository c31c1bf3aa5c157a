//! The stages over time: how many users there are, or when arrivals come.
//!
//! Every shard computes its part from the same schedule, so that it needs no messages while the test runs: user `n` and
//! arrival `n` belong to shard `n mod shards`.

use std::time::Duration;

use super::model::{Scenario, Stage};

/// All segments, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// In order, without gaps.
    pub segments: Vec<Segment>,
}

/// A part of the test in which the load is constant or changes linearly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// The time since the test began.
    pub start: Duration,
    /// The duration.
    pub length: Duration,
    /// The load.
    pub kind: Kind,
}

/// The load of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The number of users at the start and at the end.
    Users(u64, u64),
    /// Arrivals per second at the start and at the end, and the most users.
    Arrivals(f64, f64, u64),
}

/// The intended starts of a shard's arrivals, in order.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    schedule: Schedule,
    segment: usize,
    /// The next arrival's number within the segment.
    number: u64,
    shard: u64,
    shards: u64,
}

impl Scenario {
    /// The number of users or arrivals over time.
    pub fn schedule(&self) -> Schedule {
        Schedule::new(&self.stages)
    }
}

// === impl Schedule ===

impl Schedule {
    pub(crate) fn new(stages: &[Stage]) -> Self {
        let mut segments = Vec::new();
        let mut start = Duration::ZERO;
        let mut users = 0;
        let mut open: Option<(f64, u64)> = None;
        for stage in stages {
            let (length, kind) = match *stage {
                Stage::Ramp { to, over } => {
                    let from = if open.is_some() { 0 } else { users };
                    (users, open) = (to, None);
                    (over, Kind::Users(from, to))
                }
                Stage::Users { users: count, time } => {
                    (users, open) = (count, None);
                    (time, Kind::Users(count, count))
                }
                Stage::Hold(time) => match open {
                    Some((rate, most)) => (time, Kind::Arrivals(rate, rate, most)),
                    None => (time, Kind::Users(users, users)),
                },
                Stage::Arrive {
                    rate,
                    time,
                    ramp,
                    max_users,
                } => {
                    let from = match (ramp, open) {
                        (false, _) => rate,
                        (true, Some((before, _))) => before,
                        (true, None) => 0.0,
                    };
                    open = Some((rate, max_users));
                    (time, Kind::Arrivals(from, rate, max_users))
                }
            };
            segments.push(Segment { start, length, kind });
            start += length;
        }
        Self { segments }
    }

    /// The duration of the test.
    pub fn length(&self) -> Duration {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The end of the ramps at the beginning; zero if the first stage is none.
    pub fn ramp_end(&self) -> Duration {
        self.segments
            .iter()
            .take_while(|segment| !segment.kind.is_steady())
            .map(|segment| segment.length)
            .sum()
    }

    /// Whether there is no user and no arrival.
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| {
            segment.length.is_zero()
                || match segment.kind {
                    Kind::Users(from, to) => from.max(to) == 0,
                    Kind::Arrivals(from, to, _) => from.max(to) <= 0.0,
                }
        })
    }

    /// The most users at once.
    pub fn most_users(&self) -> u64 {
        let most = self.segments.iter().map(|segment| match segment.kind {
            Kind::Users(from, to) => from.max(to),
            Kind::Arrivals(_, _, most) => most,
        });
        most.max().unwrap_or(0)
    }

    /// The number of users of the closed model at a moment; 0 after the end.
    pub fn users_at(&self, now: Duration) -> u64 {
        let Some(segment) = self.at(now) else { return 0 };
        let Kind::Users(from, to) = segment.kind else {
            return 0;
        };
        let inside = now.saturating_sub(segment.start).as_secs_f64();
        let share = inside / segment.length.as_secs_f64().max(f64::MIN_POSITIVE);
        let (low, high) = (from as f64, to as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two numbers of users"
        )]
        let users = (low + (high - low) * share).round() as u64;
        // An increase begins with its first user.
        if to > from { users.max(from + 1) } else { users }
    }

    /// The most users of the open model at a moment.
    pub(crate) fn open_users_at(&self, now: Duration) -> u64 {
        match self.at(now).map(|segment| segment.kind) {
            Some(Kind::Arrivals(_, _, most)) => most,
            _ => 0,
        }
    }

    fn at(&self, now: Duration) -> Option<&Segment> {
        let mut segments = self.segments.iter();
        segments.find(|segment| now < segment.start + segment.length)
    }

    pub(crate) fn arrivals(&self, shard: u64, shards: u64) -> Arrivals {
        Arrivals {
            schedule: self.clone(),
            segment: 0,
            number: shard,
            shard,
            shards: shards.max(1),
        }
    }
}

impl Kind {
    /// Whether the load does not change.
    pub(crate) fn is_steady(&self) -> bool {
        match self {
            Kind::Users(from, to) => from == to,
            Kind::Arrivals(from, to, _) => (from - to).abs() <= f64::EPSILON,
        }
    }
}

// === impl Arrivals ===

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let segment = self.schedule.segments.get(self.segment)?;
            if let Kind::Arrivals(from, to, _) = segment.kind
                && let Some(at) = arrival(self.number as f64, from, to, segment.length.as_secs_f64())
            {
                self.number += self.shards;
                return Some(segment.start + Duration::from_secs_f64(at));
            }
            self.segment += 1;
            self.number = self.shard;
        }
    }
}

/// When the arrival `number` of a segment comes, in seconds since its start: the area below the rate reaches `number`.
/// None if that is after the segment's end.
fn arrival(number: f64, from: f64, to: f64, length: f64) -> Option<f64> {
    let slope = (to - from) / length.max(f64::MIN_POSITIVE);
    let at = if slope.abs() < 1e-9 {
        if from <= 0.0 {
            return None;
        }
        number / from
    } else {
        // Solves from·t + slope·t²/2 = number, in the form that does not cancel.
        let root = from.mul_add(from, 2.0 * slope * number);
        if root < 0.0 {
            return None;
        }
        let below = from + root.sqrt();
        if below <= 0.0 { 0.0 } else { 2.0 * number / below }
    };
    (at < length).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn users_follow_the_stages() {
        let schedule = Schedule::new(&[
            Stage::Ramp {
                to: 100,
                over: 10 * S,
            },
            Stage::Hold(5 * S),
            Stage::Users { users: 7, time: S },
            Stage::Ramp { to: 0, over: 7 * S },
        ]);
        let seen: Vec<u64> = [0, 5, 10, 14, 15, 16, 19, 23]
            .map(|at| schedule.users_at(at * S))
            .into();
        assert_eq!(seen, [1, 50, 100, 100, 7, 7, 4, 0]);
        assert_eq!(schedule.length(), 23 * S);
        assert_eq!(schedule.ramp_end(), 10 * S);
        assert_eq!(schedule.arrivals(0, 1).next(), None);
    }

    #[test]
    fn the_number_of_arrivals_follows_the_rate() {
        let schedule = Schedule::new(&[
            Stage::Arrive {
                rate: 100.0,
                time: 10 * S,
                ramp: true,
                max_users: 10,
            },
            Stage::Hold(2 * S),
        ]);
        let all: Vec<Duration> = schedule.arrivals(0, 1).collect();
        assert_eq!(all.len(), 500 + 200);
        assert!(all.is_sorted());
        let mut parts: Vec<Duration> = schedule
            .arrivals(0, 3)
            .chain(schedule.arrivals(1, 3))
            .chain(schedule.arrivals(2, 3))
            .collect();
        parts.sort();
        assert_eq!(parts, all);
    }

    proptest::proptest! {
        #[test]
        fn arrivals_are_in_order(from in 0.0f64..1e5, to in 0.0f64..1e5, length in 0.0f64..100.0) {
            let mut last = 0.0;
            for number in 0..2000 {
                let Some(at) = arrival(f64::from(number), from, to, length) else { break };
                proptest::prop_assert!(at >= last && at < length);
                last = at;
            }
        }
    }
}
