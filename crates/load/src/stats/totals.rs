//! The sum of what all shards have reported.

use std::time::Duration;

use super::numbers::{Counters, Numbers, Row};
use super::{Delta, Kind};
use crate::scenario::{Metric, Scenario, Threshold};

/// The most examples of failures that are kept.
const MAX_EXAMPLES: usize = 50;

/// The sums over all shards since the start or the last reset.
#[derive(Debug, Default)]
pub struct Totals {
    pub(crate) numbers: Numbers,
    /// The sum of all rows.
    pub(crate) all: Row,
}

/// One second, for samples and the live view.
#[derive(Debug, Default)]
pub struct Second {
    pub(crate) all: Row,
    pub(crate) counters: Counters,
    pub(crate) users: u64,
    pub(crate) in_flight: u64,
    offered: f64,
}

// === impl Totals ===

impl Totals {
    pub(crate) fn new(rows: usize, classes: usize) -> Self {
        Self {
            numbers: Numbers::new(rows, classes),
            all: Row::default(),
        }
    }

    /// Adds a shard's report, unless it is from before the last reset.
    pub(crate) fn add(&mut self, delta: &Delta, second: &mut Second, scenario: &Scenario) {
        let (numbers, more) = (&mut self.numbers, &delta.numbers);
        if more.epoch != numbers.epoch {
            return;
        }
        for (row, more) in numbers.rows.iter_mut().zip(&more.rows) {
            for row in [row, &mut self.all, &mut second.all] {
                row.add(more);
            }
        }
        numbers.resolve.add(&more.resolve);
        numbers.connect.add(&more.connect);
        numbers.tls.add(&more.tls);
        numbers.counters.add(&more.counters);
        second.counters.add(&more.counters);
        let classes = numbers.classes.iter_mut().zip(&more.classes);
        for ((class, more), definition) in classes.zip(&scenario.classes) {
            class.user_seconds += more.user_seconds;
            second.offered += more.user_seconds * definition.offered_each().unwrap_or(0.0);
        }
        for (row, kind, text) in &more.examples {
            if self.example(*row, *kind).is_none() && self.numbers.examples.len() < MAX_EXAMPLES {
                self.numbers.examples.push((*row, *kind, text.clone()));
            }
        }
    }

    /// The example of a kind of failure in a row.
    pub(crate) fn example(&self, row: usize, kind: Kind) -> Option<&str> {
        let mut examples = self.numbers.examples.iter();
        let found = examples.find(|(in_row, of, _)| (*in_row, *of) == (row, kind))?;
        Some(&found.2)
    }

    pub(crate) fn reset(&mut self) {
        let epoch = self.numbers.epoch + 1;
        *self = Self::new(self.numbers.rows.len(), self.numbers.classes.len());
        self.numbers.epoch = epoch;
    }

    /// The value of a threshold's metric; none while nothing is measured.
    pub(crate) fn value(
        &self,
        threshold: &Threshold,
        scenario: &Scenario,
        measured: Duration,
    ) -> Option<f64> {
        let row = match &threshold.task {
            None => &self.all,
            Some(task) => &self.numbers.rows[scenario.rows.iter().position(|row| row == task)?],
        };
        let latencies = if threshold.actual {
            &row.actual
        } else {
            &row.intended
        };
        let counters = &self.numbers.counters;
        match threshold.metric {
            Metric::Rate => Some(row.counts.completed as f64 / measured.as_secs_f64().max(0.001)),
            Metric::Late => Some(share(
                counters.arrivals_late + counters.arrivals_never,
                counters.arrivals_due,
            )),
            _ if row.ended() == 0 => None,
            Metric::Quantile(quantile) => Some(latencies.quantile(quantile).as_secs_f64()),
            Metric::Mean => Some(latencies.mean().as_secs_f64()),
            Metric::Errors => Some(share(row.counts.failed, row.ended())),
        }
    }
}

// === impl Second ===

impl Second {
    /// Requests that the scenario was to send in it.
    pub(crate) fn offered_requests(&self, scenario: &Scenario) -> f64 {
        let arrivals = self.counters.arrivals_due as f64 * scenario.requests_each();
        if self.counters.arrivals_due == 0 && scenario.is_greedy() {
            return self.all.counts.started as f64;
        }
        self.offered + arrivals
    }
}

/// `part` of `whole`; 0 if `whole` is 0.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
