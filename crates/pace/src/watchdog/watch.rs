//! One attempt under watch.

use std::time::Duration;

use tokio::time::Instant;

use super::cohort::{Cohort, Ending, Extensions};
use super::look::{Case, Decision, Evidence, Extension, LookRule, Looks, SetBy, Terms};
use crate::Deadline;

/// One attempt: its deadlines, its last progress, and when to check it. About 200 bytes.
///
/// It counts time from the attempt's start, without the time that the controller lost (see [`Stalls`](super::Stalls)).
/// Every call therefore takes the time and the lost total.
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
    /// How long it ran before it was watched.
    before: Duration,
    lost_before: Duration,
    idle: Option<Limit>,
    total: Option<Limit>,
    terms: Terms,
    /// The time of the last progress.
    progress: Duration,
    /// The time of the last output.
    output: Duration,
    longest_silence: Duration,
    /// The deadlines after extensions; the earlier ones no longer apply.
    idle_until: Option<Duration>,
    total_until: Option<Duration>,
    /// When to check again, if one check was not enough.
    again: Option<Duration>,
    looks: Looks,
    together: Extensions,
    /// The deadline for which the cohort counts it as overdue.
    overdue: Option<Deadline>,
}

/// A deadline's length, and who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its length.
    pub length: Duration,
    /// Who set it.
    pub by: SetBy,
}

/// The first check starts this part of the deadline early, so that its result is ready when the deadline passes.
const LEAD: u32 = 10;
/// The longest lead.
const LONGEST_LEAD: Duration = Duration::from_secs(15);

// === impl Watch ===

impl Watch {
    /// Starts an attempt in its class's cohort. `lost` is the current [`Stalls::lost`](super::Stalls::lost).
    pub fn start(
        idle: Option<Limit>,
        total: Option<Limit>,
        terms: Terms,
        cohort: &mut Cohort,
        now: Instant,
        lost: Duration,
    ) -> Self {
        cohort.started();
        Self {
            started: now,
            before: Duration::ZERO,
            lost_before: lost,
            idle,
            total,
            terms,
            progress: Duration::ZERO,
            output: Duration::ZERO,
            longest_silence: Duration::ZERO,
            idle_until: None,
            total_until: None,
            again: None,
            looks: Looks::default(),
            together: Extensions::default(),
            overdue: None,
        }
    }

    /// Records that it began `age` before it was watched. Totals count from its true start, silence from now, since
    /// nobody listened before.
    pub fn began_before(&mut self, age: Duration, now: Instant, lost: Duration) {
        self.before = age;
        let now = self.elapsed(now, lost);
        (self.progress, self.output) = (now, now);
        self.again = None;
    }

    /// Records output. Returns true if its silence had been counted as overdue: then call [`Cohort::moved`]. (Output is
    /// frequent and the cohort shared, so this method does not take it.)
    #[must_use]
    pub fn progress(&mut self, now: Instant, lost: Duration) -> bool {
        let now = self.elapsed(now, lost);
        self.longest_silence = self.longest_silence.max(now.saturating_sub(self.output));
        self.output = self.output.max(now);
        self.moved(now)
    }

    /// How long it has run, without the time that the controller lost.
    pub fn elapsed(&self, now: Instant, lost: Duration) -> Duration {
        now.saturating_duration_since(self.started)
            .saturating_sub(lost.saturating_sub(self.lost_before))
            .saturating_add(self.before)
    }

    /// The time since the last progress.
    pub fn silence(&self, now: Instant, lost: Duration) -> Duration {
        self.elapsed(now, lost).saturating_sub(self.progress)
    }

    /// The longest time without output so far, for the class's history.
    pub fn longest_silence(&self, now: Instant, lost: Duration) -> Duration {
        let silence = self.elapsed(now, lost).saturating_sub(self.output);
        self.longest_silence.max(silence)
    }

    /// The total deadline, for the class's history.
    pub fn total(&self) -> Option<Duration> {
        self.total.map(|limit| limit.length)
    }

    /// When to check next, and for which deadline. Without deadlines, at the hard cap.
    pub fn next(&self, rule: &LookRule, now: Instant, lost: Duration) -> (Instant, Deadline) {
        let (due, limit, deadline) = self.first_due(rule);
        let lead = (limit.length / LEAD).min(LONGEST_LEAD);
        let at = self.again.unwrap_or(due.saturating_sub(lead));
        let wait = at.saturating_sub(self.elapsed(now, lost));
        // If the time is too far away to represent, use the hard cap from now.
        let moment = now.checked_add(wait).unwrap_or(now + rule.hard_cap);
        (moment, deadline)
    }

    /// The deadline that passes first, its limit, and how long a check for it may take now.
    pub fn looked_for(&self, rule: &LookRule, now: Instant, lost: Duration) -> (Deadline, Limit, Duration) {
        let (due, limit, deadline) = self.first_due(rule);
        let time = rule.time_for_look(limit.by, limit.length, due, self.elapsed(now, lost));
        (deadline, limit, time)
    }

    /// Ends the attempt, which may have ended by itself. Returns how long it took.
    pub fn end(&self, by_itself: bool, cohort: &mut Cohort, now: Instant, lost: Duration) -> Duration {
        let took = self.elapsed(now, lost);
        let late = self.total().is_some_and(|total| took > total);
        let ending = match (by_itself, late) {
            (false, _) => Ending::Otherwise,
            (true, true) => Ending::Late,
            (true, false) => Ending::InTime,
        };
        cohort.ended(now, self.overdue.is_some(), ending);
        took
    }

    /// Decides after a check. `samples` is the number of samples of the class. The first check near a deadline counts
    /// the attempt as overdue in its cohort.
    pub fn look(
        &mut self,
        rule: &LookRule,
        evidence: Evidence,
        samples: u64,
        cohort: &mut Cohort,
        now: Instant,
        lost: Duration,
    ) -> Decision {
        let elapsed = self.elapsed(now, lost);
        let (due, limit, deadline) = self.first_due(rule);
        if self.overdue.is_none() {
            self.overdue = Some(deadline);
            cohort.overdue();
        }
        let together = cohort.together(now, limit.length);
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
        if moves && self.moved(elapsed) {
            cohort.moved();
        }
        self.again = None;
        match &decision {
            Decision::Extend {
                until,
                why: Extension::LookAgain,
            } => self.again = Some(*until),
            Decision::Extend { until, why } => {
                if let Extension::Together(together) = why {
                    self.together.extended(*together);
                    // The checks from before the others overran too are no longer relevant.
                    self.looks.forget();
                }
                self.extend(deadline, *until);
            }
            Decision::WarnAndWait { until } => self.extend(deadline, *until),
            _ => {}
        }
        decision
    }

    /// Records progress. Returns whether its silence had been counted as overdue.
    fn moved(&mut self, now: Duration) -> bool {
        self.progress = self.progress.max(now);
        self.idle_until = None;
        self.again = None;
        self.looks.forget();
        self.overdue
            .take_if(|overdue| *overdue == Deadline::Idle)
            .is_some()
    }

    fn extend(&mut self, deadline: Deadline, until: Duration) {
        match deadline {
            Deadline::Idle => self.idle_until = Some(until),
            Deadline::Total => self.total_until = Some(until),
        }
    }

    /// The deadline that passes first, and when.
    fn first_due(&self, rule: &LookRule) -> (Duration, Limit, Deadline) {
        let total = self.total.unwrap_or(Limit {
            length: rule.hard_cap,
            by: SetBy::Auto,
        });
        let total_due = total.length.max(self.total_until.unwrap_or_default());
        let total = (total_due, total, Deadline::Total);
        let idle = self.idle.map(|idle| {
            let due = self.progress.saturating_add(idle.length);
            (due.max(self.idle_until.unwrap_or_default()), idle, Deadline::Idle)
        });
        match idle {
            Some(idle) if idle.0 < total.0 => idle,
            _ => total,
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
