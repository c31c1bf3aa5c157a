//! The watchdog of a run: the deadlines of an attempt, and checks of it.
//!
//! The rules are in `reveille_pace::watchdog`; this module applies them to hosts, the ledger and the clock.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reveille_account::{Chosen, Class, Learned};
use reveille_job::{Limit as JobLimit, OnStuck as JobOnStuck, Step};
use reveille_ledger::RunHandle;
use reveille_pace::Deadline;
use reveille_pace::watchdog::{
    Classes, Cohort, Decision, Evidence, Limit, LookRule, OnStuck, SetBy, SilenceRule, Stalls, Terms,
    TotalRule, Watch,
};
use reveille_transport::Session;
use reveille_transport::supervisor::Counters;
use tokio::time::{Instant, sleep};

use crate::event::millis;
use crate::plan::Settings;

/// The number of durations per class that a run adds to the ledger; more would add nothing.
const LEARNED: u32 = 200;
/// The shortest delay between checks for one deadline, as a part of it.
const SHARE: u32 = 10;
const CLOSEST: Duration = Duration::from_millis(300);
/// Part of the labels of the smallest machines, such as `t3.micro`.
const MICRO: &str = "micro";
/// The longest time between the two counts of a first check.
const GLANCE: Duration = Duration::from_secs(1);
/// How long a copy may stall, without a byte in either direction, unless the operator sets it. The host sends something
/// every ten seconds.
const COPY_STALLED: Duration = Duration::from_mins(1);
/// The same on a terminal, where the host can't do that.
const ON_TERMINAL: Duration = Duration::from_mins(30);
/// How often the controller checks its own clock.
const TICK: Duration = Duration::from_millis(250);

/// What the watchdog knows and counts for all hosts of a run.
#[derive(Debug)]
pub(crate) struct Overseer {
    rule: LookRule,
    hosts: u32,
    /// The highest number of connection tries so far, without the first.
    retries: AtomicU32,
    /// Time that the controller itself lost, in milliseconds.
    lost_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    classes: Classes,
    /// Classes whose history was loaded.
    known: HashSet<Arc<str>>,
    cohorts: HashMap<Arc<str>, Cohort>,
    learned: HashMap<Arc<str>, u32>,
}

/// The deadlines of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    class: Arc<str>,
    idle: Option<Limit>,
    total: Option<Limit>,
    /// The operator's total deadline: a promise, regardless of progress.
    hard: Option<Duration>,
    /// How long a copy may stall.
    copy: Option<Limit>,
    terms: Terms,
    /// Whether it is checked; false if the operator turned deadlines off.
    watched: bool,
}

/// An attempt under watch. Dropping it removes it from its cohort.
#[derive(Debug)]
pub(crate) struct Overseen {
    overseer: Arc<Overseer>,
    /// The run's rule, with shorter delays between checks if deadlines are short.
    rule: LookRule,
    class: Arc<str>,
    watch: Watch,
    hard: Option<Duration>,
    watched: bool,
    /// The counters of the last check.
    pub(crate) counters: Option<Counters>,
    /// Set if its start was not seen, so that its duration teaches nothing.
    partly: bool,
    ended: bool,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A check.
    Look,
    /// The operator's total deadline has passed.
    Hard(Duration),
}

/// The duration of an attempt that ended by itself.
#[derive(Debug, Clone)]
pub(crate) struct Lasted {
    class: Arc<str>,
    took: Duration,
    silence: Duration,
    total: Option<Duration>,
}

// === impl Overseer ===

impl Overseer {
    pub(crate) fn new(hosts: usize, settings: &Settings) -> Self {
        let mut silence = SilenceRule::default();
        silence.floor = settings.silence_floor.unwrap_or(silence.floor);
        // An operator who sets a shorter minimum does not want the rest of the formula either.
        if settings.silence_floor.is_some() {
            silence.base = silence.base.min(silence.floor);
        }
        Self {
            rule: LookRule {
                hard_cap: settings.hard_cap,
                ..LookRule::default()
            },
            hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
            retries: AtomicU32::new(0),
            lost_ms: AtomicU64::new(0),
            state: Mutex::new(State {
                classes: Classes::new(silence, TotalRule::default()),
                ..State::default()
            }),
        }
    }

    /// Records how many connection tries a host needed.
    pub(crate) fn tried(&self, tries: u32) {
        self.retries.fetch_max(tries.saturating_sub(1), Ordering::Relaxed);
    }

    /// The deadlines of an attempt, and the record of how they were chosen. Only `commands` are watched: copies and
    /// waits are silent by nature.
    pub(crate) fn choose(
        &self,
        step: &Step,
        label: Option<&str>,
        attempt: u32,
        commands: bool,
        handle: &RunHandle,
    ) -> Result<(Limits, Option<Box<Chosen>>), reveille_ledger::Error> {
        let fixed = |limit: JobLimit| match limit {
            JobLimit::After(length) => Some(length),
            JobLimit::Auto | JobLimit::Off => None,
        };
        let operators = |length| Limit {
            length,
            by: SetBy::Operator,
        };
        let ours = |length| Limit {
            length,
            by: SetBy::Auto,
        };
        let (silence, total) = (step.watchdog.idle, step.watchdog.total);
        let mut limits = Limits {
            class: class_of(step, label),
            idle: fixed(silence).filter(|_| commands).map(operators),
            total: None,
            hard: fixed(total),
            copy: match silence {
                JobLimit::After(length) => Some(operators(length)),
                JobLimit::Auto => Some(ours(COPY_STALLED)),
                JobLimit::Off => None,
            },
            terms: Terms {
                on_stuck: match step.on_stuck {
                    JobOnStuck::Unsaid => OnStuck::Unsaid,
                    JobOnStuck::Warn => OnStuck::Warn,
                    JobOnStuck::Kill => OnStuck::Kill,
                },
                idempotent: step.idempotent,
            },
            watched: commands && (silence, total) != (JobLimit::Off, JobLimit::Off),
        };
        if !commands || (silence != JobLimit::Auto && total != JobLimit::Auto) {
            return Ok((limits, None));
        }
        let mut state = self.lock();
        if !state.known.contains(&limits.class) {
            let (took, silent): (Vec<_>, Vec<_>) =
                handle.ledger().durations(&limits.class)?.into_iter().unzip();
            state.classes.seed(&limits.class, took, silent);
            state.known.insert(Arc::clone(&limits.class));
        }
        let retries = self.retries.load(Ordering::Relaxed);
        let classes = &state.classes;
        if silence == JobLimit::Auto {
            let micro = label.is_some_and(|label| label.contains(MICRO));
            let choice = classes.choose_silence(&limits.class, self.hosts, micro, retries, attempt);
            limits.idle = choice.limit.map(ours);
        }
        if total == JobLimit::Auto {
            let choice = classes.choose_total(&limits.class, self.hosts, retries, attempt);
            limits.total = choice.limit.map(ours);
        }
        let seconds = |limit: Option<Limit>| {
            limit
                .filter(|limit| limit.by == SetBy::Auto)
                .map(|limit| limit.length.as_secs_f64())
        };
        let chosen = Chosen {
            class: limits.class.to_string(),
            samples: classes.samples(&limits.class),
            hosts: self.hosts,
            retries,
            silence_s: seconds(limits.idle),
            total_s: seconds(limits.total),
        };
        Ok((limits, Some(Box::new(chosen))))
    }

    /// Starts to watch an attempt.
    pub(crate) fn start(self: &Arc<Self>, limits: &Limits) -> Overseen {
        let mut state = self.lock();
        let cohort = state.cohorts.entry(Arc::clone(&limits.class)).or_default();
        let (now, lost) = (Instant::now(), self.lost());
        let watch = Watch::start(limits.idle, limits.total, limits.terms, cohort, now, lost);
        drop(state);
        let mut rule = self.rule;
        let shortest = [limits.idle, limits.total]
            .into_iter()
            .flatten()
            .map(|limit| limit.length)
            .min();
        if let Some(shortest) = shortest {
            rule.between = rule.between.min(shortest / SHARE).max(CLOSEST);
        }
        Overseen {
            overseer: Arc::clone(self),
            rule,
            class: Arc::clone(&limits.class),
            watch,
            hard: limits.hard,
            watched: limits.watched,
            counters: None,
            partly: false,
            ended: false,
        }
    }

    /// Learns how long an attempt took that succeeded by itself. Returns what the ledger should record of it.
    pub(crate) fn learn(&self, lasted: &Lasted) -> Option<Learned> {
        let mut state = self.lock();
        state
            .classes
            .resolved(&lasted.class, lasted.took, lasted.silence, lasted.total);
        let count = state.learned.entry(Arc::clone(&lasted.class)).or_default();
        *count += 1;
        (*count <= LEARNED).then(|| Learned {
            class: lasted.class.to_string(),
            took_ms: millis(lasted.took),
            silence_ms: millis(lasted.silence),
        })
    }

    /// Records that all attempts of a step failed, the last with `class`. If chosen deadlines killed them, later ones
    /// are longer.
    pub(crate) fn given_up(&self, step: &Step, label: Option<&str>, class: Class) {
        let ours = match class {
            Class::WatchdogIdle => step.watchdog.idle == JobLimit::Auto,
            Class::WatchdogTotal => step.watchdog.total == JobLimit::Auto,
            _ => false,
        };
        if ours {
            self.lock().classes.given_up(&class_of(step, label));
        }
    }

    /// Watches the controller's own clock; reports each stall to `stalled`.
    pub(crate) async fn watch_clock(&self, stalled: impl AsyncFn(Duration)) -> std::convert::Infallible {
        let mut stalls = Stalls::new(TICK, Instant::now());
        loop {
            sleep(TICK).await;
            if let Some(late) = stalls.tick(Instant::now()) {
                self.lost_ms.store(millis(stalls.lost()), Ordering::Relaxed);
                stalled(late).await;
            }
        }
    }

    fn lost(&self) -> Duration {
        Duration::from_millis(self.lost_ms.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a step's durations: its own class, and the label of its host.
fn class_of(step: &Step, label: Option<&str>) -> Arc<str> {
    match label {
        None => step.class_name().into(),
        Some(label) => format!("{} on {label}", step.class_name()).into(),
    }
}

// === impl Limits ===

impl Limits {
    /// The operator's total deadline.
    pub(crate) fn hard(&self) -> Option<Duration> {
        self.hard
    }

    /// How long a copy may stall on this session. On a terminal a host can't send signs of life while it is silent, so
    /// it gets more time.
    pub(crate) fn copy(&self, session: &Session) -> Option<Duration> {
        self.copy.map(|limit| match limit.by {
            SetBy::Auto if session.needs_terminal() => ON_TERMINAL,
            _ => limit.length,
        })
    }
}

// === impl Overseen ===

impl Overseen {
    /// Records that it began before it was watched, `age` ago by its host's clock if known.
    pub(crate) fn attached(&mut self, age: Option<Duration>) {
        self.partly = true;
        self.watch
            .began_before(age.unwrap_or_default(), Instant::now(), self.overseer.lost());
    }

    /// Whether it began before it was watched.
    pub(crate) fn was_attached(&self) -> bool {
        self.partly
    }

    /// When something is due, and what; `None` without deadlines. During a check (`looked`), only the operator's total
    /// deadline can be due.
    pub(crate) fn next(&self, looked: bool) -> Option<(Instant, Due)> {
        let (now, lost) = (Instant::now(), self.overseer.lost());
        let elapsed = self.watch.elapsed(now, lost);
        let hard = self.hard.and_then(|hard| {
            let at = now.checked_add(hard.saturating_sub(elapsed))?;
            Some((at, Due::Hard(hard)))
        });
        let look = (self.watched && !looked).then(|| {
            let (at, _) = self.watch.next(&self.rule, now, lost);
            (at, Due::Look)
        });
        [look, hard].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Records output.
    pub(crate) fn heard(&mut self) {
        if self.watch.progress(Instant::now(), self.overseer.lost())
            && let Some(cohort) = self.overseer.lock().cohorts.get_mut(&self.class)
        {
            cohort.moved();
        }
    }

    /// The deadline that passes first, its limit, and how long a check for it may take now.
    pub(crate) fn looked_for(&self) -> (Deadline, Limit, Duration) {
        self.watch
            .looked_for(&self.rule, Instant::now(), self.overseer.lost())
    }

    /// The time between the two counts of a first check, in which progress shows.
    pub(crate) fn glance(&self) -> Duration {
        self.rule.between.min(GLANCE)
    }

    /// The time since the last progress.
    pub(crate) fn silence(&self) -> Duration {
        self.watch.silence(Instant::now(), self.overseer.lost())
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.watch.elapsed(Instant::now(), self.overseer.lost())
    }

    /// Decides after a check.
    pub(crate) fn look(&mut self, evidence: Evidence) -> Decision {
        let mut state = self.overseer.lock();
        let samples = state.classes.samples(&self.class);
        let cohort = state.cohorts.entry(Arc::clone(&self.class)).or_default();
        let (now, lost) = (Instant::now(), self.overseer.lost());
        self.watch.look(&self.rule, evidence, samples, cohort, now, lost)
    }

    /// Records that it ended by itself. Returns its duration if its start was seen.
    pub(crate) fn end(&mut self) -> Option<Lasted> {
        let silence = self.watch.longest_silence(Instant::now(), self.overseer.lost());
        let took = self.leave(true);
        (!self.partly).then(|| Lasted {
            took,
            class: Arc::clone(&self.class),
            silence,
            total: self.watch.total(),
        })
    }

    fn leave(&mut self, by_itself: bool) -> Duration {
        self.ended = true;
        let mut state = self.overseer.lock();
        let cohort = state.cohorts.entry(Arc::clone(&self.class)).or_default();
        self.watch
            .end(by_itself, cohort, Instant::now(), self.overseer.lost())
    }
}

impl Drop for Overseen {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(false);
        }
    }
}
