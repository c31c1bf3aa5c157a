//! The rules that are compared. All of them see the same runs, and learn from those that they let end.

use std::collections::VecDeque;
use std::time::Duration;

use reveille_pace::watchdog::{History, TotalRule};

/// A rule by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reveille,
    Conformal,
    Static,
    Deviations,
    Phi,
    Medians,
}

/// A rule with what it has learned of one class.
#[derive(Debug)]
pub(super) enum Rule {
    Reveille { rule: TotalRule, history: Box<History> },
    Other { kind: Kind, last: Last },
}

/// The last durations, in seconds, and their sums.
#[derive(Debug, Default)]
pub(super) struct Last {
    arrived: VecDeque<f64>,
    sorted: Vec<f64>,
    /// Sums are of distances from the first value, which keeps their digits.
    origin: f64,
    sum: f64,
    squares: f64,
}

/// How many durations a rule keeps.
const WINDOW: usize = 1000;
/// Samples before a rule judges.
pub(super) const LEAST: usize = 20;
const STATIC_S: f64 = 90.0;
const DEVIATIONS: f64 = 4.0;
/// A normal variable exceeds its mean by so many deviations with probability 10⁻⁸.
const PHI_8: f64 = 5.612;
/// Akka's `min-std-deviation`.
const PHI_LEAST_DEVIATION_S: f64 = 0.1;
const MEDIANS: f64 = 3.0;
/// Factor of the conformal rule.
const CONFORMAL_MARGIN: f64 = 1.10;
/// Its level, in thousandths.
const CONFORMAL_MISSED: usize = 1;

// === impl Kind ===

impl Kind {
    pub(super) const ALL: [Kind; 6] = [
        Kind::Reveille,
        Kind::Conformal,
        Kind::Static,
        Kind::Deviations,
        Kind::Phi,
        Kind::Medians,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Reveille => "**Reveille**",
            Kind::Conformal => "conformal",
            Kind::Static => "static 90 s",
            Kind::Deviations => "mean + 4 deviations",
            Kind::Phi => "phi-accrual, 8",
            Kind::Medians => "3 medians",
        }
    }

    pub(super) fn rule(self) -> Rule {
        match self {
            Kind::Reveille => Rule::Reveille {
                rule: TotalRule {
                    floor: Duration::ZERO,
                    ..TotalRule::default()
                },
                history: Box::default(),
            },
            kind => Rule::Other {
                kind,
                last: Last::default(),
            },
        }
    }
}

// === impl Rule ===

impl Rule {
    /// The deadline of attempt number `attempt`, in seconds.
    pub(super) fn deadline(&self, attempt: u32) -> Option<f64> {
        match self {
            Rule::Reveille { rule, history } => {
                rule.choose(history, attempt).0.map(|limit| limit.as_secs_f64())
            }
            Rule::Other { last, .. } if last.arrived.len() < LEAST => None,
            Rule::Other { kind, last } => {
                let (mean, deviation) = last.moments();
                let first = match kind {
                    Kind::Deviations => mean + DEVIATIONS * deviation,
                    Kind::Phi => mean + PHI_8 * deviation.max(PHI_LEAST_DEVIATION_S),
                    Kind::Medians => MEDIANS * last.sorted[last.sorted.len() / 2],
                    Kind::Conformal => last.conformal(),
                    Kind::Static | Kind::Reveille => STATIC_S,
                };
                Some(first * f64::from(1u32 << (attempt - 1)))
            }
        }
    }

    /// A run ended; its first attempt had this deadline.
    pub(super) fn resolved(&mut self, took: f64, limit: Option<f64>) {
        match self {
            Rule::Reveille { history, .. } => {
                let limit = limit.map(Duration::from_secs_f64);
                history.resolved(Duration::from_secs_f64(took), limit);
            }
            Rule::Other { last, .. } => last.push(took),
        }
    }

    /// All tries of a run were killed.
    pub(super) fn given_up(&mut self) {
        if let Rule::Reveille { history, .. } = self {
            history.given_up();
        }
    }

    /// Whether it considers other hosts that overrun too.
    pub(super) fn knows_cohorts(&self) -> bool {
        matches!(self, Rule::Reveille { .. })
    }
}

// === impl Last ===

impl Last {
    fn push(&mut self, value: f64) {
        if self.arrived.is_empty() {
            self.origin = value;
        }
        if self.arrived.len() == WINDOW
            && let Some(oldest) = self.arrived.pop_front()
        {
            self.add(oldest, -1.0);
            let at = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(at);
        }
        self.add(value, 1.0);
        let at = self.sorted.partition_point(|other| *other < value);
        self.sorted.insert(at, value);
        self.arrived.push_back(value);
    }

    fn add(&mut self, value: f64, sign: f64) {
        let distance = value - self.origin;
        self.sum += sign * distance;
        self.squares += sign * distance * distance;
    }

    /// 1.10 times the conformal bound at 0.1 % of the logarithms. Beyond the largest, half its distance from the median
    /// is added.
    fn conformal(&self) -> f64 {
        let count = self.sorted.len();
        let rank = ((count + 1) * (1000 - CONFORMAL_MISSED)).div_ceil(1000);
        let (median, largest) = (self.sorted[count / 2].ln(), self.sorted[count - 1].ln());
        let bound = match self.sorted.get(rank - 1) {
            Some(ranked) => ranked.ln(),
            None => largest + 0.5 * (largest - median) + 0.1,
        };
        CONFORMAL_MARGIN * bound.exp()
    }

    fn moments(&self) -> (f64, f64) {
        let count = self.arrived.len() as f64;
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        (self.origin + mean, variance.sqrt())
    }
}
