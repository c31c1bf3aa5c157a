//! A report in one file that needs no other: tables, and charts as SVG.

use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use reveille_document::value_of;
use reveille_text::duration::shown_seconds;
use reveille_text::{Bytes, Markup, counted};
use serde::Serialize;
use serde_json::json;

use super::explain::{number, rate};
use super::human::{measured, ms};
use super::summary::Summary;
use crate::engine::Point;

/// The area of a chart in the HTML report; the template draws the axes around it.
const LEFT: f64 = 64.0;
const TOP: f64 = 20.0;
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 200.0;

/// The name of a line, and its value at a point.
type Definition = (&'static str, fn(&Point) -> f64);

/// Lines over time.
#[derive(Serialize)]
struct Chart {
    title: &'static str,
    /// The highest value.
    most: f64,
    /// The last moment, in seconds.
    end: f64,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    /// The points in the form of SVG.
    points: String,
}

/// Makes the whole document.
pub(crate) fn html(summary: &Summary, series: &[Point]) -> Result<String, String> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true);
    environment.set_syntax(syntax.build().map_err(|error| error.to_string())?);
    environment.set_formatter(|out, _, value| Ok(write!(out, "{}", Markup(&value.to_string()))?));
    environment.add_filter("number", number);
    environment.add_filter("rate", rate);
    environment.add_filter("ms", ms);
    environment.add_filter("seconds", shown_seconds);
    environment.add_filter("kib", |kib: u64| Bytes(kib << 10).to_string());
    environment.add_filter("counted", |count: u64, noun: &str| counted(count, noun));
    environment.add_filter("measured", |text: &str, value| measured(text, value));
    let charts = [
        Chart::new(
            "Requests/s",
            series,
            &[
                ("offered", |point| point.offered),
                ("completed", |point| point.completed),
                ("failed", |point| point.failed),
            ],
        ),
        Chart::new(
            "Latency from intended start, ms",
            series,
            &[
                ("p50", |point| point.p50_ms),
                ("p95", |point| point.p95_ms),
                ("p99", |point| point.p99_ms),
            ],
        ),
        Chart::new("Users", series, &[("users", |point| point.users as f64)]),
    ];
    let missed = summary.missed().count();
    environment
        .render_named_str(
            "report.html",
            include_str!("report.html"),
            value_of(&json!({"summary": summary, "charts": charts, "missed": missed})),
        )
        .map_err(|error| error.to_string())
}

// === impl Chart ===

impl Chart {
    fn new(title: &'static str, series: &[Point], lines: &[Definition]) -> Self {
        let end = series.last().map_or(1.0, |point| point.at).max(1e-9);
        let values = series
            .iter()
            .flat_map(|point| lines.iter().map(|(_, value)| value(point)));
        let most = values.fold(1e-9, f64::max);
        let place = |point: &Point, value: f64| {
            let (x, y) = (WIDTH * point.at / end, HEIGHT * (1.0 - value / most));
            format!("{:.1},{:.1}", LEFT + x, TOP + y)
        };
        let line = |(name, value): &Definition| {
            let points: Vec<String> = series.iter().map(|point| place(point, value(point))).collect();
            Line {
                name,
                points: points.join(" "),
            }
        };
        Self {
            title,
            most,
            end,
            lines: lines.iter().map(line).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_reads_well() {
        let point = |at: f64| Point {
            at,
            users: 25,
            offered: 500.0,
            completed: 100.0 * at,
            failed: 1.0,
            p50_ms: 0.85,
            p95_ms: 48.0,
            p99_ms: 150.0 / at,
        };
        let report = html(&Summary::example(), &[point(1.0), point(2.0)]).expect("a report");
        let (_, body) = report.split_once("<body>").expect("a body");
        insta::assert_snapshot!(body);
    }
}
