//! The live view: on a terminal a few lines that are redrawn each second, elsewhere a line every 10 seconds.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use reveille_text::duration::shown;
use reveille_text::{counted, grouped, harmless};
use rustix::termios::tcgetwinsize;

use super::writer::{Taken, Writer};
use crate::scenario::Scenario;
use crate::stats::{Second, Totals};

/// Seconds that the sparkline of the live view shows.
const SPARKS: usize = 60;
/// Interval of progress lines if standard error is not a terminal.
const EVERY: Duration = Duration::from_secs(10);

/// If the live view was not redrawn for this long, the program was stopped.
const STOPPED: Duration = Duration::from_secs(3);

/// Indent of lines that continue the first one.
const INDENT: &str = "          ";

/// The view.
pub(crate) struct Live {
    terminal: bool,
    writer: Writer,
    /// Lines on the screen that the next redraw replaces.
    drawn: usize,
    /// When they were drawn.
    at: Instant,
    rates: VecDeque<u64>,
    last: Duration,
}

// === impl Live ===

impl Live {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminal: std::io::stderr().is_terminal(),
            writer: Writer::start(Box::new(std::io::stderr()))?,
            drawn: 0,
            at: Instant::now(),
            rates: VecDeque::new(),
            last: Duration::ZERO,
        })
    }

    pub(crate) fn show(&mut self, scenario: &Scenario, at: Duration, second: &Second, totals: &Totals) {
        self.rates.push_back(second.all.counts.completed);
        if self.rates.len() > SPARKS {
            self.rates.pop_front();
        }
        let numbers = numbers(scenario, at, second);
        if self.terminal {
            let width = tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
            let width = if width == 0 { 80 } else { width };
            let lines = picture(numbers, &self.rates, totals, width);
            self.draw(&(lines.join("\n") + "\n"), lines.len());
        } else if at >= self.last + EVERY {
            self.last = at;
            self.writer.write(numbers.join("  ") + "\n");
        }
    }

    /// Prints a line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.draw(&format!("{}\n", harmless::line(text)), 0);
    }

    /// Replaces the lines on the screen by `text`, whose last `lines` are replaced next time. A redraw that the writer
    /// drops changes nothing.
    fn draw(&mut self, text: &str, lines: usize) {
        // After Ctrl-Z and `fg`, the shell has written below.
        if self.at.elapsed() > STOPPED {
            self.drawn = 0;
        }
        self.at = Instant::now();
        let clear = if self.terminal && self.drawn > 0 {
            format!("\r\x1b[{}A\x1b[J", self.drawn)
        } else {
            String::new()
        };
        if matches!(self.writer.write(clear + text), Taken::Yes) {
            self.drawn = lines;
        }
    }

    /// Waits until everything is on the screen, or until `enough`.
    pub(crate) async fn end(self, enough: impl Future<Output = ()>) {
        // An unreadable screen is not a failure.
        let _ = self.writer.finish(None, enough).await;
    }
}

/// The numbers of a second: rates and quantiles.
fn numbers(scenario: &Scenario, at: Duration, second: &Second) -> [String; 2] {
    let counts = &second.all.counts;
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| shown(second.all.intended.quantile(quantile)));
    [
        format!(
            "{:>6.0} s  {}  {:.0} offered/s  {} completed/s  {} failed/s",
            at.as_secs_f64(),
            counted(second.users, "user"),
            second.offered_requests(scenario),
            grouped(counts.completed),
            grouped(counts.failed),
        ),
        format!("p50 {p50}  p95 {p95}  p99 {p99}"),
    ]
}

/// The lines on the screen, each narrower than `width`: a line that wraps would not be replaced as a whole.
fn picture(numbers: [String; 2], rates: &VecDeque<u64>, totals: &Totals, width: usize) -> Vec<String> {
    let room = width.saturating_sub(INDENT.len() + 1).max(10);
    let [first, quantiles] = numbers;
    let mut lines = vec![
        first,
        format!("{INDENT}{quantiles}"),
        format!("{INDENT}{}", sparkline(rates, room)),
    ];
    let kinds = totals.all.kinds.iter();
    let failures: Vec<String> = kinds
        .map(|(kind, count)| format!("{} {}", kind.name(), grouped(*count)))
        .collect();
    if !failures.is_empty() {
        lines.push(format!("{INDENT}failures: {}", failures.join(", ")));
    }
    for line in &mut lines {
        *line = line.chars().take(INDENT.len() + room).collect();
    }
    lines
}

/// The last rates as bars.
fn sparkline(rates: &VecDeque<u64>, most: usize) -> String {
    let highest = rates.iter().copied().max().unwrap_or(0).max(1);
    rates
        .range(rates.len().saturating_sub(most)..)
        .map(|rate| {
            let level = usize::try_from(rate * 7 / highest).unwrap_or(0);
            ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][level.min(7)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Given;
    use crate::stats::{Kind, Latencies};

    #[test]
    fn the_live_view_reads_well() {
        let text = "base_url: http://h\nwait: 100ms\ntasks: [{get: /}]\nstages: [{users: 50, for: 1m}]\n";
        let scenario = Scenario::parse(text, "load.yaml", &Given::default()).expect("a scenario");
        let mut intended = Latencies::default();
        (1..=100).for_each(|number| intended.record(Duration::from_millis(number)));
        let mut second = Second::default();
        second.users = 1250;
        second.all.intended = intended;
        (second.all.counts.completed, second.all.counts.failed) = (12_345, 67);
        let mut totals = Totals::new(1, 1);
        totals.all.kinds.extend([
            (Kind::Refused, 120),
            (Kind::Status, 3),
            (Kind::BodyTimeout, 40),
            (Kind::Check, 5),
        ]);
        let rates: VecDeque<u64> = (0..60).map(|second| second * 200).collect();
        let all = [60, 80, 120].map(|width| {
            let lines = picture(
                numbers(&scenario, Duration::from_secs(75), &second),
                &rates,
                &totals,
                width,
            );
            assert!(
                lines.iter().all(|line| line.chars().count() < width),
                "{lines:#?}"
            );
            format!("{width} columns:\n{}\n", lines.join("\n"))
        });
        insta::assert_snapshot!(all.concat());
    }
}
