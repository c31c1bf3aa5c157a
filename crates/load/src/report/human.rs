//! The end of a test, for people.

use reveille_text::duration::shown_seconds;
use reveille_text::harmless::{self, shortened};
use reveille_text::{Bytes, counted, grouped};

use super::Latency;
use super::explain::{number, rate};
use super::summary::Summary;

/// The most tasks that the last screen lists; files list all.
const MOST_TASKS: usize = 30;

/// Columns of a task's name on the last screen, so that the table is at most 80 columns wide.
const NAME: usize = 26;

/// Phases of a request, in order.
const PHASES: [&str; 5] = ["resolve", "connect", "tls", "first_byte", "body"];

/// The last screen. Long lines are broken to `width` columns.
pub(crate) fn human(summary: &Summary, width: usize) -> String {
    let requests = &summary.requests;
    let ended = match (&summary.ended[..], &summary.aborted_by) {
        ("aborted", Some(threshold)) => format!("aborted by `{threshold}`"),
        (ended, _) => ended.to_owned(),
    };
    let mut lines = vec![
        format!(
            "{}: {ended} after {}, up to {}",
            harmless::line(&summary.name),
            shown_seconds(summary.total_seconds),
            counted(summary.peak_users, "user")
        ),
        String::new(),
    ];
    lines.push(match (requests.offered, requests.offered_rate) {
        (Some(offered), Some(each)) => count("offered", offered, each),
        _ => "  offered      as many as are answered".to_owned(),
    });
    for (name, number, each) in [
        ("started", requests.started, requests.started_rate),
        ("completed", requests.completed, requests.completed_rate),
        ("failed", requests.failed, requests.failed_rate),
    ] {
        lines.push(count(name, number as f64, each));
    }
    if requests.unfinished > 0 {
        let unfinished = number(requests.unfinished as f64);
        lines.push(format!(
            "  {:<11}{unfinished:>13}  cut off at the end",
            "unfinished"
        ));
    }
    lines.push(format!(
        "\n  {:<20}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "latency", "mean", "p50", "p95", "p99", "p99.9", "max"
    ));
    lines.push(latency("from intended start", &summary.intended));
    lines.push(latency("from actual start", &summary.actual));
    for name in PHASES {
        if let Some(phase) = summary.phases.get(name) {
            lines.push(latency(&format!("  {}", name.replace('_', " ")), phase));
        }
    }
    if summary.tasks.len() > 1 {
        tasks(summary, &mut lines);
    }
    if !summary.errors.is_empty() {
        lines.push("\n  failures".to_owned());
        for failures in summary.errors.iter().take(MOST_TASKS) {
            let text = format!(
                "{:>12}  {:<16} {}: {}",
                number(failures.count as f64),
                failures.kind,
                shortened(&harmless::line(&failures.task), 40),
                harmless::line(&failures.example)
            );
            broken(&text, 14, width, &mut lines);
        }
    }
    lines.push(String::new());
    if !summary.statuses.is_empty() {
        let answers = |(status, count): (&u16, &u64)| format!("{} with status {status}", grouped(*count));
        let answers: Vec<String> = summary.statuses.iter().map(answers).collect();
        broken(
            &format!("  answers: {}", answers.join(", ")),
            4,
            width,
            &mut lines,
        );
    }
    for sentence in &summary.sentences {
        broken(&format!("  {sentence}"), 4, width, &mut lines);
    }
    if summary.bootstraps > 0 {
        let mut text = format!("  bootstrap: ran {}", counted(summary.bootstraps, "time"));
        if summary.refresh_failures > 0 {
            text += &format!("; a refresh failed {}", counted(summary.refresh_failures, "time"));
        }
        lines.push(text);
    }
    for lost in &summary.generator.lost {
        broken(&format!("  lost: {}", harmless::line(lost)), 4, width, &mut lines);
    }
    if !summary.thresholds.is_empty() {
        lines.push(String::new());
    }
    for threshold in &summary.thresholds {
        let verdict = if threshold.holds { "PASS" } else { "FAIL" };
        let value = measured(&threshold.text, threshold.value);
        lines.push(format!("  {verdict}  {}: {value}", threshold.text));
    }
    let generator = &summary.generator;
    let text = format!(
        "  tester: {} of processor time ({:.0} % of one core), peak {} of memory, {}",
        shown_seconds(generator.cpu_seconds),
        100.0 * generator.cpu_seconds / generator.seconds.max(1e-3),
        Bytes(generator.peak_memory_kib << 10),
        counted(summary.connections, "connection")
    );
    lines.push(String::new());
    broken(&text, 4, width, &mut lines);
    lines.join("\n") + "\n"
}

fn tasks(summary: &Summary, lines: &mut Vec<String>) {
    lines.push(format!(
        "\n  {:<NAME$}{:>11}{:>8}{:>9}{:>8}{:>8}{:>8}",
        "task", "completed", "failed", "/s", "p50", "p95", "p99"
    ));
    for task in summary.tasks.iter().take(MOST_TASKS) {
        let mut name = harmless::line(&task.name);
        if name.chars().count() > NAME {
            // A long name has a line of its own.
            lines.push(format!("  {name}"));
            name.clear();
        }
        lines.push(format!(
            "  {name:<NAME$}{:>11}{:>8}{:>9}{:>8}{:>8}{:>8}",
            number(task.requests.completed as f64),
            number(task.requests.failed as f64),
            rate(task.requests.completed_rate),
            ms(task.intended.p50),
            ms(task.intended.p95),
            ms(task.intended.p99)
        ));
    }
    if summary.tasks.len() > MOST_TASKS {
        lines.push(format!("  and {} more", summary.tasks.len() - MOST_TASKS));
    }
}

/// The differences from an earlier test.
pub(crate) fn compare(now: &Summary, before: &Summary) -> String {
    let mut text = format!(
        "\n  {:<14}{:>12}{:>12}{:>15}\n",
        "compared with", "before", "now", "change"
    );
    let size = |of: &Summary| format!("{} for {:.0} s", counted(of.peak_users, "user"), of.load_seconds);
    let (size_now, size_before) = (size(now), size(before));
    if size_now != size_before {
        text += &format!("  warning: the tests differ: {size_before} before, {size_now} now\n");
    }
    let (rates, was) = (&now.requests, &before.requests);
    for (name, now, before, unit) in [
        ("completed", rates.completed_rate, was.completed_rate, "/s"),
        ("failed", rates.failed_rate, was.failed_rate, "/s"),
        ("p50", now.intended.p50, before.intended.p50, "ms"),
        ("p95", now.intended.p95, before.intended.p95, "ms"),
        ("p99", now.intended.p99, before.intended.p99, "ms"),
    ] {
        let change = if before > 0.0 {
            format!("{:+.1} %", 100.0 * (now - before) / before)
        } else {
            String::new()
        };
        text += &format!("  {name:<14}{before:>12.2}{now:>12.2} {unit:<4}{change:>10}\n");
    }
    text
}

fn count(name: &str, count: f64, each: f64) -> String {
    format!("  {name:<11}{:>13}{:>13}/s", number(count), rate(each))
}

fn latency(name: &str, latency: &Latency) -> String {
    let [mean, p50, _, p95, p99, p999, max] = latency.all().map(ms);
    format!("  {name:<20}{mean:>9}{p50:>9}{p95:>9}{p99:>9}{p999:>9}{max:>9}")
}

/// Adds a text, broken between words; all lines but the first are indented.
fn broken(text: &str, indent: usize, width: usize, lines: &mut Vec<String>) {
    let start = text.len() - text.trim_start().len();
    let mut line = text[..start].to_owned();
    for word in text[start..].split(' ') {
        let is_first = line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
}

/// Milliseconds, for people.
pub(super) fn ms(value: f64) -> String {
    shown_seconds(value / 1e3)
}

/// The measured value of a threshold, in the unit of its metric.
pub(super) fn measured(threshold: &str, value: Option<f64>) -> String {
    let Some(value) = value else {
        return "never measured".to_owned();
    };
    let metric = threshold.split(|c: char| !c.is_ascii_alphanumeric()).next();
    match metric.unwrap_or_default() {
        "errors" | "late" => format!("{:.2} %", value * 100.0),
        "rate" => format!("{}/s", rate(value)),
        _ => ms(value * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_reads_well() {
        for width in [60, 80, 120] {
            insta::assert_snapshot!(format!("end-{width}"), human(&Summary::example(), width));
        }
    }

    #[test]
    fn a_comparison_reads_well() {
        let mut before = Summary::example();
        before.intended.p99 *= 2.0;
        before.requests.failed_rate = 0.0;
        before.load_seconds += 1.0;
        let same = compare(&Summary::example(), &before);
        before.peak_users = 1;
        let other = compare(&Summary::example(), &before);
        insta::assert_snapshot!(format!("{same}{other}"));
    }

    #[test]
    fn lines_break_between_words() {
        let mut lines = Vec::new();
        broken("  one two three", 4, 9, &mut lines);
        assert_eq!(lines, ["  one two", "    three"]);
    }
}
