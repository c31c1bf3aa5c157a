//! Reads what earlier controllers recorded: the history of each host, and that of the run.

use std::collections::{HashMap, HashSet};

use reveille_account::{Class, EventKind, HaltReason, HostName, Outcome, RunId, Status};
use reveille_history::{HostHistory, HostState};
use reveille_job::{Job, Registered, Role};
use reveille_ledger::{Error, Ledger, Replayed, RollEntry};

/// How far a host got under earlier controllers.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Its history, if it has one.
    pub history: Option<HostHistory>,
    /// Registered values by step position, oldest first.
    pub registered: Vec<(u32, Option<String>)>,
    /// The outcome that it would get, if it failed.
    pub failure: Option<Box<Outcome>>,
    /// What went wrong last.
    pub message: String,
    /// When it was dispatched in this round, Unix milliseconds.
    pub dispatched_ms: Option<u64>,
    /// Why its events can't be folded.
    pub unfit: Option<String>,
}

/// A host on the roll of the round.
#[derive(Debug, Clone)]
pub struct RollHost {
    /// Its name.
    pub name: HostName,
    /// How far it got.
    pub state: HostState,
    /// Whether it may be dispatched.
    pub ready: bool,
    /// Its recorded address and port, if the job may replace machines and no plan contains them.
    pub place: Option<(String, u16)>,
}

/// A `once` step with its result.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Its position.
    pub step: u32,
    /// What it registered, as JSON.
    pub registered: Option<String>,
    /// Why it failed; `None` if it succeeded.
    pub failed: Option<String>,
}

/// The current round of a run, as recorded.
#[derive(Debug, Default)]
pub struct Recalled {
    /// The hosts without an outcome, in the roll's order.
    pub remaining: Vec<(RollEntry, Before)>,
    /// The round's roll, in order.
    pub roll: Vec<RollHost>,
    /// Why the round was halted.
    pub halted: Option<HaltReason>,
    /// The known results of `once` steps.
    pub once: Vec<Settled>,
}

/// Reads a run's events once and folds them.
///
/// # Errors
///
/// When the ledger can't be read. Contradictory events of a host affect only that host.
pub fn recall(ledger: &Ledger, run: RunId, job: &Job) -> Result<Recalled, Error> {
    let round = ledger.run(run)?.round;
    let hosts = ledger.round(run)?;
    let mut recalled = Recalled::default();
    let mut known: HashMap<HostName, Before> = HashMap::new();
    for host in &hosts {
        let state = match (host.outcome, host.dispatched) {
            (Some(class), _) => class.status().into(),
            (None, true) => HostState::Dispatched,
            (None, false) => HostState::Waiting,
        };
        recalled.roll.push(RollHost {
            name: host.entry.host.clone(),
            state,
            ready: host.outcome != Some(Class::NotReady),
            place: (job.replaces() && host.outcome.is_some())
                .then(|| Some((host.entry.address.clone()?, host.entry.port)))
                .flatten(),
        });
        if host.outcome.is_none() {
            known.insert(host.entry.host.clone(), Before::default());
        }
    }
    let once = once_steps(job);
    let leader = recalled
        .roll
        .iter()
        .find(|host| host.ready)
        .map(|host| host.name.clone());
    // Older programs recorded `once` steps only in the first host's events.
    if let Some(leader) = leader.clone().filter(|_| !once.is_empty()) {
        known.entry(leader).or_default();
    }
    let wanted: HashSet<HostName> = known.keys().cloned().collect();
    ledger.replay(
        run,
        |host| wanted.contains(host),
        |event| match event.host {
            None => recalled.learn(round, event),
            Some(host) => {
                if let Some(before) = known.get_mut(host) {
                    before.learn(event);
                }
            }
        },
    )?;
    if let Some(before) = leader.and_then(|leader| known.get(&leader)) {
        recalled.infer_once(&once, before, round);
    }
    for host in hosts.into_iter().filter(|host| host.outcome.is_none()) {
        let mut before = known.remove(&host.entry.host).unwrap_or_default();
        before.begin(round);
        recalled.remaining.push((host.entry, before));
    }
    Ok(recalled)
}

fn once_steps(job: &Job) -> Vec<u32> {
    (0u32..)
        .zip(&job.steps)
        .filter(|(_, step)| step.once && step.role == Role::Main)
        .map(|(index, _)| index)
        .collect()
}

// === impl Recalled ===

impl Recalled {
    /// Applies an event of the run.
    fn learn(&mut self, round: u32, event: Replayed<'_>) {
        match event.kind {
            Ok(EventKind::Halted { reason }) if event.round == round => self.halted = Some(reason),
            Ok(EventKind::OnceSettled {
                step,
                registered,
                failed,
                // Success in an earlier round counts; a failure there is tried again.
            }) if failed.is_none() || event.round == round => {
                // Without the result, the steps that use it can't run.
                let unreadable = registered
                    .as_deref()
                    .and_then(|text| Registered::read(text).err());
                let failed =
                    failed.or_else(|| Some(format!("its recorded result can't be read: {}", unreadable?)));
                self.once.retain(|known| known.step != step.index);
                self.once.push(Settled {
                    step: step.index,
                    registered,
                    failed,
                });
            }
            _ => {}
        }
    }

    /// Derives the results of `once` steps from the first host's events, if nothing else records them.
    fn infer_once(&mut self, once: &[u32], before: &Before, round: u32) {
        let Some(history) = before.history.as_ref().filter(|history| history.round() == round) else {
            return;
        };
        for step in once {
            let done = history
                .last(*step)
                .is_some_and(|class| class.status() == Status::Success);
            if done && !self.once.iter().any(|known| known.step == *step) {
                let registered = before.registered.iter().rev().find(|(known, _)| known == step);
                self.once.push(Settled {
                    step: *step,
                    registered: registered.and_then(|(_, text)| text.clone()),
                    failed: None,
                });
            }
        }
    }
}

// === impl Before ===

impl Before {
    fn learn(&mut self, event: Replayed<'_>) {
        if self.unfit.is_some() {
            return;
        }
        let kind = match event.kind {
            Ok(kind) => kind,
            Err(error) => {
                self.unfit = Some(error.to_string());
                return;
            }
        };
        self.begin(event.round);
        let history = self.history.get_or_insert_with(|| HostHistory::new(event.round));
        if let Err(unfit) = history.apply(event.round, &kind) {
            self.unfit = Some(unfit.to_string());
            return;
        }
        match kind {
            EventKind::Dispatched => self.dispatched_ms = Some(event.wall_ms),
            EventKind::StepFinished {
                step,
                class,
                registered,
                message,
                ..
            } => {
                self.message = message;
                if let Some(Err(error)) = registered.as_deref().map(Registered::read) {
                    let name = &step.name;
                    self.unfit = Some(format!("the recorded result of `{name}` can't be read: {error}"));
                    return;
                }
                if class.status() == Status::Success || registered.is_some() {
                    self.registered.push((step.index, registered));
                }
            }
            EventKind::StepLost { message, .. } => self.message = message,
            EventKind::StepSkipped { step, .. } => self.registered.push((step.index, None)),
            EventKind::HostFailed { outcome } => self.failure = Some(outcome),
            EventKind::RungFailed { rung, message } => {
                if let Some(failure) = &mut self.failure {
                    failure.message = format!("{}; {} failed: {message}", failure.message, rung.name());
                }
            }
            EventKind::GaveUp { class, gatekeeper } => {
                if let Some(failure) = &mut self.failure {
                    if class.status() == Status::Quarantined {
                        failure.message = format!("{}; {gatekeeper}", failure.message);
                    }
                    failure.class = class;
                    failure.gatekeeper = gatekeeper;
                }
            }
            EventKind::Replaced { .. } => {
                self.registered.clear();
                self.failure = None;
            }
            _ => {}
        }
    }

    /// Forgets what concerns only earlier rounds.
    fn begin(&mut self, round: u32) {
        let Some(history) = &mut self.history else { return };
        if history.round() < round {
            history.begin(round);
            self.registered.clear();
            self.failure = None;
            self.message.clear();
            self.dispatched_ms = None;
        }
    }
}
