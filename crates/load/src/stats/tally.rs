//! What one shard has counted since its last report.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::numbers::Numbers;
use super::{Kind, Sparse};

/// The longest example of a failure, in characters.
const MAX_EXAMPLE: usize = 200;

/// The parts of a request's time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Phases {
    pub(crate) resolve: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    /// From the sent request to the head of the answer.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) body: Option<Duration>,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct End<'a> {
    pub(crate) latency: Duration,
    /// Delay of the start after the intended start.
    pub(crate) late: Duration,
    /// The user's usual interval between requests, if the request stalled and its user has no schedule.
    pub(crate) interval: Option<Duration>,
    pub(crate) phases: &'a Phases,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) failure: Option<(Kind, &'a str)>,
}

/// A shard's counters.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) numbers: Numbers,
    /// Rows and kinds whose example was reported.
    reported: BTreeSet<(usize, Kind)>,
    /// When a request last ended.
    pub(crate) last_ended: Option<Instant>,
}

/// The state of the shard itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// The share of one processor that its thread used.
    pub(crate) cpu: f64,
    /// The longest delay of a timer, in seconds.
    pub(crate) lag: f64,
    /// Requests in flight.
    pub(crate) in_flight: u64,
    /// The most users at once since the last report.
    pub(crate) most_users: u64,
    /// Seconds since a request last ended.
    pub(crate) quiet: f64,
}

/// A shard's report of what came since the last one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Delta {
    pub(crate) numbers: Numbers<Sparse>,
    pub(crate) health: Health,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new(rows: usize, classes: usize) -> Self {
        Self {
            numbers: Numbers::new(rows, classes),
            reported: BTreeSet::new(),
            last_ended: None,
        }
    }

    pub(crate) fn started(&mut self, row: usize) {
        self.numbers.rows[row].counts.started += 1;
    }

    pub(crate) fn unfinished(&mut self, row: usize) {
        self.numbers.rows[row].counts.unfinished += 1;
    }

    pub(crate) fn connected(&mut self, phases: &Phases) {
        self.numbers.counters.connections += 1;
        for (histogram, phase) in [
            (&mut self.numbers.resolve, phases.resolve),
            (&mut self.numbers.connect, phases.connect),
            (&mut self.numbers.tls, phases.tls),
        ] {
            histogram.record_some(phase);
        }
    }

    /// Counts a request that ended.
    pub(crate) fn ended(&mut self, row: usize, end: &End<'_>) {
        self.last_ended = Some(Instant::now());
        let counted = &mut self.numbers.rows[row];
        counted.counts.bytes += end.bytes;
        counted.actual.record(end.latency);
        match end.interval {
            Some(interval) if end.late.is_zero() => {
                counted.counts.missed += counted.intended.record_with_missed(end.latency, interval);
            }
            _ => counted.intended.record(end.latency + end.late),
        }
        counted.first_byte.record_some(end.phases.first_byte);
        counted.body.record_some(end.phases.body);
        if let Some(status) = end.status {
            *counted.statuses.entry(status).or_default() += 1;
        }
        match end.failure {
            None => counted.counts.completed += 1,
            Some((kind, example)) => {
                counted.counts.failed += 1;
                *counted.kinds.entry(kind).or_default() += 1;
                if self.reported.insert((row, kind)) {
                    let text = example.chars().take(MAX_EXAMPLE).collect();
                    self.numbers.examples.push((row, kind, text));
                }
            }
        }
    }

    /// Returns everything counted so far and sets it to zero.
    pub(crate) fn take(&mut self, health: Health) -> Delta {
        Delta {
            numbers: self.numbers.take(),
            health,
        }
    }

    /// Resets the numbers and nothing else. Requests in flight count as started, because they will end after the reset;
    /// waiting arrivals count as due, because they will start after it or never.
    pub(crate) fn reset(&mut self, epoch: u32, in_flight: &[u64], waiting: u64) {
        self.numbers.take();
        self.reported.clear();
        self.numbers.epoch = epoch;
        self.numbers.counters.arrivals_due = waiting;
        for (row, count) in self.numbers.rows.iter_mut().zip(in_flight) {
            row.counts.started = *count;
        }
    }
}
