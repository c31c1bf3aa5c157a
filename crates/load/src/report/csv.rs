//! A table for spreadsheets: a line for each task, and one for all.

use super::Latency;
use super::summary::{Requests, Summary};

/// The names of quantiles in the head.
const QUANTILES: [&str; 7] = ["mean", "p50", "p90", "p95", "p99", "p999", "max"];

/// Makes the table, with a head.
pub(crate) fn csv(summary: &Summary) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = || -> csv::Result<()> {
        let counts = ["task", "started", "completed", "failed", "unfinished", "bytes"];
        let rates = ["completed_per_s", "failed_per_s"];
        let mut head: Vec<String> = counts.into_iter().chain(rates).map(str::to_owned).collect();
        for start in ["intended", "actual"] {
            head.extend(QUANTILES.map(|quantile| format!("{start}_{quantile}_ms")));
        }
        writer.write_record(head)?;
        for task in &summary.tasks {
            writer.write_record(row(&task.name, &task.requests, [&task.intended, &task.actual]))?;
        }
        let all = [&summary.intended, &summary.actual];
        writer.write_record(row("(all)", &summary.requests, all))
    };
    write().map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn row(name: &str, requests: &Requests, latencies: [&Latency; 2]) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend(
        [
            requests.started,
            requests.completed,
            requests.failed,
            requests.unfinished,
            requests.bytes,
        ]
        .map(|count| count.to_string()),
    );
    let rates = [requests.completed_rate, requests.failed_rate];
    let times = latencies.into_iter().flat_map(Latency::all);
    row.extend(rates.into_iter().chain(times).map(|value| format!("{value:.3}")));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_task_and_one_for_all() {
        insta::assert_snapshot!(csv(&Summary::example()).expect("a table"));
    }
}
