//! The end of a test, for people.

use reveille_text::duration::shown_seconds;
use reveille_text::harmless::{self, shortened};
use reveille_text::{Bytes, counted};

use super::Latency;
use super::explain::{number, rate};
use super::summary::Summary;

/// Tasks that are listed; the rest is in the files.
const MOST_TASKS: usize = 30;

/// Columns of a task's name, so that the whole is no wider than the narrowest of terminals.
const NAME: usize = 26;

/// The last screen.
pub fn human(summary: &Summary) -> String {
    let mut text = String::new();
    let requests = &summary.requests;
    let line = |text: &mut String, name: &str, count: String, each: String| {
        text.push_str(&format!("  {name:<11}{count:>13}{each:>13}/s\n"));
    };
    text.push_str(&format!(
        "{}: {} after {}, up to {}\n\n",
        harmless::line(&summary.name),
        match (&summary.ended[..], &summary.aborted_by) {
            ("aborted", Some(mark)) => format!("aborted by `{mark}`"),
            (ended, _) => ended.to_owned(),
        },
        shown_seconds(summary.total_seconds),
        counted(summary.peak_users, "user")
    ));
    match (requests.offered, requests.offered_rate) {
        (Some(offered), Some(each)) => line(&mut text, "offered", number(offered), rate(each)),
        _ => text.push_str("  offered      as much as is answered\n"),
    }
    line(
        &mut text,
        "started",
        number(requests.started as f64),
        rate(requests.started_rate),
    );
    line(
        &mut text,
        "completed",
        number(requests.completed as f64),
        rate(requests.completed_rate),
    );
    line(
        &mut text,
        "failed",
        number(requests.failed as f64),
        rate(requests.failed_rate),
    );
    if requests.unfinished > 0 {
        text.push_str(&format!(
            "  {:<11}{:>13}  cut off at the end\n",
            "unfinished",
            number(requests.unfinished as f64)
        ));
    }
    text.push('\n');
    text.push_str(&format!(
        "  {:<20}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "latency", "mean", "p50", "p95", "p99", "p99.9", "max"
    ));
    latency(&mut text, "from intended start", &summary.intended);
    latency(&mut text, "from actual start", &summary.actual);
    for name in ["resolve", "connect", "tls", "first_byte", "body"] {
        if let Some(phase) = summary.phases.get(name) {
            latency(&mut text, &format!("  {}", name.replace('_', " ")), phase);
        }
    }
    if summary.tasks.len() > 1 {
        text.push_str(&format!(
            "\n  {:<NAME$}{:>11}{:>8}{:>9}{:>8}{:>8}{:>8}\n",
            "task", "completed", "failed", "/s", "p50", "p95", "p99"
        ));
        for task in summary.tasks.iter().take(MOST_TASKS) {
            let mut name = harmless::line(&task.name);
            if name.chars().count() > NAME {
                // A long name has a line of its own.
                text.push_str(&format!("  {name}\n"));
                name.clear();
            }
            text.push_str(&format!(
                "  {name:<NAME$}{:>11}{:>8}{:>9}{:>8}{:>8}{:>8}\n",
                number(task.requests.completed as f64),
                number(task.requests.failed as f64),
                rate(task.requests.completed_rate),
                ms(task.intended.p50),
                ms(task.intended.p95),
                ms(task.intended.p99)
            ));
        }
        if summary.tasks.len() > MOST_TASKS {
            text.push_str(&format!("  and {} more\n", summary.tasks.len() - MOST_TASKS));
        }
    }
    if !summary.errors.is_empty() {
        text.push_str("\n  failures\n");
        for failures in summary.errors.iter().take(MOST_TASKS) {
            text.push_str(&format!(
                "  {:>10}  {:<16} {}: {}\n",
                number(failures.count as f64),
                failures.kind,
                shortened(&harmless::line(&failures.task), 40),
                harmless::line(&failures.example)
            ));
        }
    }
    if !summary.sentences.is_empty() {
        text.push('\n');
    }
    for sentence in &summary.sentences {
        text.push_str(&format!("  {sentence}\n"));
    }
    if summary.bootstraps > 0 {
        text.push_str(&format!(
            "  bootstrap: made {}, refreshed {}",
            times(1),
            times(summary.bootstraps - 1)
        ));
        if summary.refresh_failures > 0 {
            text.push_str(&format!(
                "; refreshing failed {}",
                times(summary.refresh_failures)
            ));
        }
        text.push('\n');
    }
    for lost in &summary.generator.lost {
        text.push_str(&format!("  lost: {}\n", harmless::line(lost)));
    }
    if !summary.thresholds.is_empty() {
        text.push('\n');
    }
    for mark in &summary.thresholds {
        text.push_str(&format!(
            "  {}  {}{}\n",
            if mark.holds { "held  " } else { "MISSED" },
            mark.text,
            mark.value.map_or(" (never measured)".to_owned(), |value| format!(
                ": {}",
                in_unit(&mark.text, value)
            ))
        ));
    }
    text.push_str(&format!(
        "\n  tester: {} of processor time ({:.0} % of one core), at most {} of memory, {}\n",
        shown_seconds(summary.generator.cpu_seconds),
        100.0 * summary.generator.cpu_seconds / summary.generator.seconds.max(1e-3),
        Bytes(summary.generator.peak_memory_kib << 10),
        counted(summary.connections, "connection")
    ));
    text
}

/// What is different from an earlier test.
pub fn compare(now: &Summary, before: &Summary) -> String {
    let mut text = format!("\n  compared with {}\n", harmless::line(&before.name));
    let mut row = |name: &str, now: f64, before: f64, unit: &str| {
        let change = if before > 0.0 {
            format!("{:+.1} %", 100.0 * (now - before) / before)
        } else {
            String::new()
        };
        text.push_str(&format!(
            "  {name:<14}{before:>12.2}{now:>12.2} {unit:<4}{change:>10}\n"
        ));
    };
    row(
        "completed",
        now.requests.completed_rate,
        before.requests.completed_rate,
        "/s",
    );
    row(
        "failed",
        now.requests.failed_rate,
        before.requests.failed_rate,
        "/s",
    );
    row("p50", now.intended.p50, before.intended.p50, "ms");
    row("p95", now.intended.p95, before.intended.p95, "ms");
    row("p99", now.intended.p99, before.intended.p99, "ms");
    text
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

fn latency(text: &mut String, name: &str, latency: &Latency) {
    text.push_str(&format!("  {name:<20}"));
    for value in [
        latency.mean,
        latency.p50,
        latency.p95,
        latency.p99,
        latency.p999,
        latency.max,
    ] {
        text.push_str(&format!("{:>9}", ms(value)));
    }
    text.push('\n');
}

/// Milliseconds as people read them.
pub(super) fn ms(value: f64) -> String {
    shown_seconds(value / 1e3)
}

/// A mark's value in the unit its metric has.
pub(super) fn in_unit(text: &str, value: f64) -> String {
    let metric: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
    match metric.as_str() {
        "errors" | "late" => format!("{:.2} %", value * 100.0),
        "rate" => format!("{}/s", rate(value)),
        _ => ms(value * 1e3),
    }
}
