//! Checks the bounds of a round: attempts, tries, recoveries, and the order of batches.

use std::collections::BTreeMap;

use reveille_account::{Event, EventKind, HostName, Loss, Rung, Status};
use reveille_history::JobOutline;
use reveille_job::Job;
use reveille_pace::{Portion, batches};

use crate::check::Rule;
use crate::scenario::Scenario;

/// The limit on a host's recoveries in a round.
const RECOVERIES: u32 = 3;

/// Counts per host and round, from committed events.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// The attempts that each step may use.
    attempts: Vec<u32>,
    /// The number of further addresses of each host.
    routes: BTreeMap<String, u32>,
    serial: Vec<Portion>,
    canary: bool,
    /// The roll of the next round.
    next_roll: Vec<String>,
    rolls: BTreeMap<u32, Vec<String>>,
    /// The round in which each attempt began.
    begun: BTreeMap<(String, u32, u32), u32>,
    counts: BTreeMap<(String, u32), Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Attempts used up since the last recovery, by step.
    attempts: BTreeMap<u32, u32>,
    /// Retries: connection tries and attempts.
    tries: u32,
    rungs: Vec<Rung>,
    dispatched: bool,
    outcome: Option<Status>,
}

/// A broken rule, and how.
pub(crate) type Broken = (Rule, String);

// === impl Bounds ===

impl Bounds {
    pub(crate) fn new(job: &Job, scenario: &Scenario) -> Self {
        let routes = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            attempts: job.steps.iter().map(|step| step.attempts).collect(),
            routes: scenario
                .hosts
                .iter()
                .map(|host| (host.name.clone(), routes(host.routes.len())))
                .collect(),
            serial: scenario
                .pacing
                .serial
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            canary: scenario.pacing.canary,
            next_roll: scenario.hosts.iter().map(|host| host.name.clone()).collect(),
            rolls: BTreeMap::new(),
            begun: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Sets the roll of the next round.
    pub(crate) fn will_open(&mut self, roll: Vec<String>) {
        self.next_roll = roll;
    }

    /// Counts a committed event. Returns the bound that it breaks, if any.
    pub(crate) fn committed(&mut self, event: &Event) -> Option<Broken> {
        let round = event.round;
        let Some(host) = event.host.as_ref().map(HostName::as_str) else {
            if matches!(event.kind, EventKind::RunOpened { .. }) {
                self.rolls.insert(round, self.next_roll.clone());
            }
            return None;
        };
        if matches!(event.kind, EventKind::Dispatched) {
            let broken = self.out_of_turn(host, round);
            self.counts
                .entry((host.to_owned(), round))
                .or_default()
                .dispatched = true;
            return broken;
        }
        let routes = self.routes.get(host).copied().unwrap_or_default();
        let counts = self.counts.entry((host.to_owned(), round)).or_default();
        let mut here = |step: u32, attempt: u32| {
            let begun = self.begun.get(&(host.to_owned(), step, attempt));
            if begun == Some(&round) {
                *counts.attempts.entry(step).or_default() += 1;
            }
        };
        match &event.kind {
            EventKind::StepStarted { step, attempt, .. } => {
                let most = self.attempts.get(step.index as usize).copied().unwrap_or(1);
                let used = counts.attempts.get(&step.index).copied().unwrap_or_default();
                self.begun
                    .entry((host.to_owned(), step.index, *attempt))
                    .or_insert(round);
                (used >= most.max(1)).then(|| {
                    let words = format!(
                        "{host} starts {} again after {used} of {most} attempts",
                        step.name
                    );
                    (Rule::Bounded, words)
                })
            }
            EventKind::StepFinished { step, attempt, .. } => {
                here(step.index, *attempt);
                None
            }
            EventKind::StepLost {
                step, attempt, loss, ..
            } => {
                if *loss == Loss::Gone {
                    here(step.index, *attempt);
                }
                None
            }
            EventKind::ConnectFailed {
                throttled: false,
                retry_in_ms: Some(_),
                away: false,
                ..
            }
            | EventKind::Recovering { rung: None, .. } => {
                counts.tries += 1;
                (counts.tries > JobOutline::BUDGET).then(|| {
                    let words = format!("{host} tries for the {}th time in round {round}", counts.tries);
                    (Rule::Bounded, words)
                })
            }
            EventKind::Recovering { rung: Some(rung), .. } => counts.take(host, *rung, routes),
            EventKind::Healed { .. } | EventKind::Replaced { .. } => {
                counts.attempts.clear();
                None
            }
            EventKind::OutcomeReached { outcome } => {
                counts.outcome = Some(outcome.status());
                None
            }
            _ => None,
        }
    }

    /// Whether a host is dispatched before its batch's turn.
    fn out_of_turn(&self, host: &str, round: u32) -> Option<Broken> {
        let roll = self.rolls.get(&round)?;
        let place = roll.iter().position(|name| name == host)?;
        let mut from = 0;
        for (number, size) in batches(&self.serial, roll.len() as u64).enumerate() {
            let to = from + usize::try_from(size).unwrap_or(usize::MAX);
            if place < to {
                return None;
            }
            let batch = roll[from..to].iter().map(|name| {
                let counts = self.counts.get(&(name.clone(), round));
                let dispatched = counts.is_some_and(|counts| counts.dispatched);
                (name, dispatched, counts.and_then(|counts| counts.outcome))
            });
            let batch: Vec<_> = batch.collect();
            if let Some((open, ..)) = batch.iter().find(|(.., outcome)| outcome.is_none()) {
                let words =
                    format!("{host} is dispatched before {open}, of an earlier batch, has its outcome");
                return Some((Rule::BatchesInTurn, words));
            }
            let failed =
                |outcome: Option<Status>| matches!(outcome, Some(Status::Failed | Status::Quarantined));
            let counting = batch
                .iter()
                .filter(|(_, dispatched, outcome)| *dispatched && *outcome != Some(Status::Cancelled));
            let failures = counting.clone().filter(|(.., outcome)| failed(*outcome)).count();
            let all = !self.serial.is_empty() && failures > 0 && failures == counting.count();
            if all || (self.canary && number == 0 && failures > 0) {
                let words = format!(
                    "{host} is dispatched, and {failures} of batch {} failed",
                    number + 1
                );
                return Some((Rule::HaltHolds, words));
            }
            from = to;
        }
        None
    }
}

// === impl Counts ===

impl Counts {
    /// Counts a rung.
    fn take(&mut self, host: &str, rung: Rung, routes: u32) -> Option<Broken> {
        self.attempts.clear();
        self.rungs.push(rung);
        let taken = self.rungs.iter().filter(|other| **other == rung).count();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let most = if rung == Rung::Route { routes } else { 1 };
        let all = u32::try_from(self.rungs.len()).unwrap_or(u32::MAX);
        (taken > most || all > RECOVERIES).then(|| {
            let words = format!("{host} is recovered by {:?} in a row", self.rungs);
            (Rule::Bounded, words)
        })
    }
}
