//! A report in one file that needs nothing else: tables, and charts as SVG.

use reveille_text::duration::shown_seconds;
use reveille_text::{Bytes, Markup, counted};

use super::Series;
use super::explain::{number, rate};
use super::human::{in_unit, ms};
use super::summary::{Generator, Latency, Summary};
use crate::engine::Point;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 24.0;

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1d2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #d8dee6}
th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#55606e}
.missed{font-weight:700;color:#b3261e}.sentence{background:#f2f5f8;padding:.6rem .9rem;margin:.4rem 0}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#e4e8ed}th,td{border-color:#333b45}.sentence{background:#1f262e}svg text{fill:#a6b0bb}.missed{color:#ff8a80}}";

/// One line of a chart.
type Line<'a> = (&'a str, &'a str, &'a dyn Fn(&Point) -> f64);

/// The whole document.
pub fn html(summary: &Summary, series: &Series) -> String {
    let requests = &summary.requests;
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{name}: load test</title><style>{STYLE}</style></head><body>\n<h1>{name}</h1>\n\
         <p>{} after {}, up to {}.</p>\n",
        Markup(&summary.ended),
        shown_seconds(summary.total_seconds),
        counted(summary.peak_users, "user"),
        name = Markup(&summary.name),
    );
    for sentence in &summary.sentences {
        text.push_str(&format!("<p class=\"sentence\">{}</p>\n", Markup(sentence)));
    }
    text.push_str("<h2>Requests</h2>\n<table><tr><th></th><th>count</th><th>a second</th></tr>\n");
    let mut row = |name: &str, count: String, each: String| {
        text.push_str(&format!(
            "<tr><td>{name}</td><td>{count}</td><td>{each}</td></tr>\n"
        ));
    };
    row(
        "offered",
        requests.offered.map_or("as answered".to_owned(), number),
        requests.offered_rate.map_or(String::new(), rate),
    );
    row(
        "started",
        number(requests.started as f64),
        rate(requests.started_rate),
    );
    row(
        "completed",
        number(requests.completed as f64),
        rate(requests.completed_rate),
    );
    row(
        "failed",
        number(requests.failed as f64),
        rate(requests.failed_rate),
    );
    row("unfinished", number(requests.unfinished as f64), String::new());
    text.push_str("</table>\n");
    latencies(&mut text, summary);
    if !summary.thresholds.is_empty() {
        text.push_str("<h2>Marks</h2>\n<table><tr><th>mark</th><th>measured</th><th></th></tr>\n");
        for mark in &summary.thresholds {
            text.push_str(&format!(
                "<tr><td>{}</td><td>{}</td><td{}</td></tr>\n",
                Markup(&mark.text),
                mark.value
                    .map_or("never".to_owned(), |value| in_unit(&mark.text, value)),
                if mark.holds {
                    ">held"
                } else {
                    " class=\"missed\">missed"
                }
            ));
        }
        text.push_str("</table>\n");
    }
    text.push_str("<h2>Requests a second</h2>\n");
    chart(
        &mut text,
        series,
        &[
            ("offered", "#8a94a0", &|point| point.offered),
            ("completed", "#1a7f4b", &|point| point.completed),
            ("failed", "#c62828", &|point| point.failed),
        ],
    );
    text.push_str("<h2>Latency from the intended start, ms</h2>\n");
    chart(
        &mut text,
        series,
        &[
            ("p50", "#1565c0", &|point| point.p50_ms),
            ("p95", "#6a3fb5", &|point| point.p95_ms),
            ("p99", "#c2571a", &|point| point.p99_ms),
        ],
    );
    text.push_str("<h2>Users</h2>\n");
    chart(
        &mut text,
        series,
        &[("users", "#1565c0", &|point| point.users as f64)],
    );
    tables(&mut text, summary);
    let Generator {
        cpu_seconds,
        peak_memory_kib,
        lost,
        ..
    } = &summary.generator;
    text.push_str(&format!(
        "<h2>The tester</h2>\n<p>{} of processor time, at most {} of memory, {}.</p>\n",
        shown_seconds(*cpu_seconds),
        Bytes(peak_memory_kib << 10),
        counted(summary.connections, "connection")
    ));
    for lost in lost {
        text.push_str(&format!("<p class=\"missed\">Lost: {}</p>\n", Markup(lost)));
    }
    text.push_str("</body></html>\n");
    text
}

fn latencies(text: &mut String, summary: &Summary) {
    text.push_str(
        "<h2>Latency</h2>\n<table><tr><th></th><th>mean</th><th>p50</th><th>p90</th><th>p95</th><th>p99</th><th>p99.9</th>\
         <th>max</th></tr>\n",
    );
    let mut row = |name: &str, latency: &Latency| {
        text.push_str(&format!("<tr><td>{name}</td>"));
        let Latency {
            mean,
            p50,
            p90,
            p95,
            p99,
            p999,
            max,
            ..
        } = latency;
        for value in [mean, p50, p90, p95, p99, p999, max] {
            text.push_str(&format!("<td>{}</td>", ms(*value)));
        }
        text.push_str("</tr>\n");
    };
    row("from the intended start", &summary.intended);
    row("from the actual start", &summary.actual);
    for name in ["resolve", "connect", "tls", "first_byte", "body"] {
        if let Some(phase) = summary.phases.get(name) {
            row(&name.replace('_', " "), phase);
        }
    }
    text.push_str("</table>\n");
}

fn tables(text: &mut String, summary: &Summary) {
    text.push_str(
        "<h2>Tasks</h2>\n<table><tr><th>task</th><th>completed</th><th>failed</th><th>a second</th>\
         <th>p50</th><th>p95</th><th>p99</th><th>p99, actual start</th></tr>\n",
    );
    for task in &summary.tasks {
        text.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            Markup(&task.name),
            number(task.requests.completed as f64),
            number(task.requests.failed as f64),
            rate(task.requests.completed_rate),
            ms(task.intended.p50),
            ms(task.intended.p95),
            ms(task.intended.p99),
            ms(task.actual.p99),
        ));
    }
    text.push_str("</table>\n");
    if summary.errors.is_empty() {
        return;
    }
    text.push_str(
        "<h2>Failures</h2>\n<table><tr><th>task</th><th>kind</th><th>count</th><th>the first one</th></tr>\n",
    );
    for failures in &summary.errors {
        text.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            Markup(&failures.task),
            Markup(&failures.kind),
            number(failures.count as f64),
            Markup(&failures.example)
        ));
    }
    text.push_str("</table>\n");
}

/// Lines over time. Each has a name beside its colour; a table below the fold has the same numbers.
fn chart(text: &mut String, series: &Series, lines: &[Line<'_>]) {
    let end = series.last().map_or(1.0, |point| point.at).max(1e-9);
    let most = series
        .iter()
        .flat_map(|point| lines.iter().map(|(_, _, value)| value(point)))
        .fold(0.0, f64::max)
        .max(1e-9);
    text.push_str(&format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
        WIDTH + LEFT,
        HEIGHT + BOTTOM + 20.0,
        lines
            .iter()
            .map(|(name, _, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    ));
    for share in [0.0, 0.5, 1.0] {
        let y = 20.0 + HEIGHT * (1.0 - share);
        text.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#8a94a0\" stroke-width=\".4\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0,
            if most >= 100.0 { number(most * share) } else { format!("{:.2}", most * share) }
        ));
        text.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0} s</text>\n",
            LEFT + (WIDTH - 14.0) * share + 4.0,
            HEIGHT + 38.0,
            end * share
        ));
    }
    for (index, (name, colour, value)) in lines.iter().enumerate() {
        let points: Vec<String> = series
            .iter()
            .map(|point| {
                format!(
                    "{:.1},{:.1}",
                    LEFT + WIDTH * point.at / end,
                    20.0 + HEIGHT * (1.0 - value(point) / most)
                )
            })
            .collect();
        text.push_str(&format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>\
             <text x=\"{}\" y=\"12\" style=\"fill:{colour};font-weight:600\">{name}</text>\n",
            points.join(" "),
            LEFT + 90.0 * index as f64
        ));
    }
    text.push_str("</svg>\n");
}
