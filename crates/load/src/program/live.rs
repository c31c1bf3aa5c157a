//! The live view: on a terminal a few lines that are redrawn each second, elsewhere a line every 10 seconds.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use reveille_text::duration::shown;
use reveille_text::{counted, harmless};
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
        let kinds = totals.all.kinds.iter();
        let errors: Vec<String> = kinds.map(|(kind, count)| format!("{kind} {count}")).collect();
        let counts = &second.all.counts;
        let rates = format!(
            "{:>6.0} s  {}  {:.0} offered/s  {} completed/s  {} failed/s",
            at.as_secs_f64(),
            counted(second.users, "user"),
            second.offered_requests(scenario),
            counts.completed,
            counts.failed,
        );
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| shown(second.all.intended.quantile(quantile)));
        let quantiles = format!("p50 {p50}  p95 {p95}  p99 {p99}");
        if !self.terminal {
            if at >= self.last + EVERY {
                self.last = at;
                self.writer.write(format!("{rates}  {quantiles}\n"));
            }
            return;
        }
        let mut lines = vec![
            rates,
            format!("{INDENT}{quantiles}"),
            format!("{INDENT}{}", self.sparkline()),
        ];
        if !errors.is_empty() {
            lines.push(format!(
                "{INDENT}failures: {}",
                harmless::line(&errors.join(", "))
            ));
        }
        // A line that wraps would not be replaced as a whole.
        let width = tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { 80 } else { width };
        for line in &mut lines {
            *line = line.chars().take(width.saturating_sub(1).max(20)).collect();
        }
        self.draw(&(lines.join("\n") + "\n"), lines.len());
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

    fn sparkline(&self) -> String {
        let most = self.rates.iter().copied().max().unwrap_or(0).max(1);
        self.rates
            .iter()
            .map(|rate| {
                let level = usize::try_from(rate * 7 / most).unwrap_or(0);
                ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][level.min(7)]
            })
            .collect()
    }
}
