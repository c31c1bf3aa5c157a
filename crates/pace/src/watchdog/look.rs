//! Decides what to do after a check of a host that is near its deadline.
//!
//! | the check finds | then |
//! |---|---|
//! | connection dead | [`Decision::Reconnect`] |
//! | progress | [`Decision::Extend`], slow |
//! | waits for a package lock | extend up to the operator's total, or the hard cap; then as without progress |
//! | waits for input | [`Decision::Ask`] |
//! | process gone without a status | [`Decision::EarlyExit`] |
//! | no progress in 2 of 3 checks | for the operator's deadline: kill. For a chosen one: kill only with `on_stuck: kill`, or if the step is idempotent and its class has ≥ 100 samples; else warn and wait, and kill at the hard cap |
//! | no evidence | for the operator's deadline: kill after one such check. For a chosen one, in 2 of 3 checks: warn and wait, and kill at the hard cap |
//!
//! No attempt is killed before its deadline. If many of a class overrun a chosen deadline together, they are extended.

use std::fmt;
use std::time::Duration;

use super::cohort::Together;
use crate::Deadline;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Keep-alives get no answer.
    ConnectionDead,
    /// CPU time, bytes or children have changed since the last check.
    Moves,
    /// It waits for a package lock that another running process holds.
    WaitsForLock(Holder),
    /// It waits for input on a terminal or an open standard input.
    WaitsForInput {
        /// Its last output.
        prompt: String,
    },
    /// The process is gone without a status.
    Gone,
    /// The process exists and made no progress.
    Still,
    /// The check gave no answer that can be trusted.
    None,
}

/// The process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id on the host.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// Who set a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetBy {
    /// The operator, for whom a deadline is a promise.
    Operator,
    /// Reveille (`auto`), for which a deadline is a guess.
    Auto,
}

/// The step's `on_stuck`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnStuck {
    /// Not set: the step's idempotence and the class's samples decide.
    #[default]
    Unsaid,
    /// Never kill because of a deadline that Reveille chose.
    Warn,
    /// Kill.
    Kill,
}

/// What the step sets about being killed. It does not change during an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Its `on_stuck` option.
    pub on_stuck: OnStuck,
    /// Whether it may run twice.
    pub idempotent: bool,
}

/// The deadline to judge. All times count from the start of the attempt, without the time that the controller lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Which deadline is near or has passed.
    pub deadline: Deadline,
    /// Who set it.
    pub by: SetBy,
    /// How long it is.
    pub limit: Duration,
    /// When it passes.
    pub due: Duration,
    /// When the operator's total deadline passes, if there is one.
    pub operator_total: Option<Duration>,
    /// The time of the check.
    pub elapsed: Duration,
    /// Samples of the class.
    pub samples: u64,
    /// The step's terms.
    pub terms: Terms,
    /// Set if many overrun together, and waiting for them has not been futile too often.
    pub together: Option<Together>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Reconnect and re-attach.
    Reconnect,
    /// Keep waiting.
    Extend {
        /// When to check again, since the attempt began.
        until: Duration,
        /// Why.
        why: Extension,
    },
    /// It asks a question: the attempt ends with class `asks_a_question`, without another.
    Ask {
        /// The question.
        prompt: String,
    },
    /// The attempt ended without a status.
    EarlyExit,
    /// Kill it, and verify that it is gone.
    Kill {
        /// Why.
        why: KillReason,
    },
    /// Warn that it seems stuck, and wait.
    WarnAndWait {
        /// When to check again, since the attempt began; the hard cap at the latest.
        until: Duration,
    },
}

/// Why an attempt gets more time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// It makes progress, slowly.
    Slow,
    /// It waits for a lock of another process.
    Lock(Holder),
    /// Many overrun together.
    Together(Together),
    /// One check is not enough, or the deadline has not passed yet.
    LookAgain,
}

/// Why an attempt is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// The operator's deadline passed without progress.
    Operator {
        /// Checks that found no progress.
        still: u32,
        /// Checks without an answer.
        unanswered: u32,
    },
    /// No progress, and the step sets `on_stuck: kill`.
    OnStuck,
    /// No progress, the step may run twice, and its class is known well enough.
    Idempotent {
        /// Samples of the class.
        samples: u64,
    },
    /// The hard cap.
    HardCap,
}

/// The numbers of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookRule {
    /// Checks out of [`of`](Self::of) that must agree.
    pub agree: u32,
    /// The number of latest checks that count, at most 8.
    pub of: u32,
    /// Samples that a class needs before a deadline chosen by Reveille kills an idempotent step.
    pub samples: u64,
    /// The longest time that an attempt may be stuck, unless the operator set a deadline.
    pub hard_cap: Duration,
    /// The delay between two checks when one is not enough.
    pub between: Duration,
    /// The delay between two checks after a warning.
    pub patience: Duration,
    /// The longest time for a check.
    pub longest: Duration,
    /// The shortest time for a check, even if an operator's deadline leaves less.
    pub fair: Duration,
}

/// A check for an operator's deadline ends late by at most this part of the deadline.
const OVERRUN: u32 = 10;

/// The latest checks of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looks {
    /// One bit per check, the latest lowest.
    still: u8,
    unanswered: u8,
}

// === impl LookRule ===

impl LookRule {
    /// How long a check that starts at `elapsed` may take. It is for a deadline of `limit`, set by `by`, that passes at
    /// `due`. The result is at most [`longest`](Self::longest) and the deadline's own length. For an operator's
    /// deadline, the check ends at most a tenth of it late, unless that leaves less than [`fair`](Self::fair).
    pub fn time_for_look(&self, by: SetBy, limit: Duration, due: Duration, elapsed: Duration) -> Duration {
        let most = self.longest.min(limit);
        match by {
            SetBy::Auto => most,
            SetBy::Operator => due
                .saturating_sub(elapsed)
                .saturating_add(limit / OVERRUN)
                .max(self.fair)
                .min(most),
        }
    }

    /// Decides what to do; `looks` records the evidence for the next check.
    pub fn decide(&self, case: &Case, evidence: Evidence, looks: &mut Looks) -> Decision {
        looks.add(&evidence);
        let now = case.elapsed;
        match evidence {
            Evidence::ConnectionDead => Decision::Reconnect,
            Evidence::WaitsForInput { prompt } => Decision::Ask { prompt },
            Evidence::Gone => Decision::EarlyExit,
            Evidence::Moves => Decision::Extend {
                until: now.saturating_add(case.limit.max(self.between)),
                why: Extension::Slow,
            },
            Evidence::WaitsForLock(holder) => {
                let end = case.operator_total.unwrap_or(self.hard_cap);
                if now >= end {
                    return self.stuck(case, looks.still(self.of), looks.unanswered(self.of), true);
                }
                Decision::Extend {
                    until: now.saturating_add(case.limit.max(self.between)).min(end),
                    why: Extension::Lock(holder),
                }
            }
            Evidence::Still | Evidence::None => self.nothing_moves(case, *looks),
        }
    }

    fn nothing_moves(&self, case: &Case, looks: Looks) -> Decision {
        let (still, unanswered) = (looks.still(self.of), looks.unanswered(self.of));
        let again = case.elapsed.saturating_add(self.between);
        if case.elapsed < case.due {
            return Decision::Extend {
                until: again.min(case.due),
                why: Extension::LookAgain,
            };
        }
        // An operator's deadline is a promise: a host that gives no answer gets no second check.
        let enough = case.by == SetBy::Operator && looks.unanswered(1) > 0;
        if still + unanswered < self.agree && !enough {
            return Decision::Extend {
                until: again,
                why: Extension::LookAgain,
            };
        }
        self.stuck(case, still, unanswered, still >= self.agree)
    }

    /// Handles a stuck attempt; `sure` if enough checks found no progress, rather than got no answer.
    fn stuck(&self, case: &Case, still: u32, unanswered: u32, sure: bool) -> Decision {
        let kill = |why| Decision::Kill { why };
        if case.by == SetBy::Operator {
            return kill(KillReason::Operator { still, unanswered });
        }
        if case.elapsed >= self.hard_cap {
            return kill(KillReason::HardCap);
        }
        if let Some(together) = case.together {
            return Decision::Extend {
                until: case
                    .elapsed
                    .saturating_add(case.limit.max(self.between))
                    .min(self.hard_cap),
                why: Extension::Together(together),
            };
        }
        match case.terms.on_stuck {
            OnStuck::Kill if sure => kill(KillReason::OnStuck),
            OnStuck::Unsaid if sure && case.terms.idempotent && case.samples >= self.samples => {
                kill(KillReason::Idempotent {
                    samples: case.samples,
                })
            }
            _ => Decision::WarnAndWait {
                until: case.elapsed.saturating_add(self.patience).min(self.hard_cap),
            },
        }
    }
}

impl Default for LookRule {
    fn default() -> Self {
        Self {
            agree: 2,
            of: 3,
            samples: 100,
            hard_cap: Duration::from_hours(2),
            between: Duration::from_secs(5),
            patience: Duration::from_mins(2),
            longest: Duration::from_secs(10),
            fair: Duration::from_millis(1500),
        }
    }
}

// === impl Looks ===

impl Looks {
    /// Forgets the earlier checks, because something has moved since.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, evidence: &Evidence) {
        self.still = self.still << 1 | u8::from(*evidence == Evidence::Still);
        self.unanswered = self.unanswered << 1 | u8::from(*evidence == Evidence::None);
    }

    fn still(self, of: u32) -> u32 {
        latest(self.still, of)
    }

    fn unanswered(self, of: u32) -> u32 {
        latest(self.unanswered, of)
    }
}

/// Counts the set bits among the latest `of`.
fn latest(bits: u8, of: u32) -> u32 {
    let unwanted = 8 - of.min(8);
    bits.checked_shl(unwanted).unwrap_or(0).count_ones()
}

impl fmt::Display for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow => formatter.write_str("slow, but making progress"),
            Self::Lock(holder) => write!(
                formatter,
                "waits for a package lock held by {} (pid {})",
                holder.name, holder.pid
            ),
            Self::Together(together) => write!(
                formatter,
                "{} of {} hosts overrun together",
                together.overdue, together.of
            ),
            Self::LookAgain => formatter.write_str("another check is needed"),
        }
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { still, unanswered } => write!(
                formatter,
                "the deadline is the operator's; checks without progress: {still}, unanswered: {unanswered}"
            ),
            Self::OnStuck => formatter.write_str("no progress, and the step sets on_stuck: kill"),
            Self::Idempotent { samples } => write!(
                formatter,
                "no progress, the step is idempotent, and {samples} earlier runs took less time"
            ),
            Self::HardCap => formatter.write_str("no progress, and the hard cap has passed"),
        }
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
