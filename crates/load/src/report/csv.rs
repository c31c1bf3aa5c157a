//! A table for spreadsheets: one line a task, and one for all.

use super::Latency;
use super::summary::{Requests, Summary};

/// The whole table, with a head.
pub fn csv(summary: &Summary) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = [
        "task",
        "started",
        "completed",
        "failed",
        "unfinished",
        "bytes",
        "completed_per_s",
        "failed_per_s",
        "intended_mean_ms",
        "intended_p50_ms",
        "intended_p90_ms",
        "intended_p95_ms",
        "intended_p99_ms",
        "intended_p999_ms",
        "intended_max_ms",
        "actual_mean_ms",
        "actual_p50_ms",
        "actual_p90_ms",
        "actual_p95_ms",
        "actual_p99_ms",
        "actual_p999_ms",
        "actual_max_ms",
    ];
    let row = |name: &str, requests: &Requests, intended: &Latency, actual: &Latency| {
        let mut row = vec![
            name.to_owned(),
            requests.started.to_string(),
            requests.completed.to_string(),
            requests.failed.to_string(),
            requests.unfinished.to_string(),
            requests.bytes.to_string(),
            format!("{:.3}", requests.completed_rate),
            format!("{:.3}", requests.failed_rate),
        ];
        for latency in [intended, actual] {
            let values = [
                latency.mean,
                latency.p50,
                latency.p90,
                latency.p95,
                latency.p99,
                latency.p999,
                latency.max,
            ];
            row.extend(values.map(|value| format!("{value:.3}")));
        }
        row
    };
    let write = |writer: &mut csv::Writer<Vec<u8>>| -> csv::Result<()> {
        writer.write_record(head)?;
        for task in &summary.tasks {
            writer.write_record(row(&task.name, &task.requests, &task.intended, &task.actual))?;
        }
        writer.write_record(row(
            "(all)",
            &summary.requests,
            &summary.intended,
            &summary.actual,
        ))
    };
    write(&mut writer).map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
