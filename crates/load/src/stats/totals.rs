//! Everything that all shards have told, added up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tally::{ClassTime, Counters, Delta, RowCounts};
use super::{Kind, Latencies};
use crate::scenario::{Metric, Scenario, Threshold, Wait};

/// The examples of failures that are kept.
const MAX_EXAMPLES: usize = 50;

/// The sums over all shards since the start, or since the last reset.
#[derive(Debug)]
pub struct Totals {
    pub(crate) rows: Vec<RowTotals>,
    pub(crate) all: RowTotals,
    pub(crate) resolve: Latencies,
    pub(crate) connect: Latencies,
    pub(crate) tls: Latencies,
    pub(crate) counters: Counters,
    pub(crate) classes: Vec<ClassTime>,
    pub(crate) examples: BTreeMap<(usize, Kind), String>,
    pub(crate) epoch: u32,
}

/// One row of the statistics.
#[derive(Debug, Default)]
pub struct RowTotals {
    pub(crate) counts: RowCounts,
    pub(crate) actual: Latencies,
    pub(crate) intended: Latencies,
    pub(crate) first_byte: Latencies,
    pub(crate) body: Latencies,
    pub(crate) kinds: BTreeMap<Kind, u64>,
    pub(crate) statuses: BTreeMap<u16, u64>,
}

/// What happened in one second, for samples and the live view.
#[derive(Debug, Default)]
pub struct Second {
    pub(crate) counts: RowCounts,
    pub(crate) actual: Latencies,
    pub(crate) intended: Latencies,
    pub(crate) counters: Counters,
    pub(crate) users: u64,
    pub(crate) in_flight: u64,
    pub(crate) offered: f64,
    pub(crate) kinds: BTreeMap<Kind, u64>,
}

// === impl Totals ===

impl Totals {
    pub(crate) fn new(rows: usize, classes: usize) -> Self {
        Self {
            rows: (0..rows).map(|_| RowTotals::default()).collect(),
            all: RowTotals::default(),
            resolve: Latencies::default(),
            connect: Latencies::default(),
            tls: Latencies::default(),
            counters: Counters::default(),
            classes: vec![ClassTime::default(); classes],
            examples: BTreeMap::new(),
            epoch: 0,
        }
    }

    /// Adds what a shard told; what it counted before the last reset is left out.
    pub(crate) fn add(&mut self, delta: &Delta, second: &mut Second, scenario: &Scenario) {
        if delta.epoch != self.epoch {
            return;
        }
        for (row, more) in self.rows.iter_mut().zip(&delta.rows) {
            for row in [row, &mut self.all] {
                row.counts.add(&more.counts);
                row.actual.add(&more.actual);
                row.intended.add(&more.intended);
                row.first_byte.add(&more.first_byte);
                row.body.add(&more.body);
                for (kind, count) in &more.kinds {
                    *row.kinds.entry(*kind).or_default() += count;
                }
                for (status, count) in &more.statuses {
                    *row.statuses.entry(*status).or_default() += count;
                }
            }
            second.counts.add(&more.counts);
            second.actual.add(&more.actual);
            second.intended.add(&more.intended);
            for (kind, count) in &more.kinds {
                *second.kinds.entry(*kind).or_default() += count;
            }
        }
        self.resolve.add(&delta.resolve);
        self.connect.add(&delta.connect);
        self.tls.add(&delta.tls);
        self.counters.add(&delta.counters);
        second.counters.add(&delta.counters);
        for ((class, more), definition) in self.classes.iter_mut().zip(&delta.classes).zip(&scenario.classes)
        {
            class.user_seconds += more.user_seconds;
            second.offered += more.user_seconds * definition.offered_each().unwrap_or(0.0);
        }
        for (row, kind, text) in &delta.examples {
            if self.examples.len() < MAX_EXAMPLES {
                self.examples.entry((*row, *kind)).or_insert_with(|| text.clone());
            }
        }
    }

    pub(crate) fn reset(&mut self) {
        let epoch = self.epoch + 1;
        *self = Self::new(self.rows.len(), self.classes.len());
        self.epoch = epoch;
    }

    /// Requests that ended, one way or the other.
    pub(crate) fn ended(&self) -> u64 {
        self.all.counts.completed + self.all.counts.failed
    }

    /// The value of a threshold's metric; none while nothing was measured.
    pub(crate) fn value(
        &self,
        threshold: &Threshold,
        scenario: &Scenario,
        measured: Duration,
    ) -> Option<f64> {
        let row = match &threshold.task {
            None => &self.all,
            Some(task) => &self.rows[scenario.rows.iter().position(|row| row == task)?],
        };
        let latencies = if threshold.actual {
            &row.actual
        } else {
            &row.intended
        };
        let ended = row.counts.completed + row.counts.failed;
        match threshold.metric {
            Metric::Rate => Some(row.counts.completed as f64 / measured.as_secs_f64().max(0.001)),
            Metric::Late => Some(share(
                self.counters.arrivals_late + self.counters.arrivals_never,
                self.counters.arrivals_due,
            )),
            _ if ended == 0 => None,
            Metric::Quantile(quantile) => Some(latencies.quantile(quantile).as_secs_f64()),
            Metric::Mean => Some(latencies.mean().as_secs_f64()),
            Metric::Errors => Some(share(row.counts.failed, ended)),
        }
    }
}

impl Second {
    /// Requests that the scenario wanted to send in it.
    pub(crate) fn offered_requests(&self, scenario: &Scenario) -> f64 {
        let arrivals = self.counters.arrivals_due as f64 * scenario.requests_each();
        if self.counters.arrivals_due == 0 && scenario.is_greedy() {
            return self.counts.started as f64;
        }
        self.offered + arrivals
    }
}

/// `part` of `whole`, 0 if there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

impl RowCounts {
    pub(crate) fn add(&mut self, more: &Self) {
        self.started += more.started;
        self.completed += more.completed;
        self.failed += more.failed;
        self.unfinished += more.unfinished;
        self.bytes += more.bytes;
        self.missed += more.missed;
    }
}

impl Counters {
    pub(crate) fn add(&mut self, more: &Self) {
        self.arrivals_due += more.arrivals_due;
        self.arrivals_started += more.arrivals_started;
        self.arrivals_late += more.arrivals_late;
        self.arrivals_never += more.arrivals_never;
        self.connections += more.connections;
        self.resent += more.resent;
        self.redirects += more.redirects;
        self.iterations += more.iterations;
        self.waited += more.waited;
        self.waits += more.waits;
        self.behind += more.behind;
        self.out_of_data += more.out_of_data;
    }
}

impl crate::scenario::Class {
    /// Requests of one iteration, in the mean.
    pub(crate) fn requests_each(&self) -> f64 {
        let weights: u64 = self.tasks.iter().map(|task| u64::from(task.weight)).sum();
        let requests: f64 = self
            .tasks
            .iter()
            .map(|task| f64::from(task.weight) * task.steps.len() as f64)
            .sum();
        requests / (weights.max(1) as f64)
    }

    /// Requests a second that a user would send if answers took no time; none if nothing makes it wait.
    pub(crate) fn offered_each(&self) -> Option<f64> {
        let pauses: f64 = self
            .tasks
            .iter()
            .map(|task| {
                let pauses: Duration = task
                    .steps
                    .iter()
                    .filter_map(|step| step.pause)
                    .map(Wait::mean)
                    .sum();
                pauses.as_secs_f64() * f64::from(task.weight)
            })
            .sum::<f64>()
            / self
                .tasks
                .iter()
                .map(|task| f64::from(task.weight))
                .sum::<f64>()
                .max(1.0);
        let turn = match self.wait {
            Wait::Pacing(period) => period.as_secs_f64().max(pauses),
            wait => wait.mean().as_secs_f64() + pauses,
        };
        (turn > 0.0).then(|| self.requests_each() / turn)
    }
}
