//! A host's life: a task that ends in exactly one outcome.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Class, EventKind, HostName, Outcome, PhaseTimings, Status, StepRef};
use reveille_job::{Facts, Registered, Role};
use reveille_ledger::Entry;
use reveille_ledger::output::OutputWriter;
use reveille_pace::{Backoff, Budget, HandshakePermit};
use reveille_transport::Become;
use reveille_transport::Session;
use reveille_transport::supervisor::Durable;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::engine::Engine;
use crate::heal::Healing;
use crate::plan::HostPlan;
use crate::stop::Stop;
use crate::trial::Turn;

/// A host on the way to its outcome.
pub(crate) struct HostTask {
    pub(crate) engine: Arc<Engine>,
    pub(crate) plan: Box<HostPlan>,
    /// Events that the next commit takes along.
    pub(crate) notes: Vec<Entry>,
    pub(crate) budget: Budget,
    pub(crate) backoff: Backoff,
    /// The turn to shake hands that the host was admitted with, until it is used.
    pub(crate) turn: Option<HandshakePermit>,
    /// The turn to try the password, until it is known that this host has no need of it.
    pub(crate) trial: Option<Turn>,
    /// The password was offered and did not let us in.
    pub(crate) password_refused: bool,
    pub(crate) connects: u32,
    pub(crate) causes: Vec<Class>,
    pub(crate) phases: Option<PhaseTimings>,
    /// Something failed on the way and was overcome.
    pub(crate) recovered: bool,
    /// The step whose durable work goes on while the connection is away.
    pub(crate) under_way: Option<StepRef>,
    pub(crate) session: Option<Session>,
    pub(crate) writer: OutputWriter,
    pub(crate) registered: Vec<(String, Registered)>,
    /// Where the host keeps durable work, and as whom.
    pub(crate) place: Option<(Option<Become>, String)>,
    /// Finished durable work whose end is not on record yet.
    pub(crate) leftovers: Option<Box<Durable>>,
    /// What the host says of itself, once a template has asked for it.
    pub(crate) facts: Option<Facts>,
    /// The host's variables, once a template has asked for them.
    pub(crate) vars: Option<Map<String, Value>>,
    pub(crate) started: Instant,
    pub(crate) deciding: Option<Deciding>,
    /// The step that it is at.
    pub(crate) reached: usize,
    /// The highest attempt of each step that this task has begun.
    pub(crate) begun: HashMap<usize, u32>,
    /// What was done to bring it back.
    pub(crate) healing: Healing,
}

/// The last step that ran, for the outcome.
pub(crate) struct Deciding {
    pub(crate) step: StepRef,
    pub(crate) attempts: u32,
    pub(crate) exit_status: Option<i32>,
    pub(crate) signal: Option<String>,
    pub(crate) stdout: (String, bool),
    pub(crate) stderr: (String, bool),
}

/// Why a host's life is over.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It has its outcome.
    Outcome(Box<Outcome>),
    /// The run is being stopped; it stays running in the account.
    Interrupted,
    /// The run as a whole can't go on.
    Failure(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Halt::Failure(failure)
    }
}

impl From<reveille_ledger::Error> for Halt {
    fn from(error: reveille_ledger::Error) -> Self {
        Halt::Failure(error.into())
    }
}

// === impl HostTask ===

impl HostTask {
    pub(crate) fn new(
        engine: Arc<Engine>,
        plan: Box<HostPlan>,
        turn: HandshakePermit,
        trial: Option<Turn>,
    ) -> Self {
        let writer = engine.handle.output(&plan.name, engine.settings.caps);
        let seed = engine.settings.seed ^ seed_of(&plan.name);
        let mut budget = Budget::new(Budget::DEFAULT);
        let before = plan.before.as_ref();
        let connects = before.map_or(0, |before| before.connects);
        budget.spent(connects.saturating_sub(1));
        Self {
            notes: Vec::new(),
            budget,
            backoff: Backoff::new(engine.settings.backoff.0, engine.settings.backoff.1, seed),
            turn: Some(turn),
            trial,
            password_refused: false,
            connects,
            causes: Vec::new(),
            phases: None,
            recovered: false,
            under_way: None,
            session: None,
            writer,
            registered: Vec::new(),
            place: None,
            leftovers: None,
            facts: None,
            vars: None,
            started: Instant::now(),
            deciding: None,
            reached: 0,
            begun: plan
                .before
                .iter()
                .flat_map(|before| &before.attempts)
                .map(|(step, attempt)| (*step as usize, *attempt))
                .collect(),
            healing: Healing::default(),
            engine,
            plan,
        }
    }

    /// From dispatch to outcome. Nothing comes back if the run was stopped first.
    ///
    /// There is one of these futures for every session, most of them waiting for output: what is rare or at the end is
    /// boxed, so that it takes no room until then.
    pub(crate) async fn live(mut self: Box<Self>) -> Result<Option<Status>, Failure> {
        if self.plan.before.as_ref().is_none_or(|before| !before.dispatched) {
            self.note(EventKind::Dispatched);
        }
        let ended = loop {
            match Box::pin(self.steps()).await {
                Ok(()) => {
                    let outcome = self.success();
                    break Ok(self.complete(outcome));
                }
                Err(Halt::Outcome(outcome)) => match Box::pin(self.heal(outcome)).await {
                    Ok(None) => self.recovered = true,
                    Ok(Some(outcome)) => {
                        self.tell_failure(&outcome);
                        break Box::pin(self.after_failure(*outcome)).await;
                    }
                    Err(halt) => break Err(halt),
                },
                Err(halt) => break Err(halt),
            }
        };
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(Halt::Outcome(outcome)) => *outcome,
            Err(Halt::Interrupted) => {
                self.commit_notes().await?;
                return Ok(None);
            }
            Err(Halt::Failure(failure)) => return Err(failure),
        };
        let status = outcome.status();
        self.judge_password(&outcome);
        if self.leftovers.is_some() {
            // The host may forget its copy only when ours survives a power cut.
            self.writer.sync()?;
        }
        self.note(EventKind::OutcomeReached {
            outcome: Box::new(outcome),
        });
        self.commit_notes().await?;
        if let Some(work) = self.leftovers.take() {
            Box::pin(work.clean()).await;
        }
        if let Some(session) = self.session.take() {
            Box::pin(session.close()).await;
        }
        Ok(Some(status))
    }

    /// What this host's end says of the password.
    fn judge_password(&self, outcome: &Outcome) {
        let becomes = self.plan.becomes.password.is_some();
        let refused = match outcome.class {
            Class::AuthFailed => self.password_refused,
            Class::BecomeFailed => becomes,
            _ => false,
        };
        if refused && self.engine.trial.refused() {
            self.engine.halt();
        } else if becomes && outcome.status() == Status::Success {
            // It worked, or this job has no need of it.
            self.engine.trial.worked();
        }
    }

    async fn steps(&mut self) -> Result<(), Halt> {
        let engine = Arc::clone(&self.engine);
        for (index, step) in engine.job.steps.iter().enumerate().skip(self.reached) {
            if step.role != Role::Main || self.done_before(index, step) {
                continue;
            }
            self.reached = index;
            if self.engine.stopped.asked() > Stop::No {
                return Err(Halt::Interrupted);
            }
            if step.once && self.engine.first.as_ref() != Some(&self.plan.name) {
                self.wait_for_once(index, step).await?;
                continue;
            }
            self.step(index, step).await?;
            if step.once {
                self.tell_once(index, step, None);
            }
            if !step.settle.is_zero() {
                self.commit_notes().await?;
                sleep(step.settle).await;
            }
        }
        Ok(())
    }

    fn success(&self) -> Outcome {
        let class = match (&self.deciding, self.recovered) {
            (_, true) => Class::OkAfterRecovery,
            (None, false)
                if self
                    .plan
                    .before
                    .as_ref()
                    .is_none_or(|before| before.results.iter().all(skipped)) =>
            {
                Class::NothingToDo
            }
            (_, false) => Class::Ok,
        };
        let mut outcome = Outcome::new(class, "");
        outcome.step = self.deciding.as_ref().map(|deciding| deciding.step.clone());
        outcome
    }

    /// Fills in what is known of the host.
    pub(crate) fn complete(&mut self, mut outcome: Outcome) -> Outcome {
        outcome.connects = self.connects;
        outcome.causes = std::mem::take(&mut self.causes);
        outcome.phases = self.phases;
        outcome.duration_ms = millis(self.started.elapsed());
        if let Some(deciding) = self
            .deciding
            .take()
            .filter(|deciding| outcome.step.as_ref() == Some(&deciding.step))
        {
            outcome.attempts = deciding.attempts;
            outcome.exit_status = deciding.exit_status;
            outcome.signal = deciding.signal;
            outcome.truncated = deciding.stdout.1 || deciding.stderr.1;
            outcome.stdout_tail = deciding.stdout.0;
            outcome.stderr_tail = deciding.stderr.0;
        }
        outcome
    }

    /// Commits what is noted, an intent at its end; what is then on record may be forgotten by the host.
    pub(crate) async fn record_intent(&mut self) -> Result<(), Halt> {
        if self.leftovers.is_some() {
            self.writer.sync()?;
        }
        self.commit_notes().await?;
        if let Some(work) = self.leftovers.take() {
            Box::pin(work.clean()).await;
        }
        Ok(())
    }

    pub(crate) async fn pause(&mut self, class: Class, reason: &str) -> Result<(), Halt> {
        let wait = self.backoff.wait();
        self.note(EventKind::Recovering {
            class,
            reason: reason.to_owned(),
            in_ms: millis(wait),
        });
        self.commit_notes().await?;
        let mut stopped = self.engine.stopped.clone();
        tokio::select! {
            () = sleep(wait) => Ok(()),
            () = stopped.wait(Stop::Soon) => Err(Halt::Interrupted),
        }
    }

    /// Keeps an event for the next commit.
    pub(crate) fn note(&mut self, kind: EventKind) {
        crate::failpoint::reach(&self.plan.name, &kind);
        let mut entry = Entry::host(&self.plan.name, kind);
        self.engine.handle.stamp(&mut entry);
        self.notes.push(entry);
    }

    pub(crate) async fn commit_notes(&mut self) -> Result<(), Failure> {
        if !self.notes.is_empty() {
            let notes = std::mem::take(&mut self.notes);
            self.engine.handle.record(notes).await?;
        }
        Ok(())
    }

    pub(crate) fn seed(&self) -> u64 {
        self.engine.settings.seed ^ seed_of(&self.plan.name)
    }
}

fn skipped(result: &reveille_ledger::StepResult) -> bool {
    result.class == Class::NothingToDo
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A host's own share of the run's seed (FNV-1a), so that hosts do not jitter in step.
fn seed_of(name: &HostName) -> u64 {
    name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
