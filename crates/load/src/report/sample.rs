//! One second as a line of NDJSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scenario::Scenario;
use crate::stats::Second;

/// What happened in a second that ended `at`.
pub(crate) fn sample(scenario: &Scenario, at: Duration, second: &Second) -> Value {
    let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    json!({
        "schema": 1,
        "event": "sample",
        "at": (at.as_secs_f64() * 1e3).round() / 1e3,
        "users": second.users,
        "in_flight": second.in_flight,
        "offered": (second.offered_requests(scenario) * 100.0).round() / 100.0,
        "started": second.counts.started,
        "completed": second.counts.completed,
        "failed": second.counts.failed,
        "bytes": second.counts.bytes,
        "late": second.counters.arrivals_late,
        "intended_ms": {
            "p50": ms(second.intended.quantile(0.5)),
            "p95": ms(second.intended.quantile(0.95)),
            "p99": ms(second.intended.quantile(0.99)),
            "max": ms(second.intended.max()),
        },
        "actual_ms": {
            "p50": ms(second.actual.quantile(0.5)),
            "p95": ms(second.actual.quantile(0.95)),
            "p99": ms(second.actual.quantile(0.99)),
            "max": ms(second.actual.max()),
        },
        "errors": second.kinds.iter().map(|(kind, count)| (kind.name(), *count)).collect::<std::collections::BTreeMap<_, _>>(),
    })
}
