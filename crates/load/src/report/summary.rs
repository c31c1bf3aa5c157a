//! The result of a test in numbers, as JSON contains them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::explain::{self, Law};
use crate::engine::{Ended, Outcome};
use crate::scenario::Scenario;
use crate::stats::{Latencies, Row};

/// The result of a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this format.
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// `finished`, `interrupted`, `aborted` or `lost`.
    pub ended: String,
    /// The threshold that aborted the test.
    pub aborted_by: Option<String>,
    /// Seconds from the beginning, or the last reset, until users were told to stop.
    pub load_seconds: f64,
    /// Seconds from the same moment until the last request ended.
    pub total_seconds: f64,
    /// The most users at once.
    pub peak_users: u64,
    /// All requests.
    pub requests: Requests,
    /// The arrivals of the open model; none if there were none.
    pub arrivals: Option<Arrivals>,
    /// Latencies from the intended start, in milliseconds.
    pub intended: Latency,
    /// Latencies from the actual start, in milliseconds.
    pub actual: Latency,
    /// Entries of the intended latencies that stand for requests a stall kept from being sent.
    pub filled_in: u64,
    /// Durations of `resolve`, `connect`, `tls`, `first_byte` and `body`, in milliseconds.
    pub phases: BTreeMap<String, Latency>,
    /// One entry for each row of the scenario.
    pub tasks: Vec<TaskSummary>,
    /// Failures by task and kind.
    pub errors: Vec<Failures>,
    /// Number of answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Number of connections.
    pub connections: u64,
    /// Requests that were sent again because a kept connection was closed.
    pub resent: u64,
    /// Redirects that were followed.
    pub redirects: u64,
    /// Iterations that ended.
    pub iterations: u64,
    /// Iterations that started later than their user's pace.
    pub behind: u64,
    /// What limits the rate.
    pub law: Option<Law>,
    /// The meaning of the numbers, in sentences.
    pub sentences: Vec<String>,
    /// The thresholds with their values.
    pub thresholds: Vec<Verdict>,
    /// How often the bootstrap ran, refreshes included.
    pub bootstraps: u64,
    /// Refreshes that failed.
    pub refresh_failures: u64,
    /// How often the numbers were reset.
    pub resets: u64,
    /// The tester itself.
    pub generator: Generator,
}

/// Numbers of requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Requests {
    /// Requests that the scenario was to send; none if some users send as soon as they are answered.
    pub offered: Option<f64>,
    /// Requests that were sent, or tried to be.
    pub started: u64,
    /// Requests that were answered as expected.
    pub completed: u64,
    /// Requests that were not answered, or not as expected.
    pub failed: u64,
    /// Requests that were cut off at the end.
    pub unfinished: u64,
    /// Bytes of the answers' bodies.
    pub bytes: u64,
    /// Offered requests per second of the load.
    pub offered_rate: Option<f64>,
    /// Started requests per second of the load.
    pub started_rate: f64,
    /// Completed requests per second of the total time.
    pub completed_rate: f64,
    /// Failed requests per second of the total time.
    pub failed_rate: f64,
}

/// Arrivals of the open model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arrivals {
    /// Arrivals whose time came.
    pub due: u64,
    /// Arrivals that started.
    pub started: u64,
    /// Arrivals that started late.
    pub late: u64,
    /// Arrivals that never started.
    pub never: u64,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The number of values.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
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
    /// Latencies from the intended start.
    pub intended: Latency,
    /// Latencies from the actual start.
    pub actual: Latency,
    /// Durations from the sent request to the head of the answer.
    pub first_byte: Latency,
    /// Durations from the head of the answer to its end.
    pub body: Latency,
    /// Number of answers by status.
    pub statuses: BTreeMap<u16, u64>,
}

/// Failures of one kind in a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failures {
    /// The task.
    pub task: String,
    /// The kind.
    pub kind: String,
    /// Their number.
    pub count: u64,
    /// The meaning of the kind.
    pub meaning: String,
    /// The message of one of them.
    pub example: String,
}

/// A threshold and its measured value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// The threshold as it was written.
    pub text: String,
    /// The measured value: seconds, a share of 1, or requests per second.
    pub value: Option<f64>,
    /// Whether the threshold was met.
    pub holds: bool,
}

/// What the tester used, and whether that was enough.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Second of the test from which the tester limited the numbers.
    pub saturated_from: Option<f64>,
    /// The reason.
    pub reason: Option<String>,
    /// Seconds from the beginning to the end, whether or not numbers were reset.
    #[serde(default)]
    pub seconds: f64,
    /// Processor time of this process and its workers in that time, in seconds.
    pub cpu_seconds: f64,
    /// The peak of resident memory of this process, in KiB.
    pub peak_memory_kib: u64,
    /// Threads and workers that were lost, and other losses.
    pub lost: Vec<String>,
}

// === impl Summary ===

impl Summary {
    /// Sums a test up.
    pub fn new(scenario: &Scenario, outcome: &Outcome) -> Self {
        let totals = &outcome.totals;
        let offered = explain::offered(scenario, outcome);
        let (ended, aborted_by) = match &outcome.ended {
            Ended::Finished => ("finished", None),
            Ended::Interrupted => ("interrupted", None),
            Ended::Aborted(threshold) => ("aborted", Some(threshold.clone())),
            Ended::Lost => ("lost", None),
        };
        let numbers = &totals.numbers;
        let phases = [
            ("resolve", &numbers.resolve),
            ("connect", &numbers.connect),
            ("tls", &numbers.tls),
            ("first_byte", &totals.all.first_byte),
            ("body", &totals.all.body),
        ];
        let mut errors = Vec::new();
        for (index, row) in numbers.rows.iter().enumerate() {
            errors.extend(row.kinds.iter().map(|(kind, count)| Failures {
                task: scenario.rows[index].clone(),
                kind: kind.name().to_owned(),
                count: *count,
                meaning: kind.meaning().to_owned(),
                example: totals.example(index, *kind).unwrap_or_default().to_owned(),
            }));
        }
        errors.sort_by_key(|failures| std::cmp::Reverse(failures.count));
        let thresholds = scenario
            .thresholds
            .iter()
            .map(|threshold| {
                let value = totals.value(threshold, scenario, outcome.total);
                Verdict {
                    text: threshold.text.clone(),
                    value,
                    // A threshold that was never measured was not met.
                    holds: value.is_some_and(|value| threshold.holds(value)),
                }
            })
            .collect();
        let counters = &numbers.counters;
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
            tasks: numbers
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

    /// The thresholds that were missed.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &Verdict> {
        self.thresholds.iter().filter(|threshold| !threshold.holds)
    }

    /// The exit status: 1 something was lost, 5 interrupted, 6 a threshold was missed, 3 no request was completed.
    pub fn exit_status(&self) -> u8 {
        if !self.generator.lost.is_empty() {
            1
        } else if self.ended == "interrupted" {
            5
        } else if self.missed().next().is_some() {
            6
        } else if self.requests.completed == 0 {
            3
        } else {
            0
        }
    }
}

impl Requests {
    fn new(row: &Row, outcome: &Outcome, offered: Option<f64>) -> Self {
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
    /// All values but their number, in order.
    pub(crate) fn all(&self) -> [f64; 7] {
        [
            self.mean, self.p50, self.p90, self.p95, self.p99, self.p999, self.max,
        ]
    }

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

/// Processor time of this process and of the children that it has waited for.
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

/// The summary as JSON.
pub(crate) fn json(summary: &Summary) -> Result<String, String> {
    let value = serde_json::to_value(summary).map_err(|error| error.to_string())?;
    Ok(format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Summary {
        /// A test with something of everything.
        pub(crate) fn example() -> Self {
            let latency = |scale: f64| Latency {
                count: 2990,
                mean: 12.5 * scale,
                p50: 0.85 * scale,
                p90: 22.8 * scale,
                p95: 48.0 * scale,
                p99: 150.0 * scale,
                p999: 1500.0 * scale,
                max: 90_000.0 * scale,
            };
            let requests = |scale: u64| Requests {
                offered: Some(7998.0),
                started: 3000 * scale,
                completed: 2970 * scale,
                failed: 20 * scale,
                unfinished: 10 * scale,
                bytes: 123_456 * scale,
                offered_rate: Some(500.0),
                started_rate: 187.5,
                completed_rate: 185.6,
                failed_rate: 1.25,
            };
            let task = |name: &str| TaskSummary {
                name: name.to_owned(),
                requests: requests(1),
                intended: latency(1.0),
                actual: latency(0.5),
                first_byte: latency(0.25),
                body: latency(0.125),
                statuses: BTreeMap::from([(200, 2970), (503, 20)]),
            };
            let verdict = |text: &str, value, holds| Verdict {
                text: text.to_owned(),
                value,
                holds,
            };
            Self {
                schema: 1,
                name: "shop <1>".to_owned(),
                ended: "finished".to_owned(),
                aborted_by: None,
                load_seconds: 16.0,
                total_seconds: 16.25,
                peak_users: 50,
                requests: requests(2),
                arrivals: None,
                intended: latency(1.0),
                actual: latency(0.5),
                filled_in: 7,
                phases: BTreeMap::from([
                    ("connect".to_owned(), latency(0.125)),
                    ("first_byte".to_owned(), latency(0.25)),
                ]),
                tasks: vec![task("front"), task("purchase / POST /cart/{{ buyer.name }}/items")],
                errors: vec![Failures {
                    task: "front".to_owned(),
                    kind: "status".to_owned(),
                    count: 40,
                    meaning: "unexpected status".to_owned(),
                    example: "status 503".to_owned(),
                }],
                statuses: BTreeMap::from([(200, 5940), (503, 40)]),
                connections: 50,
                resent: 1,
                redirects: 2,
                iterations: 3000,
                behind: 0,
                law: None,
                sentences: vec![
                    "50 users × (12.5 ms response + 100 ms wait) ⇒ at most 444 requests/s; the service, not the tester, sets \
                     the rate: 500 requests/s were offered"
                        .to_owned(),
                ],
                thresholds: vec![
                    verdict("errors < 1%", Some(0.0067), true),
                    verdict("p99(front) < 100ms", Some(0.15), false),
                    verdict("rate > 100/s", Some(185.6), true),
                    verdict("late < 1%", None, false),
                ],
                bootstraps: 3,
                refresh_failures: 1,
                resets: 0,
                generator: Generator {
                    saturated_from: None,
                    reason: None,
                    seconds: 16.5,
                    cpu_seconds: 1.25,
                    peak_memory_kib: 20_480,
                    lost: vec!["worker 2 ended unexpectedly; its users are gone".to_owned()],
                },
            }
        }
    }

    #[test]
    fn the_format_of_the_summary_stays() {
        let text = json(&Summary::example()).expect("JSON");
        let again: Summary = serde_json::from_str(&text).expect("a summary");
        assert_eq!(json(&again).as_ref(), Ok(&text));
        insta::assert_snapshot!(text);
    }
}
