//! Detects hosts that overrun together: a slow mirror is not 500 hung hosts.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The running attempts of one class, and how many of them are at their deadline.
///
/// Takes 16 bytes for each attempt that ended recently, at most 64 KiB.
#[derive(Debug, Clone)]
pub struct Cohort {
    rule: CohortRule,
    running: u32,
    overdue: u32,
    /// Attempts that ended by themselves after their deadline, so that waiting was right.
    ended_late: u32,
    /// When attempts ended, oldest first.
    ended: VecDeque<Instant>,
}

/// When overruns count as common to the class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CohortRule {
    /// At least this many hosts must overrun.
    pub hosts: u32,
    /// More than this share of those running the class must overrun.
    pub share: f64,
}

/// Hosts that overrun together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// Hosts at or beyond their deadline.
    pub overdue: u32,
    /// Hosts that are running the class, or were within the last deadline.
    pub of: u32,
    /// Hosts that ended by themselves after their deadline, so far. While this grows, waiting helps.
    pub ended_late: u32,
}

/// How often an attempt was extended together with others, and whether that helped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extensions {
    /// Consecutive extensions during which no other attempt ended.
    in_vain: u8,
    /// The number of late ends at the last extension.
    ended_late: u32,
}

/// How an attempt left its cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, before its deadline passed.
    InTime,
    /// By itself, after its deadline passed.
    Late,
    /// Killed, or lost with its connection.
    Otherwise,
}

/// Futile extensions permitted if most of the class overruns: that is hardly a hang.
const IN_VAIN_MOST: u8 = 2;
/// Futile extensions permitted if a few overrun: they may well hang.
const IN_VAIN_FEW: u8 = 1;
/// The share of the class from which most of it overruns.
const MOST: f64 = 0.25;
/// The number of attempts whose end is kept.
const ENDS: usize = 4096;

// === impl Cohort ===

impl Cohort {
    /// A cohort in which nothing runs.
    pub fn new(rule: CohortRule) -> Self {
        Self {
            rule,
            running: 0,
            overdue: 0,
            ended_late: 0,
            ended: VecDeque::new(),
        }
    }

    /// Records that an attempt began.
    pub fn started(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    /// Records that an attempt is near a deadline, once for each. Call it at the first check, shortly before the
    /// deadline, so that the first of many is not judged before the others are counted.
    pub fn overdue(&mut self) {
        self.overdue = self.overdue.saturating_add(1).min(self.running);
    }

    /// Records that an attempt counted as overdue by its silence made progress.
    pub fn moved(&mut self) {
        self.overdue = self.overdue.saturating_sub(1);
    }

    /// Records that an attempt ended; `overdue` if it was counted as such.
    pub fn ended(&mut self, now: Instant, overdue: bool, ending: Ending) {
        self.running = self.running.saturating_sub(1);
        if overdue {
            self.overdue = self.overdue.saturating_sub(1);
        }
        if ending == Ending::Late {
            self.ended_late = self.ended_late.saturating_add(1);
        }
        self.overdue = self.overdue.min(self.running);
        if self.ended.len() == ENDS {
            self.ended.pop_front();
        }
        self.ended.push_back(now);
    }

    /// Whether an attempt at its deadline is one of many. Attempts that ended within `deadline`, the time that the
    /// class may take, count as running beside it.
    pub fn together(&self, now: Instant, deadline: Duration) -> Option<Together> {
        let lately = self
            .ended
            .iter()
            .rev()
            .take_while(|end| now.saturating_duration_since(**end) <= deadline)
            .count();
        let lately = u32::try_from(lately).unwrap_or(u32::MAX);
        let of = self.running.saturating_add(lately);
        let many =
            self.overdue >= self.rule.hosts && f64::from(self.overdue) > self.rule.share * f64::from(of);
        many.then_some(Together {
            overdue: self.overdue,
            of,
            ended_late: self.ended_late,
        })
    }

    /// The number of running attempts.
    pub fn running(&self) -> u32 {
        self.running
    }
}

// === impl Extensions ===

impl Extensions {
    /// Whether another extension may help: some ended by themselves since the last one, or few were tried.
    pub fn may_help(self, together: Together) -> bool {
        let share = f64::from(together.overdue) / f64::from(together.of.max(1));
        let most = if share > MOST { IN_VAIN_MOST } else { IN_VAIN_FEW };
        together.ended_late > self.ended_late || self.in_vain < most
    }

    /// Records an extension.
    pub fn extended(&mut self, together: Together) {
        let helped = together.ended_late > self.ended_late;
        self.in_vain = if helped { 0 } else { self.in_vain.saturating_add(1) };
        self.ended_late = together.ended_late;
    }
}

impl Default for Cohort {
    fn default() -> Self {
        Self::new(CohortRule::default())
    }
}

impl Default for CohortRule {
    /// Five hosts, and more than 5 %.
    fn default() -> Self {
        Self {
            hosts: 5,
            share: 0.05,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn five_and_more_than_a_twentieth() {
        let start = Instant::now();
        let mut cohort = Cohort::default();
        for _ in 0..100 {
            cohort.started();
        }
        for _ in 0..5 {
            assert_eq!(cohort.together(start + MINUTE, MINUTE), None);
            cohort.overdue();
        }
        assert_eq!(
            cohort.together(start + MINUTE, MINUTE),
            None,
            "exactly a twentieth"
        );
        cohort.overdue();
        for _ in 0..90 {
            cohort.ended(start + MINUTE, false, Ending::InTime);
        }
        let together = Together {
            overdue: 6,
            of: 100,
            ended_late: 0,
        };
        assert_eq!(
            cohort.together(start + MINUTE, MINUTE),
            Some(together),
            "ended attempts count too"
        );
        cohort.ended(start + MINUTE, true, Ending::Late);
        cohort.ended(start + MINUTE, true, Ending::Otherwise);
        assert_eq!(cohort.together(start + MINUTE, MINUTE), None, "four are too few");
        assert_eq!((cohort.running(), cohort.ended_late), (8, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_order_of_calls_breaks_it(calls in proptest::collection::vec((0u8..5, proptest::bool::ANY), 0..300)) {
            let start = Instant::now();
            let mut cohort = Cohort::default();
            for (call, overdue) in calls {
                match call {
                    0 => cohort.started(),
                    1 => cohort.overdue(),
                    2 => cohort.ended(start, overdue, Ending::Late),
                    3 => cohort.moved(),
                    _ => cohort.ended(start, overdue, Ending::Otherwise),
                }
                proptest::prop_assert!(cohort.overdue <= cohort.running);
                if let Some(together) = cohort.together(start, MINUTE) {
                    proptest::prop_assert!(together.overdue >= 5 && together.overdue <= together.of);
                }
            }
        }
    }
}
