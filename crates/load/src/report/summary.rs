//! A test in numbers, as JSON has them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::explain;
use crate::engine::{Ended, Outcome, Point};
use crate::scenario::Scenario;
use crate::stats::{Latencies, RowTotals};

/// Everything about a test that has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this form.
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// `finished`, `interrupted`, `aborted` or `lost`.
    pub ended: String,
    /// The mark that ended it.
    pub aborted_by: Option<String>,
    /// Seconds from the beginning, or the last reset, until users were told to stop.
    pub load_seconds: f64,
    /// The same until the last user was gone.
    pub total_seconds: f64,
    /// The most users at once.
    pub peak_users: u64,
    /// All requests.
    pub requests: Requests,
    /// The open model's arrivals; none if there were none.
    pub arrivals: Option<Arrivals>,
    /// Latencies from the intended start, milliseconds.
    pub intended: Latency,
    /// Latencies from the actual start, milliseconds.
    pub actual: Latency,
    /// Entries of the intended latencies that stand for requests that a stall kept from being sent.
    pub filled_in: u64,
    /// Resolve, connect, TLS, first byte, body, milliseconds.
    pub phases: BTreeMap<String, Latency>,
    /// One entry for each row of the scenario.
    pub tasks: Vec<TaskSummary>,
    /// Failures by task and kind.
    pub errors: Vec<Failures>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that were made.
    pub connections: u64,
    /// Requests that were sent again because a kept connection was closed.
    pub resent: u64,
    /// Redirects that were followed.
    pub redirects: u64,
    /// Iterations that ended.
    pub iterations: u64,
    /// Iterations that began behind their pace.
    pub behind: u64,
    /// What limits the rate.
    pub law: Option<Law>,
    /// What the numbers mean, in sentences.
    pub sentences: Vec<String>,
    /// The marks.
    pub thresholds: Vec<Mark>,
    /// How often the bootstrap was made, refreshes included.
    pub bootstraps: u64,
    /// Refreshes that failed.
    pub refresh_failures: u64,
    /// How often numbers were zeroed.
    pub resets: u64,
    /// The tester itself.
    pub generator: Generator,
}

/// Requests, always apart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Requests {
    /// What the scenario wanted to send; none if users send as soon as they are answered.
    pub offered: Option<f64>,
    /// Sent, or tried to.
    pub started: u64,
    /// Answered as expected.
    pub completed: u64,
    /// Not answered, or not as expected.
    pub failed: u64,
    /// Cut off at the end.
    pub unfinished: u64,
    /// Bytes of bodies that came.
    pub bytes: u64,
    /// A second of the load.
    pub offered_rate: Option<f64>,
    /// A second of the load.
    pub started_rate: f64,
    /// A second of the whole time.
    pub completed_rate: f64,
    /// A second of the whole time.
    pub failed_rate: f64,
}

/// Arrivals of the open model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arrivals {
    /// Their time came.
    pub due: u64,
    /// Somebody took them.
    pub started: u64,
    /// Taken after their time.
    pub late: u64,
    /// Never taken.
    pub never: u64,
}

/// Quantiles, milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many values there are.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 90 of 100 are no longer.
    pub p90: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// A row of the statistics.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Its name.
    pub name: String,
    /// Its requests.
    pub requests: Requests,
    /// From the intended start.
    pub intended: Latency,
    /// From the actual start.
    pub actual: Latency,
    /// From the sent request to the head of the answer.
    pub first_byte: Latency,
    /// From there to the end.
    pub body: Latency,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
}

/// Failures of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failures {
    /// The task.
    pub task: String,
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// What it means.
    pub meaning: String,
    /// The first one's words.
    pub example: String,
}

/// Little's law for the closed model: so many users, each of whom waits for the answer and then for its own time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Law {
    /// Users in the mean.
    pub users: f64,
    /// Their mean response time, seconds.
    pub response_seconds: f64,
    /// Their mean wait for each request, seconds.
    pub wait_seconds: f64,
    /// Requests a second that come of it at most.
    pub at_most: f64,
}

/// A mark and its value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mark {
    /// As it was written.
    pub text: String,
    /// What was measured, in the unit of the mark: seconds, a share, a rate.
    pub value: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
}

/// What the tester used, and whether that was enough.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Seconds of the test from which on it was the limit.
    pub saturated_from: Option<f64>,
    /// Why.
    pub reason: Option<String>,
    /// Seconds from the beginning to the end, whatever was zeroed.
    #[serde(default)]
    pub seconds: f64,
    /// Processor time of this process and its workers in all that time, seconds.
    pub cpu_seconds: f64,
    /// The peak of resident memory of this process, KiB.
    pub peak_memory_kib: u64,
    /// What was lost on the way.
    pub lost: Vec<String>,
}

// === impl Summary ===

impl Summary {
    /// What a test came to.
    pub fn new(scenario: &Scenario, outcome: &Outcome) -> Self {
        let totals = &outcome.totals;
        let offered = explain::offered(scenario, outcome);
        let (ended, aborted_by) = match &outcome.ended {
            Ended::Finished => ("finished", None),
            Ended::Interrupted => ("interrupted", None),
            Ended::Aborted(mark) => ("aborted", Some(mark.clone())),
            Ended::Lost => ("lost", None),
        };
        let phases = [
            ("resolve", &totals.resolve),
            ("connect", &totals.connect),
            ("tls", &totals.tls),
            ("first_byte", &totals.all.first_byte),
            ("body", &totals.all.body),
        ];
        let mut errors: Vec<Failures> = totals
            .rows
            .iter()
            .enumerate()
            .flat_map(|(index, row)| row.kinds.iter().map(move |(kind, count)| (index, *kind, *count)))
            .map(|(index, kind, count)| Failures {
                task: scenario.rows[index].clone(),
                kind: kind.name().to_owned(),
                count,
                meaning: kind.meaning().to_owned(),
                example: totals.examples.get(&(index, kind)).cloned().unwrap_or_default(),
            })
            .collect();
        errors.sort_by_key(|failures| std::cmp::Reverse(failures.count));
        let thresholds: Vec<Mark> = scenario
            .thresholds
            .iter()
            .map(|threshold| {
                let value = totals.value(threshold, scenario, outcome.total);
                Mark {
                    text: threshold.text.clone(),
                    value,
                    // What was never measured was not reached.
                    holds: value.is_some_and(|value| threshold.holds(value)),
                }
            })
            .collect();
        let counters = &totals.counters;
        let law = explain::law(scenario, outcome);
        Self {
            schema: 1,
            name: scenario.name.clone(),
            ended: ended.to_owned(),
            aborted_by,
            load_seconds: outcome.load.as_secs_f64(),
            total_seconds: outcome.total.as_secs_f64(),
            peak_users: outcome.peak_users,
            requests: Requests::new(&totals.all, outcome, offered),
            arrivals: (counters.arrivals_due > 0).then_some(Arrivals {
                due: counters.arrivals_due,
                started: counters.arrivals_started,
                late: counters.arrivals_late,
                never: counters.arrivals_never,
            }),
            intended: Latency::new(&totals.all.intended),
            actual: Latency::new(&totals.all.actual),
            filled_in: totals.all.counts.missed,
            phases: phases
                .into_iter()
                .filter(|(_, latencies)| latencies.count() > 0)
                .map(|(name, latencies)| (name.to_owned(), Latency::new(latencies)))
                .collect(),
            tasks: totals
                .rows
                .iter()
                .zip(&scenario.rows)
                .filter(|(row, _)| row.counts.started > 0)
                .map(|(row, name)| TaskSummary {
                    name: name.clone(),
                    requests: Requests::new(row, outcome, None),
                    intended: Latency::new(&row.intended),
                    actual: Latency::new(&row.actual),
                    first_byte: Latency::new(&row.first_byte),
                    body: Latency::new(&row.body),
                    statuses: row.statuses.clone(),
                })
                .collect(),
            errors,
            statuses: totals.all.statuses.clone(),
            connections: counters.connections,
            resent: counters.resent,
            redirects: counters.redirects,
            iterations: counters.iterations,
            behind: counters.behind,
            sentences: explain::sentences(scenario, outcome, offered, law.as_ref()),
            law,
            thresholds,
            bootstraps: outcome.bootstraps,
            refresh_failures: outcome.refresh_failures,
            resets: outcome.resets,
            generator: Generator {
                saturated_from: outcome.saturated.as_ref().map(|(at, _)| at.as_secs_f64()),
                reason: outcome.saturated.as_ref().map(|(_, why)| why.clone()),
                seconds: outcome.whole.as_secs_f64(),
                cpu_seconds: cpu_seconds(),
                peak_memory_kib: peak_memory(),
                lost: outcome.lost.clone(),
            },
        }
    }

    /// The exit status: 1 something was lost, 5 interrupted, 6 a mark was missed, 3 nothing was ever answered.
    pub fn exit_status(&self) -> u8 {
        if !self.generator.lost.is_empty() {
            1
        } else if self.ended == "interrupted" {
            5
        } else if self.thresholds.iter().any(|mark| !mark.holds) {
            6
        } else if self.requests.completed == 0 {
            3
        } else {
            0
        }
    }
}

impl Requests {
    fn new(row: &RowTotals, outcome: &Outcome, offered: Option<f64>) -> Self {
        let load = outcome.load.as_secs_f64().max(1e-3);
        let total = outcome.total.as_secs_f64().max(1e-3);
        let counts = &row.counts;
        Self {
            offered,
            started: counts.started,
            completed: counts.completed,
            failed: counts.failed,
            unfinished: counts.unfinished,
            bytes: counts.bytes,
            offered_rate: offered.map(|offered| offered / load),
            started_rate: counts.started as f64 / load,
            completed_rate: counts.completed as f64 / total,
            failed_rate: counts.failed as f64 / total,
        }
    }
}

impl Latency {
    fn new(latencies: &Latencies) -> Self {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let quantile = |quantile| ms(latencies.quantile(quantile));
        Self {
            count: latencies.count(),
            mean: ms(latencies.mean()),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: ms(latencies.max()),
        }
    }
}

/// Processor time of this process and of those it has waited for.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / (rustix::param::clock_ticks_per_second().max(1) as f64)
}

fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// What charts show.
pub(crate) type Series = [Point];
