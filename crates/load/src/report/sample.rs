//! One second as a line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scenario::Scenario;
use crate::stats::{Latencies, Second};

/// The numbers of the second that ended at `at`.
pub(crate) fn sample(scenario: &Scenario, at: Duration, second: &Second) -> Value {
    let rounded = |value: f64, scale: f64| (value * scale).round() / scale;
    let quantiles = |latencies: &Latencies| {
        let ms = |duration: Duration| rounded(duration.as_secs_f64() * 1e3, 1e3);
        json!({
            "p50": ms(latencies.quantile(0.5)),
            "p95": ms(latencies.quantile(0.95)),
            "p99": ms(latencies.quantile(0.99)),
            "max": ms(latencies.max()),
        })
    };
    let (all, counts) = (&second.all, &second.all.counts);
    let errors: BTreeMap<_, _> = all
        .kinds
        .iter()
        .map(|(kind, count)| (kind.name(), *count))
        .collect();
    json!({
        "schema": 1,
        "event": "sample",
        "at": rounded(at.as_secs_f64(), 1e3),
        "users": second.users,
        "in_flight": second.in_flight,
        "offered": rounded(second.offered_requests(scenario), 1e2),
        "started": counts.started,
        "completed": counts.completed,
        "failed": counts.failed,
        "bytes": counts.bytes,
        "late": second.counters.arrivals_late,
        "intended_ms": quantiles(&all.intended),
        "actual_ms": quantiles(&all.actual),
        "errors": errors,
    })
}
