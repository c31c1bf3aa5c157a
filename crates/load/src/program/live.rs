//! The live view: a few lines on a terminal that are drawn over each second; elsewhere a line now and then.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::Duration;

use super::eprint;
use crate::report;
use crate::scenario::{Scenario, quantity::shown};
use crate::stats::{Second, Totals};

/// Seconds of the sparkline.
const SPARKS: usize = 60;
/// Where nobody looks on, a line this often.
const EVERY: Duration = Duration::from_secs(10);

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: bool,
    /// Lines that stand on the screen.
    drawn: usize,
    rates: VecDeque<u64>,
    last: Duration,
}

// === impl Live ===

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            drawn: 0,
            rates: VecDeque::new(),
            last: Duration::ZERO,
        }
    }

    pub(crate) fn show(&mut self, scenario: &Scenario, at: Duration, second: &Second, totals: &Totals) {
        self.rates.push_back(second.counts.completed);
        if self.rates.len() > SPARKS {
            self.rates.pop_front();
        }
        let errors: Vec<String> = totals
            .all
            .kinds
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let first = format!(
            "{:>6.0} s  {} users  {:.0} offered/s  {} completed/s  {} failed/s  p50 {}  p95 {}  p99 {}",
            at.as_secs_f64(),
            second.users,
            second.offered_requests(scenario),
            second.counts.completed,
            second.counts.failed,
            shown(second.intended.quantile(0.5)),
            shown(second.intended.quantile(0.95)),
            shown(second.intended.quantile(0.99)),
        );
        if !self.terminal {
            if at >= self.last + EVERY {
                self.last = at;
                eprint(&format!("{first}\n"));
            }
            return;
        }
        self.clear();
        let mut lines = vec![first, format!("          {}", self.sparkline())];
        if !errors.is_empty() {
            lines.push(report::human_harmless(&format!(
                "          failures: {}",
                errors.join(", ")
            )));
        }
        self.drawn = lines.len();
        eprint(&(lines.join("\n") + "\n"));
    }

    /// A line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        eprint(&format!("{}\n", report::human_harmless(text)));
    }

    fn clear(&mut self) {
        if self.terminal && self.drawn > 0 {
            eprint(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        self.drawn = 0;
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
