//! One attempt under watch.

use std::time::Duration;

use tokio::time::Instant;

use super::cohort::{Cohort, Ending, Extensions};
use super::look::{Case, Decision, Evidence, Extension, LookRule, Looks, SetBy, Terms};
use crate::Deadline;

/// One attempt: its deadlines, what it last did, and when to look at it. Some 200 bytes.
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
    /// How long it ran before it was watched.
    before: Duration,
    lost_before: Duration,
    idle: Option<Limit>,
    total: Option<Limit>,
    terms: Terms,
    /// When something last moved.
    progress: Duration,
    /// When output last came.
    output: Duration,
    longest_silence: Duration,
    /// Extensions: the deadlines pass at these times, not before.
    idle_until: Option<Duration>,
    total_until: Option<Duration>,
    /// When to look again, if a look was not enough.
    again: Option<Duration>,
    looks: Looks,
    together: Extensions,
    /// The deadline that the cohort was told to be near.
    overdue: Option<Deadline>,
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
    /// An attempt starts, in the cohort of its class. `lost` is [`Stalls::lost`](super::Stalls::lost) now.
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

    /// It had begun `age` before it was watched: totals run from its true start. Silence runs from now on, since nobody
    /// listened before.
    pub fn began_before(&mut self, age: Duration, now: Instant, lost: Duration) {
        self.before = age;
        let now = self.elapsed(now, lost);
        (self.progress, self.output) = (now, now);
        self.again = None;
    }

    /// Output arrived. True if its silence had been counted as overdue: then [`Cohort::moved`] is to be called. (Output is
    /// frequent and the cohort shared, so it is not asked for here.)
    #[must_use]
    pub fn progress(&mut self, now: Instant, lost: Duration) -> bool {
        let now = self.elapsed(now, lost);
        self.longest_silence = self.longest_silence.max(now.saturating_sub(self.output));
        self.output = self.output.max(now);
        self.moved(now)
    }

    /// How long it runs, without what the controller lost.
    pub fn elapsed(&self, now: Instant, lost: Duration) -> Duration {
        now.saturating_duration_since(self.started)
            .saturating_sub(lost.saturating_sub(self.lost_before))
            .saturating_add(self.before)
    }

    /// How long nothing has moved.
    pub fn silence(&self, now: Instant, lost: Duration) -> Duration {
        self.elapsed(now, lost).saturating_sub(self.progress)
    }

    /// The longest time without output up to now, for the class's history.
    pub fn longest_silence(&self, now: Instant, lost: Duration) -> Duration {
        let silence = self.elapsed(now, lost).saturating_sub(self.output);
        self.longest_silence.max(silence)
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

    /// The deadline that passes first, how long it is and who set it, and how long a look for it may take now.
    pub fn looked_for(&self, rule: &LookRule, now: Instant, lost: Duration) -> (Deadline, Limit, Duration) {
        let (due, limit, deadline) = self.first_due(rule);
        let time = rule.time_for_look(limit.by, limit.length, due, self.elapsed(now, lost));
        (deadline, limit, time)
    }

    /// The attempt is over, by itself or otherwise. Tells how long it took.
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

    /// Decides after a look. `samples` are those of the class. The first look near a deadline counts it as overdue in its
    /// cohort.
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
                    // What was seen before the others overran too says little.
                    self.looks.forget();
                }
                self.extend(deadline, *until);
            }
            Decision::WarnAndWait { until } => self.extend(deadline, *until),
            _ => {}
        }
        decision
    }

    /// Whether its silence was counted as overdue.
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
