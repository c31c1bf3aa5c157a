//! Checks what must hold, from committed events and from the commands that ran.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Class, Event, EventKind, HostName, Loss, Status};
use reveille_history::HostHistory;
use reveille_job::{Job, Role};
use reveille_pace::Portion;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::command::Ends;
use crate::folded::{Folded, Met};
use crate::scenario::{Effect, Scenario, What};

/// A rule that a run must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A command starts only after its intent is on record.
    IntentFirst,
    /// A command starts only on a dispatched host.
    DispatchFirst,
    /// A step that is not idempotent starts again in its round only if the end of its last attempt is on record.
    NoSecondStart,
    /// Two durable commands of a host never run at the same time on a machine.
    NoOverlap,
    /// A host succeeds only if every step ran to a good end.
    SuccessIsTrue,
    /// An outcome that claims a known state leaves nothing running on the host.
    NothingLeftRunning,
    /// The recorded output equals the output.
    OutputWhole,
    /// Nothing is dispatched once more hosts failed than permitted.
    HaltHolds,
    /// A `once` step runs on one host, and once.
    OnceIsOnce,
    /// A host's attempts, tries and recoveries in a round are bounded, and each rung is taken once.
    Bounded,
    /// Nothing of a batch is dispatched before the earlier batches have ended.
    BatchesInTurn,
    /// Folding the committed events yields the history of the task that committed them.
    FoldsAlike,
    /// No host obeys a controller that was replaced.
    Fenced,
    /// No host's task panics.
    NoInternal,
    /// The engine ends a run only because of a full disk or another controller.
    EngineGoesOn,
    /// A host has at most one outcome per round, and every host of a closed run has one.
    AccountBalances,
    /// Every controller ends by itself.
    NoHang,
    /// Once faults have ended, a few resumes close the run.
    Closes,
}

/// A broken rule, and how it was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// When, since the start.
    pub at: Duration,
    /// How.
    pub words: String,
}

/// How long hosts may still be dispatched after the commit of one failure too many, which the engine learns a little
/// later. An engine that has recorded its halt has no such time.
const HEARS_OF_IT: Duration = Duration::from_secs(5);

/// The longest commit: a dispatch queued before it may come that late.
fn longest_commit(scenario: &Scenario) -> Duration {
    let late = scenario
        .faults
        .iter()
        .filter_map(|fault| match (fault.at, fault.what) {
            (Effect::Commit, What::Late(late)) => Some(late.duration()),
            _ => None,
        });
    late.max().unwrap_or_default() + Duration::from_millis(scenario.pacing.commit_ms)
}

/// A run of a command, as it really happened.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) host: String,
    pub(crate) step: String,
    pub(crate) machine: String,
    pub(crate) boots: u32,
    /// Its boot id, and the mark of the run's directory there.
    pub(crate) boot: String,
    pub(crate) mark: Option<String>,
    pub(crate) token: Option<String>,
    /// The round of its intent; 0 until that is found.
    pub(crate) round: u32,
    pub(crate) attempt: u32,
    /// Its request arrived late, unknown to the engine.
    pub(crate) late: bool,
    pub(crate) began: Instant,
    /// When its process ended.
    pub(crate) over: Option<Instant>,
    pub(crate) lasts: Duration,
    pub(crate) ends: Ends,
    /// What a complete run writes to standard output.
    pub(crate) says: Bytes,
    /// Its first line is fatal.
    pub(crate) fatal: bool,
}

/// What the checks know about a step.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a separate fact about a step"
)]
struct StepFacts {
    index: u32,
    idempotent: bool,
    once: bool,
    /// It is not a step of `on_failed`; those may be left when the host becomes unreachable.
    main: bool,
    /// It is a main step that runs a command and whose failure counts.
    decides: bool,
}

/// An attempt: host, round, step and number.
pub(crate) type Place = (String, u32, u32, u32);

/// The committed events and the commands that ran, as far as the rules need them.
#[derive(Debug)]
pub(crate) struct Record {
    /// Machines whose directories were wiped.
    pub(crate) wiped: BTreeSet<String>,
    /// Tokens whose directories are gone while the mark of their run remains.
    swept: BTreeSet<String>,
    /// Tokens with a recorded start.
    begun: BTreeSet<String>,
    /// The boot and the mark that each machine reported before a token's work started.
    sites: BTreeMap<String, (String, String)>,
    /// Machines whose tombstones were removed.
    unburied: BTreeSet<String>,
    /// Attempts recorded as never having run.
    buried: BTreeSet<Place>,
    /// `once` steps that are done.
    once_done: BTreeSet<u32>,
    pub(crate) bounds: Bounds,
    pub(crate) folded: Folded,
    began: Instant,
    steps: BTreeMap<String, StepFacts>,
    first: Option<String>,
    max_fail: Option<Portion>,
    longest_commit: Duration,
    pub(crate) starts: Vec<Start>,
    intents: BTreeMap<Place, Option<String>>,
    /// The attempt of each token, by its latest intent.
    tokens: BTreeMap<String, Place>,
    plain_intents: BTreeMap<(String, u32), Vec<(u32, u32)>>,
    /// The step of each host's latest intent.
    latest: BTreeMap<String, u32>,
    /// The latest replacement of each host's machine.
    replaced: BTreeMap<String, String>,
    /// Two controllers wrote at once, which the lock of a real run prevents.
    pub(crate) shared_files: bool,
    finished: BTreeSet<Place>,
    /// Finished attempts that a deadline ended.
    killed: BTreeSet<Place>,
    skipped: BTreeSet<(String, u32, u32)>,
    dispatched: BTreeSet<(String, u32)>,
    outcomes: BTreeSet<(String, u32)>,
    planned: u64,
    failed: BTreeMap<u32, u64>,
    halted: BTreeMap<u32, (Instant, bool)>,
    pub(crate) violations: Vec<Violation>,
}

// === impl Record ===

impl Record {
    pub(crate) fn new(job: &Job, scenario: &Scenario) -> Self {
        let max_fail = scenario
            .pacing
            .max_fail
            .as_deref()
            .and_then(|text| text.parse().ok());
        let steps = job.steps.iter().enumerate().map(|(index, step)| {
            let facts = StepFacts {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                idempotent: step.idempotent,
                once: step.once,
                main: step.role == Role::Main,
                decides: step.kind() == "run" && step.role == Role::Main && !step.ignore_errors,
            };
            (step.name.clone(), facts)
        });
        Self {
            wiped: BTreeSet::new(),
            swept: BTreeSet::new(),
            begun: BTreeSet::new(),
            sites: BTreeMap::new(),
            unburied: BTreeSet::new(),
            buried: BTreeSet::new(),
            once_done: BTreeSet::new(),
            bounds: Bounds::new(job, scenario),
            folded: Folded::new(job),
            shared_files: false,
            began: Instant::now(),
            steps: steps.collect(),
            first: scenario.hosts.first().map(|host| host.name.clone()),
            max_fail,
            longest_commit: longest_commit(scenario),
            starts: Vec::new(),
            intents: BTreeMap::new(),
            tokens: BTreeMap::new(),
            plain_intents: BTreeMap::new(),
            latest: BTreeMap::new(),
            replaced: BTreeMap::new(),
            finished: BTreeSet::new(),
            killed: BTreeSet::new(),
            skipped: BTreeSet::new(),
            dispatched: BTreeSet::new(),
            outcomes: BTreeSet::new(),
            planned: scenario.hosts.len() as u64,
            failed: BTreeMap::new(),
            halted: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    pub(crate) fn violate(&mut self, rule: Rule, words: String) {
        self.violations.push(Violation {
            rule,
            at: self.began.elapsed(),
            words,
        });
    }

    /// Records the start of a command. Returns its index among the starts.
    pub(crate) fn start(&mut self, mut start: Start) -> usize {
        let Some(step) = self.steps.get(&start.step) else {
            self.violate(
                Rule::IntentFirst,
                format!("no step of the job is called {}", start.step),
            );
            return self.push(start);
        };
        let (index, idempotent, once) = (step.index, step.idempotent, step.once);
        let name = format!("{} for {} on {}", start.step, start.host, start.machine);
        match &start.token {
            Some(token) => match self.tokens.get(token) {
                Some((host, round, of, attempt)) if (host, of) == (&start.host, &index) => {
                    (start.round, start.attempt) = (*round, *attempt);
                }
                _ => self.violate(Rule::IntentFirst, format!("{name}: no intent has this token")),
            },
            None => match self.plain_intents.get(&(start.host.clone(), index)) {
                Some(intents) => {
                    if start.round == 0 {
                        (start.round, start.attempt) = intents.last().copied().unwrap_or_default();
                    }
                    let runs = self.starts.iter().filter(|other| {
                        other.token.is_none() && (&other.host, &other.step) == (&start.host, &start.step)
                    });
                    if runs.count() >= intents.len() {
                        self.violate(Rule::IntentFirst, format!("{name}: more starts than intents"));
                    }
                }
                None => self.violate(
                    Rule::IntentFirst,
                    format!("{name}: nothing on record permits its start"),
                ),
            },
        }
        let place = (start.host.clone(), start.round, index, start.attempt);
        if self.unburied.contains(&start.machine) && self.buried.contains(&place) {
            // A request in transit found no tombstone, but the mark that it expected.
            start.late = true;
            return self.push(start);
        }
        let site = start.token.as_ref().and_then(|token| self.sites.get(token));
        let there = (start.boot.as_str(), start.mark.as_deref().unwrap_or_default());
        if let Some((boot, mark)) = site.filter(|(boot, mark)| (boot.as_str(), mark.as_str()) != there) {
            let words = format!("{name}: intended for boot {boot}, mark {mark}, but found {there:?}");
            self.violate(Rule::IntentFirst, words);
        }
        if !self.dispatched.contains(&(start.host.clone(), start.round)) {
            self.violate(
                Rule::DispatchFirst,
                format!("{name}: not dispatched in round {}", start.round),
            );
        }
        // A late request for a plain command may arrive after the engine has moved on.
        let runs = start.token.is_some() || self.latest.get(&start.host) == Some(&index);
        let mut broken = Vec::new();
        for other in &self.starts {
            if (&other.host, &other.machine) != (&start.host, &start.machine)
                || (other.late && other.token.is_some())
            {
                continue;
            }
            // A command that began before its directory was wiped can't be known to run, unless its start is on record.
            let known = !self.wiped.contains(&other.machine);
            let on = other.over.is_none() && other.boots == start.boots && other.token.is_some();
            if runs && on && known {
                let since = start.began.duration_since(other.began).as_secs_f64();
                let words = format!("{name}: {} still runs, since {since:.1} s", other.step);
                broken.push((Rule::NoOverlap, words));
            }
            // Without a recorded start and without its directory, an attempt can't be known to have run.
            let swept = |token: &String| self.swept.contains(token) && !self.begun.contains(token);
            let again = (&other.step, other.round) == (&start.step, start.round)
                && !idempotent
                && !other.token.as_ref().is_some_and(swept);
            let place = (other.host.clone(), other.round, index, other.attempt);
            if again && !self.finished.contains(&place) {
                let words = format!(
                    "{name}: attempt {} follows attempt {} of round {}, whose end is unknown",
                    start.attempt, other.attempt, other.round
                );
                broken.push((Rule::NoSecondStart, words));
            }
        }
        if once {
            let elsewhere = self.starts.iter().any(|other| {
                (&other.step, other.round) == (&start.step, start.round) && other.host != start.host
            });
            if elsewhere {
                broken.push((Rule::OnceIsOnce, format!("{name}: another host has run it")));
            }
            if self.once_done.contains(&index) && !start.late {
                broken.push((Rule::OnceIsOnce, format!("{name}: it is done for all hosts")));
            }
        }
        for (rule, words) in broken {
            self.violate(rule, words);
        }
        self.push(start)
    }

    fn push(&mut self, start: Start) -> usize {
        self.starts.push(start);
        self.starts.len() - 1
    }

    /// The latest attempt of a plain step.
    pub(crate) fn latest_plain(&self, host: &str, step: &str) -> Option<(u32, u32)> {
        let index = self.steps.get(step)?.index;
        self.plain_intents.get(&(host.to_owned(), index))?.last().copied()
    }

    /// Removes the directories of attempts on a machine, but not the run's own with its mark.
    pub(crate) fn sweep(&mut self, machine: &str) {
        self.wiped.insert(machine.to_owned());
        self.unburied.insert(machine.to_owned());
        let here = self.starts.iter().filter(|start| start.machine == machine);
        self.swept.extend(here.filter_map(|start| start.token.clone()));
    }

    /// Receives a task's view of its host's history, when all of it is on record.
    pub(crate) fn on_record(&mut self, host: &HostName, live: &HostHistory) {
        if let Some(words) = self.folded.differs(host, live) {
            self.violate(Rule::FoldsAlike, words);
        }
    }

    /// The pairs of attempt state and event that occurred.
    pub(crate) fn events_met(&self) -> BTreeSet<Met> {
        self.folded.met.clone()
    }

    /// Checks a committed event.
    pub(crate) fn committed(&mut self, event: &Event) {
        if let Some(words) = self.folded.committed(event) {
            self.violate(Rule::FoldsAlike, words);
        }
        if let Some((rule, words)) = self.bounds.committed(event) {
            self.violate(rule, words);
        }
        self.take(event);
        if let Some(host) = &event.host {
            self.check_permits(host.as_str());
        }
    }

    /// A new controller must know of everything that runs on a host's machine.
    fn check_permits(&mut self, host: &str) {
        let machine = self.replaced.get(host).map_or(host, String::as_str);
        let running = self.starts.iter().find(|start| {
            (start.host.as_str(), start.machine.as_str()) == (host, machine)
                && start.over.is_none()
                && start.token.is_some()
                && !start.late
                && !self.wiped.contains(machine)
        });
        let Some(running) = running else { return };
        if let Some(step) = self.folded.may_start(host) {
            let words = format!(
                "step {} might start on {machine} while {} runs",
                step + 1,
                running.step
            );
            self.violate(Rule::NoOverlap, words);
        }
    }

    fn take(&mut self, event: &Event) {
        let Some(host) = event.host.as_ref().map(HostName::as_str) else {
            if kind(&event.kind) == "halted" {
                self.halted.insert(event.round, (Instant::now(), true));
            }
            if let EventKind::RunOpened { planned } = event.kind {
                self.planned = planned;
            }
            if let EventKind::OnceSettled {
                step, failed: None, ..
            } = &event.kind
            {
                self.once_done.insert(step.index);
            }
            return;
        };
        let host = host.to_owned();
        match &event.kind {
            EventKind::Dispatched => self.dispatch(host, event.round),
            EventKind::StepStarted {
                step,
                attempt,
                token,
                site,
                ..
            } => {
                let place = (host.clone(), event.round, step.index, *attempt);
                let token = token.map(|token| token.to_string());
                if let (Some(token), Some(site)) = (&token, site) {
                    self.sites
                        .insert(token.clone(), (site.boot.clone(), site.mark.clone()));
                }
                self.latest.insert(host.clone(), step.index);
                match &token {
                    Some(token) => {
                        self.tokens.insert(token.clone(), place.clone());
                    }
                    None => self
                        .plain_intents
                        .entry((host, step.index))
                        .or_default()
                        .push((event.round, *attempt)),
                }
                self.intents.insert(place, token);
            }
            EventKind::StepLost {
                step,
                attempt,
                loss: Loss::Buried,
                ..
            } => {
                self.buried.insert((host, event.round, step.index, *attempt));
            }
            EventKind::StepBegan { step, attempt, .. } => {
                let of = |place: &&Place| (&place.0, place.2, place.3) == (&host, step.index, *attempt);
                let token = self.intents.iter().find(|(place, _)| of(place));
                self.begun.extend(token.and_then(|(_, token)| token.clone()));
            }
            EventKind::Replaced { address, .. } => {
                self.replaced.insert(host, address.clone());
            }
            EventKind::StepSkipped { step, .. } => {
                self.skipped.insert((host, event.round, step.index));
            }
            EventKind::StepFinished {
                step,
                attempt,
                class,
                stdout_bytes,
                dropped_bytes,
                ..
            } => {
                let place = (host, event.round, step.index, *attempt);
                let judged = !matches!(
                    class,
                    Class::WatchdogIdle | Class::WatchdogTotal | Class::AsksAQuestion
                );
                let token = self.intents.get(&place).cloned().flatten();
                let run = self
                    .starts
                    .iter()
                    .find(|start| start.token.is_some() && start.token == token);
                // The record of wiped output has a gap.
                let whole = |run: &&Start| {
                    judged && run.ran_to_its_end() && !self.wiped.contains(&run.machine) && !self.shared_files
                };
                if let Some(run) = run.filter(whole) {
                    let has = stdout_bytes + dropped_bytes;
                    if has != run.says.len() as u64 {
                        let words =
                            format!("{} for {}: {has} of {} bytes", run.step, run.host, run.says.len());
                        self.violate(Rule::OutputWhole, words);
                    }
                }
                if !judged {
                    self.killed.insert(place.clone());
                }
                self.finished.insert(place);
            }
            EventKind::OutcomeReached { outcome } => {
                self.outcome(&host, event.round, outcome.class, &outcome.message);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, host: String, round: u32) {
        if let Some((since, strictly)) = self.halted.get(&round) {
            let late = since.elapsed();
            if *strictly || late > HEARS_OF_IT + self.longest_commit {
                let words = format!(
                    "{host} is dispatched {:.1} s after the run halted",
                    late.as_secs_f64()
                );
                self.violate(Rule::HaltHolds, words);
            }
        }
        self.dispatched.insert((host, round));
    }

    fn outcome(&mut self, host: &str, round: u32, class: Class, message: &str) {
        if !self.outcomes.insert((host.to_owned(), round)) {
            self.violate(
                Rule::AccountBalances,
                format!("{host} has a second outcome in round {round}"),
            );
        }
        if class == Class::Internal {
            self.violate(Rule::NoInternal, format!("{host}: {message}"));
        }
        if matches!(class.status(), Status::Failed | Status::Quarantined) {
            let failed = self.failed.entry(round).or_default();
            *failed += 1;
            if self
                .max_fail
                .is_some_and(|most| most.exceeded(*failed, self.planned))
            {
                self.halted.entry(round).or_insert((Instant::now(), false));
            }
        }
        // A host that was not dispatched keeps the state of the previous round.
        let touched = self.dispatched.contains(&(host.to_owned(), round));
        if let Some(step) = self.folded.unasked(host).filter(|_| touched) {
            let words = format!(
                "{host} ends as {class}, but its step {} was never asked about",
                step + 1
            );
            self.violate(Rule::NothingLeftRunning, words);
        }
        // Work on a machine that was replaced does not matter any more.
        let present = self.replaced.get(host).cloned();
        let former = |machine: &str| {
            present.as_ref().is_some_and(|present| {
                machine != present && (machine == host || machine.starts_with(&format!("{host}-")))
            })
        };
        let running = self.starts.iter().find(|start| {
            start.host == host
                && start.over.is_none()
                && start.token.is_some()
                // After a wipe it can't be known to run.
                && !self.wiped.contains(&start.machine)
                && self.steps.get(&start.step).is_some_and(|step| step.main)
                && !former(&start.machine)
        });
        if let Some(running) = running
            && touched
            && !may_leave(class)
        {
            let words = format!(
                "{host} ends as {class} while its {} runs on {}",
                running.step, running.machine
            );
            self.violate(Rule::NothingLeftRunning, words);
        }
        if class.status() == Status::Success {
            let untrue: Vec<String> = self
                .steps
                .iter()
                .filter(|(_, facts)| facts.decides && (!facts.once || self.first.as_deref() == Some(host)))
                .filter(|(_, facts)| !self.skipped.contains(&(host.to_owned(), round, facts.index)))
                .filter_map(|(name, _)| {
                    let last = self.starts.iter().rev().find(|start| {
                        start.host == host && start.step == *name && !start.late && !former(&start.machine)
                    });
                    match last {
                        None => Some(format!("{host} succeeded, and {name} never ran")),
                        Some(run) if run.ran_to_its_end() && run.ends == Ends::Exit(0) && !run.fatal => None,
                        Some(run) => Some(format!(
                            "{host} succeeded, and the last run of {name} did not: {:?}",
                            run.ends
                        )),
                    }
                })
                .collect();
            for words in untrue {
                self.violate(Rule::SuccessIsTrue, words);
            }
        }
    }

    /// The state of a host's last attempt, for tables.
    pub(crate) fn state_of(&self, host: &str) -> &'static str {
        let last = self
            .intents
            .iter()
            .filter(|((of, ..), _)| of == host)
            .max_by_key(|((_, round, step, attempt), _)| (*round, *step, *attempt));
        let Some((place, token)) = last else { return "none" };
        if self.finished.contains(place) {
            return "settled";
        }
        if self.outcomes.contains(&(place.0.clone(), place.1)) {
            return "left";
        }
        let run = match token {
            Some(token) => self
                .starts
                .iter()
                .find(|start| start.token.as_ref() == Some(token)),
            None => self
                .starts
                .iter()
                .rfind(|start| start.host == host && start.token.is_none()),
        };
        match (run, token) {
            (None, Some(_)) => "intended",
            (None, None) => "intended, plain",
            (Some(run), Some(_)) if run.over.is_none() => "begun",
            (Some(_), Some(_)) => "ended",
            (Some(run), None) if run.over.is_none() => "begun, plain",
            (Some(_), None) => "ended, plain",
        }
    }

    /// What complete runs with a recorded end wrote to standard output, by attempt.
    pub(crate) fn said(&self) -> Vec<(Place, Bytes)> {
        let judged = |place: &&Place| !self.killed.contains(*place);
        let finished = self.finished.iter().filter(judged);
        finished
            .filter_map(|place| {
                let token = self.intents.get(place)?.as_ref()?;
                let run = self
                    .starts
                    .iter()
                    .find(|start| start.token.as_ref() == Some(token))?;
                (run.ran_to_its_end() && !run.says.is_empty()).then(|| (place.clone(), run.says.clone()))
            })
            .collect()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

// === impl Start ===

impl Start {
    /// Whether it ended by itself.
    pub(crate) fn ran_to_its_end(&self) -> bool {
        self.over
            .is_some_and(|over| over.duration_since(self.began) >= self.lasts)
    }
}

/// Outcomes that permit work to be still running.
fn may_leave(class: Class) -> bool {
    match class {
        Class::AuthFailed => false,
        Class::ConnectionLost
        | Class::ResultUnknown
        | Class::WatchdogIdle
        | Class::WatchdogTotal
        | Class::RecoveryLimit
        | Class::Poison => true,
        other => other.is_connection(),
    }
}

/// An event's name as in files.
pub(crate) fn kind(kind: &EventKind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|value| value["event"].as_str().map(str::to_owned))
        .unwrap_or_default()
}
