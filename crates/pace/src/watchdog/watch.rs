//! One attempt under watch.

use std::time::Duration;

use tokio::time::Instant;

use super::cohort::{Ending, Extensions, Together};
use super::look::{Case, Decision, Evidence, Extension, LookRule, Looks, SetBy, Terms};
use crate::Deadline;

/// One attempt: its deadlines, what it last did, and when to look at it. Some 150 bytes.
///
/// It counts time from the attempt's start, without what the controller lost (see [`Stalls`](super::Stalls)); every call
/// therefore takes the time and the total that was lost.
///
/// ```text
///            progress
///          ┌──────────┐
///          ▼          │
///       waiting ── next() passes ──► look ──► kill, ask, reconnect, early exit
///          ▲                          │
///          └── extend, warn and wait ─┘
/// ```
#[derive(Debug, Clone)]
pub struct Watch {
    started: Instant,
    lost_before: Duration,
    idle: Option<Limit>,
    total: Option<Limit>,
    terms: Terms,
    /// When something last moved.
    progress: Duration,
    longest_silence: Duration,
    /// Not before this time, whatever the deadlines say.
    again: Option<Duration>,
    looks: Looks,
    together: Extensions,
    overdue: bool,
}

/// How long, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How long.
    pub length: Duration,
    /// Who set it.
    pub by: SetBy,
}

/// Looks before a deadline begin this part of it earlier, so that its judgement is ready when it passes.
const LEAD: u32 = 10;
/// The longest lead.
const LONGEST_LEAD: Duration = Duration::from_secs(15);

// === impl Watch ===

impl Watch {
    /// An attempt starts. `lost` is [`Stalls::lost`](super::Stalls::lost) now.
    pub fn new(
        idle: Option<Limit>,
        total: Option<Limit>,
        terms: Terms,
        now: Instant,
        lost: Duration,
    ) -> Self {
        Self {
            started: now,
            lost_before: lost,
            idle,
            total,
            terms,
            progress: Duration::ZERO,
            longest_silence: Duration::ZERO,
            again: None,
            looks: Looks::default(),
            together: Extensions::default(),
            overdue: false,
        }
    }

    /// Output arrived, or something else says that it moves.
    pub fn progress(&mut self, now: Instant, lost: Duration) {
        let now = self.elapsed(now, lost);
        self.moved(now);
        self.again = None;
    }

    /// How long it runs, without what the controller lost.
    pub fn elapsed(&self, now: Instant, lost: Duration) -> Duration {
        now.saturating_duration_since(self.started)
            .saturating_sub(lost.saturating_sub(self.lost_before))
    }

    /// How long nothing has moved.
    pub fn silence(&self, now: Instant, lost: Duration) -> Duration {
        self.elapsed(now, lost).saturating_sub(self.progress)
    }

    /// The longest silence up to now, for the class's history.
    pub fn longest_silence(&self, now: Instant, lost: Duration) -> Duration {
        self.longest_silence.max(self.silence(now, lost))
    }

    /// The total deadline, for the class's history.
    pub fn total(&self) -> Option<Duration> {
        self.total.map(|limit| limit.length)
    }

    /// When to look, and for which deadline. Without deadlines the hard cap is looked at.
    pub fn next(&self, rule: &LookRule, now: Instant, lost: Duration) -> (Instant, Deadline) {
        let (due, limit, deadline) = self.first_due(rule);
        let lead = (limit.length / LEAD).min(LONGEST_LEAD);
        let at = self.again.unwrap_or(due.saturating_sub(lead));
        let wait = at.saturating_sub(self.elapsed(now, lost));
        // A moment too far away to be expressed is as good as the hard cap from now.
        let moment = now.checked_add(wait).unwrap_or(now + rule.hard_cap);
        (moment, deadline)
    }

    /// The first look before the total deadline: tell the [`Cohort`](super::Cohort), once.
    #[must_use]
    pub fn becomes_overdue(&mut self, rule: &LookRule) -> bool {
        let first = !self.overdue && self.first_due(rule).2 == Deadline::Total;
        self.overdue |= first;
        first
    }

    /// Whether the cohort was told.
    pub fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// How it left its [`Cohort`](super::Cohort), if it ended by itself just now.
    pub fn ending(&self, now: Instant, lost: Duration) -> Ending {
        match self.total() {
            Some(total) if self.elapsed(now, lost) > total => Ending::Late,
            _ => Ending::InTime,
        }
    }

    /// Decides after a look. `samples` are those of the class, `together` what the [`Cohort`](super::Cohort) says.
    pub fn look(
        &mut self,
        rule: &LookRule,
        evidence: Evidence,
        samples: u64,
        together: Option<Together>,
        now: Instant,
        lost: Duration,
    ) -> Decision {
        let elapsed = self.elapsed(now, lost);
        let (due, limit, deadline) = self.first_due(rule);
        let moves = evidence == Evidence::Moves;
        let case = Case {
            deadline,
            by: limit.by,
            limit: limit.length,
            due,
            operator_total: self
                .total
                .filter(|total| total.by == SetBy::Operator)
                .map(|total| total.length),
            elapsed,
            samples,
            terms: self.terms,
            together: together.filter(|together| self.together.may_help(*together)),
        };
        let decision = rule.decide(&case, evidence, &mut self.looks);
        if moves {
            self.moved(elapsed);
        }
        match &decision {
            Decision::Extend { until, why } => {
                if let Extension::Together(together) = why {
                    self.together.extended(*together);
                    // What was seen before the others overran too says little.
                    self.looks.forget();
                }
                // What moves is silent anew from now on; for its total deadline the extension counts.
                self.again = (!moves || deadline == Deadline::Total).then_some(*until);
            }
            Decision::WarnAndWait { until } => self.again = Some(*until),
            _ => {}
        }
        decision
    }

    fn moved(&mut self, now: Duration) {
        self.longest_silence = self.longest_silence.max(now.saturating_sub(self.progress));
        self.progress = self.progress.max(now);
        self.looks.forget();
    }

    /// The deadline that passes first, and when.
    fn first_due(&self, rule: &LookRule) -> (Duration, Limit, Deadline) {
        let hard_cap = Limit {
            length: rule.hard_cap,
            by: SetBy::Auto,
        };
        let total = self.total.unwrap_or(hard_cap);
        let total = (total.length, total, Deadline::Total);
        match self.idle {
            Some(idle) if self.progress.saturating_add(idle.length) < total.0 => {
                (self.progress.saturating_add(idle.length), idle, Deadline::Idle)
            }
            _ => total,
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
