//! The replay: hosts that run a command at the same time, batch after batch, under one rule.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use reveille_pace::watchdog::{Cohort, Ending, Extensions};
use tokio::time::Instant;

use super::data::Stream;
use super::rules::{Kind, LEAST, Rule};
use super::tally::Tally;

/// One replay of all streams.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) kind: Kind,
    /// The probability that an attempt hangs.
    pub(super) hang_share: f64,
    /// Hosts at a time.
    pub(super) hosts: usize,
    /// Runs that are counted, by their number in the stream.
    pub(super) judged: Range<usize>,
    pub(super) seed: u64,
}

/// Runs that are counted: all after 50 that only teach.
pub(super) const JUDGED: Range<usize> = 50..usize::MAX;
/// Runs of a class with few samples.
pub(super) const YOUNG: Range<usize> = LEAST..100;
/// Tries of a run.
const TRIES: u32 = 3;
/// The part of a deadline after which an attempt counts as overdue; as in `Watch`.
const NEAR: f64 = 0.9;

/// One host's run.
#[derive(Debug, Default)]
struct Host {
    took: f64,
    judged: bool,
    attempt: u32,
    hangs: bool,
    /// Healthy attempts that were killed.
    wronged: u32,
    overdue: bool,
    /// Nanoseconds since the batch began.
    started: u64,
    /// The deadline of this attempt, before extensions.
    first_limit: Option<f64>,
    /// The current deadline, counted from the start of the attempt.
    limit: Option<f64>,
    /// The deadline of the first attempt, before extensions.
    first: Option<f64>,
    together: Extensions,
}

/// Something that happens to a host. Events are ordered by time; at equal times, ends come first and judgements last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    /// Nanoseconds since the batch began.
    at: u64,
    what: What,
    host: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Ends,
    Nears,
    Passes,
}

/// A batch in progress.
#[derive(Debug)]
struct Batch<'a> {
    rule: &'a mut Rule,
    tally: &'a mut Tally,
    hang_share: f64,
    random: Rng,
    hosts: Vec<Host>,
    cohort: Cohort,
    begin: Instant,
    events: BinaryHeap<Reverse<Event>>,
}

// === impl Replay ===

impl Replay {
    pub(super) fn run(&self, streams: &[Stream]) -> Tally {
        let mut tally = Tally::default();
        let begin = Instant::now();
        for (number, stream) in (0u64..).zip(streams) {
            let mut rule = self.kind.rule();
            let mut first = 0;
            // One host at a time until all rules judge.
            while first < stream.durations.len() && first < self.judged.end {
                let size = if first < LEAST { 1 } else { self.hosts };
                let last = (first + size).min(stream.durations.len());
                let hosts = (first..last)
                    .map(|run| Host {
                        took: stream.durations[run],
                        judged: self.judged.contains(&run),
                        ..Host::default()
                    })
                    .collect();
                let seed = self.seed ^ (number << 40) ^ (u64::try_from(first).unwrap_or_default() << 8);
                let batch = Batch {
                    rule: &mut rule,
                    tally: &mut tally,
                    hang_share: if first < LEAST { 0.0 } else { self.hang_share },
                    // The same attempts hang with each rule, as long as the tries are the same.
                    random: Rng::with_seed(seed),
                    hosts,
                    cohort: Cohort::default(),
                    begin,
                    events: BinaryHeap::new(),
                };
                batch.run();
                first = last;
            }
        }
        tally
    }
}

// === impl Batch ===

impl Batch<'_> {
    fn run(mut self) {
        for host in 0..self.hosts.len() {
            self.start(host, 0);
        }
        while let Some(Reverse(event)) = self.events.pop() {
            let host = &self.hosts[event.host];
            let begun = host.started;
            let due = host.limit.map_or(u64::MAX, |limit| begun + nanoseconds(limit));
            match event.what {
                What::Ends => self.ends(event),
                What::Nears => {
                    self.hosts[event.host].overdue = true;
                    self.cohort.overdue();
                }
                What::Passes if event.at == due => self.passes(event),
                What::Passes => {}
            }
        }
    }

    fn start(&mut self, number: usize, at: u64) {
        let host = &mut self.hosts[number];
        host.attempt += 1;
        host.started = at;
        host.overdue = false;
        host.hangs = self.random.f64() < self.hang_share;
        host.limit = self.rule.deadline(host.attempt);
        host.first_limit = host.limit;
        if host.attempt == 1 {
            host.first = host.limit;
        }
        // Nothing would end a hang without a deadline, so there are none.
        host.hangs &= host.limit.is_some();
        host.together = Extensions::default();
        self.cohort.started();
        let ends = nanoseconds(host.took);
        let limit = host.limit.map(nanoseconds);
        let in_time = !host.hangs && limit.is_none_or(|limit| ends <= limit);
        let near = host.limit.map(|limit| nanoseconds(limit * NEAR));
        if in_time {
            self.push(number, What::Ends, at + ends);
            if near.is_none_or(|near| ends <= near) {
                return;
            }
        }
        if let Some((near, limit)) = near.zip(limit) {
            self.push(number, What::Nears, at + near);
            self.push(number, What::Passes, at + limit);
        }
    }

    fn push(&mut self, host: usize, what: What, at: u64) {
        self.events.push(Reverse(Event { at, what, host }));
    }

    fn ends(&mut self, event: Event) {
        let host = &mut self.hosts[event.host];
        let overdue = std::mem::take(&mut host.overdue);
        let now = self.begin + Duration::from_nanos(event.at);
        let late = host
            .first_limit
            .is_some_and(|limit| event.at - host.started > nanoseconds(limit));
        let ending = if late { Ending::Late } else { Ending::InTime };
        self.cohort.ended(now, overdue, ending);
        self.rule.resolved(host.took, host.first);
        // Later events of this attempt have no effect.
        host.limit = None;
        if host.judged {
            self.tally.healthy += 1;
            self.close(event.host, false);
        }
    }

    /// The deadline passes.
    fn passes(&mut self, event: Event) {
        let now = self.begin + Duration::from_nanos(event.at);
        let host = &mut self.hosts[event.host];
        let Some(limit) = host.limit else { return };
        let together = self
            .rule
            .knows_cohorts()
            .then(|| self.cohort.together(now, Duration::from_secs_f64(limit)))
            .flatten();
        if let Some(together) = together
            && host.together.may_help(together)
        {
            host.together.extended(together);
            let limit = limit * 2.0;
            host.limit = Some(limit);
            if host.attempt == 1 && host.judged {
                self.tally.stretch += limit / 2.0 / host.took;
            }
            let (begun, limit, ends) = (host.started, nanoseconds(limit), nanoseconds(host.took));
            if !host.hangs && ends <= limit {
                self.push(event.host, What::Ends, begun + ends);
            } else {
                self.push(event.host, What::Passes, begun + limit);
            }
            return;
        }
        let (overdue, hangs, judged) = (host.overdue, host.hangs, host.judged);
        host.wronged += u32::from(!hangs);
        let (took, again) = (host.took, host.attempt < TRIES);
        self.cohort.ended(now, overdue, Ending::Otherwise);
        if judged {
            if hangs {
                self.tally.hangs += 1;
                self.tally.found += 1;
                self.tally.wait_s += limit;
                self.tally.wait_stretch += limit / took;
            } else {
                self.tally.healthy += 1;
                self.tally.false_kills += 1;
            }
        }
        if again {
            self.start(event.host, event.at);
            return;
        }
        self.rule.given_up();
        if judged {
            self.close(event.host, true);
        }
    }

    fn close(&mut self, number: usize, given_up: bool) {
        let host = &self.hosts[number];
        self.tally.runs += 1;
        self.tally.abandoned += u64::from(given_up && host.wronged > 0);
        self.tally.stretch += host.first.map_or(0.0, |first| first / host.took);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations are positive, and an `as` cast saturates"
)]
fn nanoseconds(seconds: f64) -> u64 {
    // At most a day, so that sums do not overflow.
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(kind: Kind, hang_share: f64, hosts: usize, durations: Vec<f64>) -> Tally {
        let replay = Replay {
            kind,
            hang_share,
            hosts,
            judged: JUDGED,
            seed: 1,
        };
        replay.run(&[Stream { durations }])
    }

    #[test]
    fn a_steady_class_loses_nothing() {
        for kind in [Kind::Reveille, Kind::Phi, Kind::Medians] {
            let tally = replay(kind, 0.0, 1, vec![5.0; 300]);
            assert_eq!(
                (tally.runs, tally.healthy, tally.false_kills),
                (250, 250, 0),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_class_that_became_far_slower_is_learned_again() {
        let mut durations = vec![5.0; 300];
        durations.extend([200.0; 300]);
        let tally = replay(Kind::Reveille, 0.0, 1, durations);
        assert!((1..=3).contains(&tally.abandoned), "{}", tally.abandoned);
    }

    #[test]
    fn hangs_are_found_and_runs_still_end() {
        let tally = replay(Kind::Reveille, 0.05, 1, vec![5.0; 3000]);
        assert_eq!(
            (tally.found, tally.false_kills, tally.abandoned),
            (tally.hangs, 0, 0)
        );
        assert!((100..250).contains(&tally.hangs), "{}", tally.hangs);
        assert!(tally.wait_s / (tally.found as f64) < 7.0);
    }

    #[test]
    fn a_killed_run_is_tried_again_and_then_known() {
        let mut durations = vec![5.0; 300];
        durations.extend([20.0; 100]);
        let one = replay(Kind::Reveille, 0.0, 1, durations.clone());
        assert_eq!((one.false_kills, one.abandoned), (2, 0));
        let many = replay(Kind::Reveille, 0.0, 64, durations);
        assert_eq!(
            (many.false_kills, many.abandoned),
            (0, 0),
            "together they are waited for"
        );
    }
}
