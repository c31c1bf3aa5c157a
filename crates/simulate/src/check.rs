//! What must hold, by what was committed and by what really ran.

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

/// A rule that a run has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A command starts only if its intent is on record.
    IntentFirst,
    /// A command starts only on a host that was dispatched.
    DispatchFirst,
    /// A step that is not idempotent starts again in its round only if the end of its last attempt is on record.
    NoSecondStart,
    /// Two durable commands of a host never run beside each other on a machine.
    NoOverlap,
    /// Who succeeded has run every step to a good end.
    SuccessIsTrue,
    /// An outcome that claims to know how the host is leaves nothing running there.
    NothingLeftRunning,
    /// The recorded output is the output.
    OutputWhole,
    /// Nothing is dispatched once more hosts failed than are allowed.
    HaltHolds,
    /// A step that runs once runs on one host, and once.
    OnceIsOnce,
    /// Attempts, tries and recoveries of a host in a round keep their limits, and each rung is taken once.
    Bounded,
    /// Nothing of a batch is dispatched before the batches before it are over.
    BatchesInTurn,
    /// What is committed, folded afresh, is what the task that committed it knows.
    FoldsAlike,
    /// No host obeys a controller that another has taken over from.
    Fenced,
    /// No host's task falls over.
    NoInternal,
    /// The engine ends a run for no reason but a full disk or another controller.
    EngineGoesOn,
    /// A host and round has one outcome at most, and every host of a closed run has one.
    AccountBalances,
    /// A controller comes to an end by itself.
    NoHang,
    /// Once nothing goes wrong any more, a few resumes close the run.
    Closes,
}

/// A rule that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// When, after the beginning.
    pub at: Duration,
    /// How, in words.
    pub words: String,
}

/// How long a host may still be dispatched after the failure that is one too many was committed: the engine hears of it a
/// little later. An engine that records that it halts has no such time.
const HEARS_OF_IT: Duration = Duration::from_secs(5);

/// The longest that a commit takes: a dispatch that is queued by then comes that late.
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

/// A run of a command, as it really was.
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
    /// Its request arrived late: the engine knows nothing of it.
    pub(crate) late: bool,
    pub(crate) began: Instant,
    /// When it stopped being there.
    pub(crate) over: Option<Instant>,
    pub(crate) lasts: Duration,
    pub(crate) ends: Ends,
    /// What a whole run says on standard output.
    pub(crate) says: Bytes,
    /// It says what its step takes for a failure.
    pub(crate) fatal: bool,
}

/// What the checks know of a step.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what a job says of a step, each for itself"
)]
struct StepFacts {
    index: u32,
    idempotent: bool,
    once: bool,
    /// It is no step for hosts that failed: those may be left as they are when the host can't be reached any more.
    main: bool,
    /// It does nothing but run a command, in its turn, and its failure counts.
    decides: bool,
}

/// Attempts, by host, round, step and number.
pub(crate) type Place = (String, u32, u32, u32);

/// What was committed and what really ran, as far as rules are about it.
#[derive(Debug)]
pub(crate) struct Record {
    /// Machines whose places were wiped.
    pub(crate) wiped: BTreeSet<String>,
    /// Tokens whose directories went while the mark of their run stayed.
    swept: BTreeSet<String>,
    /// Tokens whose beginning is on record.
    begun: BTreeSet<String>,
    /// What each machine said of itself before a token's work was to start: its boot and its mark.
    sites: BTreeMap<String, (String, String)>,
    /// Machines whose tombstones were swept away.
    unburied: BTreeSet<String>,
    /// Attempts that were told to have never run.
    buried: BTreeSet<Place>,
    /// Steps that run once, and are done.
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
    /// The attempt of each token, the latest intent of it.
    tokens: BTreeMap<String, Place>,
    plain_intents: BTreeMap<(String, u32), Vec<(u32, u32)>>,
    /// The step of each host's latest intent.
    latest: BTreeMap<String, u32>,
    /// The machine that took a host's place last.
    replaced: BTreeMap<String, String>,
    /// Two controllers wrote at once, which the lock of a real run keeps them from.
    pub(crate) shared_files: bool,
    finished: BTreeSet<Place>,
    /// Those of them that a deadline ended.
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

    /// A command has begun. Its place among the starts comes back.
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
                    format!("{name}: nothing says that it may start"),
                ),
            },
        }
        let place = (start.host.clone(), start.round, index, start.attempt);
        if self.unburied.contains(&start.machine) && self.buried.contains(&place) {
            // A request that was under way found the tombstone gone, and the mark that it knew.
            start.late = true;
            return self.push(start);
        }
        let site = start.token.as_ref().and_then(|token| self.sites.get(token));
        let there = (start.boot.as_str(), start.mark.as_deref().unwrap_or_default());
        if let Some((boot, mark)) = site.filter(|(boot, mark)| (boot.as_str(), mark.as_str()) != there) {
            let words = format!("{name}: intended for boot {boot}, mark {mark}; there it is {there:?}");
            self.violate(Rule::IntentFirst, words);
        }
        if !self.dispatched.contains(&(start.host.clone(), start.round)) {
            self.violate(
                Rule::DispatchFirst,
                format!("{name}: not dispatched in round {}", start.round),
            );
        }
        // A request for a plain command may arrive when the engine has gone on.
        let runs = start.token.is_some() || self.latest.get(&start.host) == Some(&index);
        let mut broken = Vec::new();
        for other in &self.starts {
            if (&other.host, &other.machine) != (&start.host, &start.machine)
                || (other.late && other.token.is_some())
            {
                continue;
            }
            // What was begun before its directory was wiped can't be known to run, unless its beginning is on record.
            let known = !self.wiped.contains(&other.machine);
            let on = other.over.is_none() && other.boots == start.boots && other.token.is_some();
            if runs && on && known {
                let since = start.began.duration_since(other.began).as_secs_f64();
                let words = format!("{name}: {} still runs, since {since:.1} s", other.step);
                broken.push((Rule::NoOverlap, words));
            }
            // Of what is not on record as begun, and whose directory went, nobody can tell that it ran.
            let swept = |token: &String| self.swept.contains(token) && !self.begun.contains(token);
            let again = (&other.step, other.round) == (&start.step, start.round)
                && !idempotent
                && !other.token.as_ref().is_some_and(swept);
            let place = (other.host.clone(), other.round, index, other.attempt);
            if again && !self.finished.contains(&place) {
                let words = format!(
                    "{name}: attempt {} follows attempt {} of round {}, whose end nobody knows",
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

    /// The directories of what ran on a machine are removed; the run's own stays, with its mark.
    pub(crate) fn sweep(&mut self, machine: &str) {
        self.wiped.insert(machine.to_owned());
        self.unburied.insert(machine.to_owned());
        let here = self.starts.iter().filter(|start| start.machine == machine);
        self.swept.extend(here.filter_map(|start| start.token.clone()));
    }

    /// What a task takes its host's history to be, all of it being on record.
    pub(crate) fn on_record(&mut self, host: &HostName, live: &HostHistory) {
        if let Some(words) = self.folded.differs(host, live) {
            self.violate(Rule::FoldsAlike, words);
        }
    }

    /// States of attempts that were met by events.
    pub(crate) fn events_met(&self) -> BTreeSet<Met> {
        self.folded.met.clone()
    }

    /// What was committed.
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

    /// Nothing that runs on a host's machine may be unknown to a controller that comes now.
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
                // Of output that was wiped a gap is stated.
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
        // Who was not dispatched is told to be as the round before left it.
        let touched = self.dispatched.contains(&(host.to_owned(), round));
        if let Some(step) = self.folded.unasked(host).filter(|_| touched) {
            let words = format!(
                "{host} ends as {class}, and nobody asked what became of its step {}",
                step + 1
            );
            self.violate(Rule::NothingLeftRunning, words);
        }
        // What goes on on a machine that was replaced is nobody's business any more.
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
                // After a wipe nobody can tell that it runs.
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

    /// How far the last attempt of a host has come, for tables.
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

    /// What is on record of whole runs: host, round, step, attempt, and what they said.
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
    /// Whether nothing ended it before its time.
    pub(crate) fn ran_to_its_end(&self) -> bool {
        self.over
            .is_some_and(|over| over.duration_since(self.began) >= self.lasts)
    }
}

/// Outcomes that don't claim that nothing of the host's runs any more.
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

/// The name of an event in files.
pub(crate) fn kind(kind: &EventKind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|value| value["event"].as_str().map(str::to_owned))
        .unwrap_or_default()
}
