//! What one shard has counted since it last told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Kind, Latencies, Sparse};

/// The longest text that is kept of a failure.
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
    /// How long after its intended start it began.
    pub(crate) late: Duration,
    /// How often the user usually starts something, where nothing says when it intended to.
    pub(crate) interval: Option<Duration>,
    pub(crate) phases: &'a Phases,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) failure: Option<(Kind, &'a str)>,
}

/// A shard's counters.
#[derive(Debug)]
pub(crate) struct Tally {
    rows: Vec<Row>,
    resolve: Latencies,
    connect: Latencies,
    tls: Latencies,
    pub(crate) counters: Counters,
    /// One example of each kind and row, told once.
    examples: BTreeMap<(usize, Kind), String>,
    told: std::collections::BTreeSet<(usize, Kind)>,
    /// For each class: running users, and users × seconds.
    pub(crate) classes: Vec<ClassTime>,
    pub(crate) epoch: u32,
    /// When a request ended last.
    pub(crate) last_ended: Option<Instant>,
}

#[derive(Debug, Default)]
struct Row {
    counts: RowCounts,
    actual: Latencies,
    intended: Latencies,
    first_byte: Latencies,
    body: Latencies,
    kinds: BTreeMap<Kind, u64>,
    statuses: BTreeMap<u16, u64>,
}

/// What is added up for each row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowCounts {
    pub(crate) started: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) unfinished: u64,
    pub(crate) bytes: u64,
    /// Entries of the intended latencies that stand for starts that were missed.
    pub(crate) missed: u64,
}

/// What is added up for everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Arrivals whose time came.
    pub(crate) arrivals_due: u64,
    pub(crate) arrivals_started: u64,
    /// Started more than the tolerance after their time.
    pub(crate) arrivals_late: u64,
    /// Their time came, the test ended first.
    pub(crate) arrivals_never: u64,
    pub(crate) connections: u64,
    /// Sent again because a kept connection turned out to be closed.
    pub(crate) resent: u64,
    pub(crate) redirects: u64,
    pub(crate) iterations: u64,
    /// Seconds that users waited between tasks, and how often.
    pub(crate) waited: f64,
    pub(crate) waits: u64,
    /// Iterations of users with a pace that began behind it.
    pub(crate) behind: u64,
    /// Users that found no row of data.
    pub(crate) out_of_data: u64,
}

/// How many users a class has, and has had over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassTime {
    pub(crate) users: u64,
    pub(crate) user_seconds: f64,
}

/// How the shard itself is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// The share of one processor that its thread used.
    pub(crate) cpu: f64,
    /// The latest that a timer fired, in seconds.
    pub(crate) lag: f64,
    /// Requests under way.
    pub(crate) in_flight: u64,
    /// The most users at once since it last told.
    pub(crate) most_users: u64,
    /// Seconds since a request ended last.
    pub(crate) quiet: f64,
}

/// What came since the last delta.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Delta {
    pub(crate) epoch: u32,
    pub(crate) rows: Vec<RowDelta>,
    pub(crate) resolve: Sparse,
    pub(crate) connect: Sparse,
    pub(crate) tls: Sparse,
    pub(crate) counters: Counters,
    pub(crate) classes: Vec<ClassTime>,
    pub(crate) examples: Vec<(usize, Kind, String)>,
    pub(crate) health: Health,
}

/// A row's part of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RowDelta {
    pub(crate) counts: RowCounts,
    pub(crate) actual: Sparse,
    pub(crate) intended: Sparse,
    pub(crate) first_byte: Sparse,
    pub(crate) body: Sparse,
    pub(crate) kinds: Vec<(Kind, u64)>,
    pub(crate) statuses: Vec<(u16, u64)>,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new(rows: usize, classes: usize) -> Self {
        Self {
            rows: (0..rows).map(|_| Row::default()).collect(),
            resolve: Latencies::default(),
            connect: Latencies::default(),
            tls: Latencies::default(),
            counters: Counters::default(),
            examples: BTreeMap::new(),
            told: std::collections::BTreeSet::new(),
            classes: vec![ClassTime::default(); classes],
            epoch: 0,
            last_ended: None,
        }
    }

    pub(crate) fn started(&mut self, row: usize) {
        self.rows[row].counts.started += 1;
    }

    pub(crate) fn unfinished(&mut self, row: usize) {
        self.rows[row].counts.unfinished += 1;
    }

    pub(crate) fn connected(&mut self, phases: &Phases) {
        self.counters.connections += 1;
        for (histogram, phase) in [
            (&mut self.resolve, phases.resolve),
            (&mut self.connect, phases.connect),
            (&mut self.tls, phases.tls),
        ] {
            if let Some(time) = phase {
                histogram.record(time);
            }
        }
    }

    /// A request that ended.
    pub(crate) fn ended(&mut self, row: usize, end: &End<'_>) {
        let End {
            latency,
            late,
            interval,
            phases,
            status,
            bytes,
            failure,
        } = *end;
        self.last_ended = Some(Instant::now());
        let counted = &mut self.rows[row];
        counted.counts.bytes += bytes;
        counted.actual.record(latency);
        match interval {
            Some(interval) if late.is_zero() => {
                counted.counts.missed += counted.intended.record_with_missed(latency, interval);
            }
            _ => counted.intended.record(latency + late),
        }
        if let Some(time) = phases.first_byte {
            counted.first_byte.record(time);
        }
        if let Some(time) = phases.body {
            counted.body.record(time);
        }
        if let Some(status) = status {
            *counted.statuses.entry(status).or_default() += 1;
        }
        match failure {
            None => counted.counts.completed += 1,
            Some((kind, example)) => {
                counted.counts.failed += 1;
                *counted.kinds.entry(kind).or_default() += 1;
                if self.told.insert((row, kind)) {
                    let text: String = example.chars().take(MAX_EXAMPLE).collect();
                    self.examples.insert((row, kind), text);
                }
            }
        }
    }

    /// Everything counted so far, and zero from here on.
    pub(crate) fn take(&mut self, health: Health) -> Delta {
        Delta {
            epoch: self.epoch,
            rows: self.rows.iter_mut().map(Row::take).collect(),
            resolve: self.resolve.take(),
            connect: self.connect.take(),
            tls: self.tls.take(),
            counters: std::mem::take(&mut self.counters),
            classes: self
                .classes
                .iter_mut()
                .map(|class| ClassTime {
                    users: class.users,
                    user_seconds: std::mem::take(&mut class.user_seconds),
                })
                .collect(),
            examples: std::mem::take(&mut self.examples)
                .into_iter()
                .map(|((row, kind), text)| (row, kind, text))
                .collect(),
            health,
        }
    }

    /// Zeroes numbers and nothing else. What is in flight counts as started after the reset, as it will end after it; and
    /// arrivals that wait count as due, as they will start after it or never.
    pub(crate) fn reset(&mut self, epoch: u32, in_flight: &[u64], waiting: u64) {
        self.take(Health::default());
        self.told.clear();
        self.epoch = epoch;
        self.counters.arrivals_due = waiting;
        for (row, count) in self.rows.iter_mut().zip(in_flight) {
            row.counts.started = *count;
        }
    }
}

impl Row {
    fn take(&mut self) -> RowDelta {
        RowDelta {
            counts: std::mem::take(&mut self.counts),
            actual: self.actual.take(),
            intended: self.intended.take(),
            first_byte: self.first_byte.take(),
            body: self.body.take(),
            kinds: std::mem::take(&mut self.kinds).into_iter().collect(),
            statuses: std::mem::take(&mut self.statuses).into_iter().collect(),
        }
    }
}
