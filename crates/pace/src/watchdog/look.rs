//! What follows from a look at a host that nears its deadline.
//!
//! | the look says | then |
//! |---|---|
//! | connection dead | [`Decision::Reconnect`] |
//! | counters move | [`Decision::Extend`], slow |
//! | waits for a package lock | extend up to the operator's total, or the hard cap; then as when it is still |
//! | waits for input | [`Decision::Ask`] |
//! | process gone without a status | [`Decision::EarlyExit`] |
//! | nothing moves in 2 of 3 looks | the operator's deadline: kill. Ours: kill only with `on_stuck: kill`, or if the step is idempotent and its class has ≥ 100 samples; else warn and wait, and kill at the hard cap |
//! | no evidence | the operator's deadline: kill after one such look. Ours, in 2 of 3 looks: warn and wait, and kill at the hard cap |
//!
//! Before its deadline nobody is killed. Where many of a class overrun a deadline of ours together, they are extended.

use std::fmt;
use std::time::Duration;

use super::cohort::Together;
use crate::Deadline;

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Keep-alives are not answered.
    ConnectionDead,
    /// CPU time, bytes or children changed since the last look.
    Moves,
    /// It waits for a package lock that another live process holds.
    WaitsForLock(Holder),
    /// It waits for input on a terminal or an open standard input.
    WaitsForInput {
        /// What it said last.
        prompt: String,
    },
    /// The process is gone and left no status.
    Gone,
    /// The process is there and nothing moved.
    Still,
    /// The look gave no answer that can be trusted.
    None,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid on the host.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// Who set a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetBy {
    /// The operator: a deadline is a promise.
    Operator,
    /// `auto`: a deadline is a guess.
    Auto,
}

/// The step's `on_stuck`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnStuck {
    /// Not said: the step's idempotence and the class's samples decide.
    #[default]
    Unsaid,
    /// Never kill for a deadline of ours.
    Warn,
    /// Kill.
    Kill,
}

/// What a step says about being killed. It does not change during an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// What the step says.
    pub on_stuck: OnStuck,
    /// Whether it may run twice.
    pub idempotent: bool,
}

/// The deadline that is judged. All times are since the attempt began, without what the controller lost.
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
    /// The time of the look.
    pub elapsed: Duration,
    /// Samples of the class.
    pub samples: u64,
    /// The step's terms.
    pub terms: Terms,
    /// Whether many overrun together, and waiting for them has not been in vain too often.
    pub together: Option<Together>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Connect again and attach.
    Reconnect,
    /// Wait on.
    Extend {
        /// When to look again, since the attempt began.
        until: Duration,
        /// Why.
        why: Extension,
    },
    /// It asks a question: the attempt ends with class `asks_a_question`, and there is no new one.
    Ask {
        /// The question.
        prompt: String,
    },
    /// The attempt ended without a status.
    EarlyExit,
    /// Kill it, and see that it is gone.
    Kill {
        /// Why.
        why: KillReason,
    },
    /// Say that it seems stuck, and wait.
    WarnAndWait {
        /// When to look again, since the attempt began; the hard cap at the latest.
        until: Duration,
    },
}

/// Why an attempt gets more time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// It moves: slow, but alive.
    Slow,
    /// It waits for somebody else's lock.
    Lock(Holder),
    /// Many overrun together.
    Together(Together),
    /// One look is not enough, or the deadline has not passed yet.
    LookAgain,
}

/// Why an attempt is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// The operator's deadline passed, and nothing moves.
    Operator {
        /// Looks in which nothing moved.
        still: u32,
        /// Looks without an answer.
        unanswered: u32,
    },
    /// Nothing moves, and the step says `on_stuck: kill`.
    OnStuck,
    /// Nothing moves, the step may run twice, and its class is known well enough.
    Idempotent {
        /// Samples of the class.
        samples: u64,
    },
    /// The hard cap.
    HardCap,
}

/// The rule, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookRule {
    /// Looks out of [`of`](Self::of) that must agree.
    pub agree: u32,
    /// The latest looks that count, at most 8.
    pub of: u32,
    /// Samples that a class needs before a deadline of ours kills an idempotent step.
    pub samples: u64,
    /// The longest that an attempt may be stuck when no deadline of the operator's says otherwise.
    pub hard_cap: Duration,
    /// Between two looks when one is not enough.
    pub between: Duration,
    /// Between two looks while waiting after a warning.
    pub patience: Duration,
    /// The longest that a look may take.
    pub longest: Duration,
    /// What a look may take even where an operator's deadline is shorter than that leaves time for.
    pub fair: Duration,
}

/// A look for an operator's deadline ends by this part of the deadline after it.
const OVERRUN: u32 = 10;

/// The latest looks at an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looks {
    /// One bit each, the latest lowest.
    still: u8,
    unanswered: u8,
}

// === impl LookRule ===

impl LookRule {
    /// How long a look at `elapsed` may take that is for a deadline of `limit` by `by`, which passes at `due`. It is at
    /// most [`longest`](Self::longest), and never longer than the deadline itself. For an operator's deadline it ends by a
    /// tenth of it after it has passed, as long as that leaves [`fair`](Self::fair) time for an answer.
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

    /// Decides. `looks` takes in the evidence, so that the next look knows of it.
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
        // An operator's deadline is a promise: whoever gives no answer does not get a second one to think about it.
        let enough = case.by == SetBy::Operator && looks.unanswered(1) > 0;
        if still + unanswered < self.agree && !enough {
            return Decision::Extend {
                until: again,
                why: Extension::LookAgain,
            };
        }
        self.stuck(case, still, unanswered, still >= self.agree)
    }

    /// Nothing moved often enough; `sure` if the looks said so, and were not just left without an answer.
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
    /// Something moved since: what was seen before says nothing any more.
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

/// How many of the latest `of` bits are set.
fn latest(bits: u8, of: u32) -> u32 {
    let unwanted = 8 - of.min(8);
    bits.checked_shl(unwanted).unwrap_or(0).count_ones()
}

impl fmt::Display for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow => formatter.write_str("slow, but it moves"),
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
            Self::LookAgain => formatter.write_str("another look is needed"),
        }
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { still, unanswered } => write!(
                formatter,
                "your deadline passed; nothing moved in {still} looks, {unanswered} were not answered"
            ),
            Self::OnStuck => formatter.write_str("nothing moves, and the step says on_stuck: kill"),
            Self::Idempotent { samples } => write!(
                formatter,
                "nothing moves, the step may run again, and {samples} earlier runs took less time"
            ),
            Self::HardCap => formatter.write_str("nothing moves, and the hard cap has passed"),
        }
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
