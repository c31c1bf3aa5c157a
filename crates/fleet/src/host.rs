//! A host's life: a task that ends in exactly one outcome.
//!
//! ```text
//!           ┌──────────────────────────────────────────────┐
//!           ▼                                              │
//!  history ──► decide ──► perform ──► events: applied at once, committed with the next that needs it
//!                 │
//!                 └──► outcome
//! ```
//!
//! What is decided depends on the history alone, and on the session that is held; so a controller that goes on with the
//! work of a dead one comes to the same decisions. What can't be taken back waits until all that led to it is committed
//! ([`HostTask::commit`]).

use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Class, EventKind, HostName, MachineRef, Outcome, PhaseTimings, Status, StepRef};
use reveille_history::{End, Held, HostHistory, Next, OnceState, Outline, Rule, RunView, decide};
use reveille_job::{Job, Registered};
use reveille_ledger::Entry;
use reveille_ledger::output::OutputWriter;
use reveille_pace::{Backoff, HandshakePermit};
use reveille_transport::supervisor::Durable;
use reveille_way::Destination;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::Failure;
use crate::engine::Engine;
use crate::event::step_ref;
use crate::machine::Machine;
use crate::message::Dispatched;
use crate::plan::HostPlan;
use crate::prepared::Prepared;
use crate::trial::Turn;

/// A host on the way to its outcome.
pub(crate) struct HostTask {
    pub(crate) engine: Arc<Engine>,
    /// Where the host is.
    pub(crate) to: Box<Destination>,
    pub(crate) history: HostHistory,
    /// Events that the next commit takes along.
    notes: Vec<Entry>,
    pub(crate) backoff: Backoff,
    /// The turn to shake hands that the host was admitted with, until it is used.
    pub(crate) turn: Option<HandshakePermit>,
    /// The turn to try the password, until it is known that this host has no need of it.
    pub(crate) trial: Option<Turn>,
    /// The password was offered and did not let us in.
    pub(crate) password_refused: bool,
    pub(crate) causes: Vec<Class>,
    pub(crate) phases: Option<PhaseTimings>,
    pub(crate) own: Machine,
    /// Another host that a step runs on.
    pub(crate) other: Option<Box<Machine>>,
    /// The session that is in use is of no use any more.
    pub(crate) broken: bool,
    pub(crate) prepared: Option<Box<Prepared>>,
    pub(crate) writer: OutputWriter,
    pub(crate) registered: Vec<(String, Registered)>,
    /// Finished durable work whose end is not on record yet.
    pub(crate) leftovers: Option<Box<Durable>>,
    /// The host's variables, once a template has asked for them.
    pub(crate) vars: Option<Map<String, Value>>,
    /// When it was dispatched, by an earlier controller perhaps.
    pub(crate) started: Instant,
    pub(crate) deciding: Option<Box<Deciding>>,
    /// What went wrong in the last attempt, in words.
    pub(crate) message: String,
    /// The outcome that it would have as it stands.
    pub(crate) failure: Option<Box<Outcome>>,
    /// What others are to be told of steps that run once, after the commit: the step and what it registered.
    untold: Vec<(u32, Option<String>)>,
    /// The commit of its dispatch, until that is known to be on disk.
    dispatched: Option<Dispatched>,
    /// Its position on the roll.
    index: usize,
    /// How it ended, which the dispatcher is to be told after the commit.
    ended: Option<Status>,
}

/// The last step that ran, for the outcome.
pub(crate) struct Deciding {
    pub(crate) step: StepRef,
    pub(crate) exit_status: Option<i32>,
    pub(crate) signal: Option<String>,
    pub(crate) stdout: (String, bool),
    pub(crate) stderr: (String, bool),
}

/// Why a host's task is over before its outcome.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The run is being stopped; the host stays running in the account.
    Interrupted,
    /// The password was refused, and that may be the operator's mistake rather than the host's: it has no outcome yet.
    Refused(Box<Outcome>),
    /// The host's record can't be kept.
    Host(String),
    /// The run as a whole can't go on.
    Run(Failure),
}

/// How a host's task ended.
#[derive(Debug)]
pub(crate) enum Left {
    /// With an outcome.
    Ended(Status),
    /// With none: the run is being stopped.
    Stopped,
    /// With none yet: the password was refused. This is what it would be.
    Refused(Box<Outcome>),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ledger(error) => error.into(),
            Failure::Fenced(_) => Halt::Run(failure),
        }
    }
}

impl From<reveille_ledger::Error> for Halt {
    fn from(error: reveille_ledger::Error) -> Self {
        match error {
            // One host's file or record concerns that host.
            reveille_ledger::Error::Duplicate { .. } | reveille_ledger::Error::Io { .. } => {
                Halt::Host(error.to_string())
            }
            error => Halt::Run(error.into()),
        }
    }
}

/// The moment of a dispatch that an earlier controller has on record; now, if none has.
fn dispatched_at(recorded_ms: Option<u64>, now_ms: u64) -> Instant {
    let now = Instant::now();
    let ago = recorded_ms.map_or(0, |then| now_ms.saturating_sub(then));
    now.checked_sub(Duration::from_millis(ago)).unwrap_or(now)
}

// === impl HostTask ===

impl HostTask {
    pub(crate) fn new(
        engine: Arc<Engine>,
        plan: HostPlan,
        turn: HandshakePermit,
        trial: Option<Turn>,
        dispatched: Option<Dispatched>,
        index: usize,
    ) -> Self {
        let HostPlan { to, before } = plan;
        let writer = engine.handle.output(&to.name, engine.settings.caps);
        let seed = engine.settings.seed ^ seed_of(&to.name);
        let before = before.map(|before| *before).unwrap_or_default();
        let history = before
            .history
            .unwrap_or_else(|| HostHistory::new(engine.handle.round()));
        let own = Machine::own(&to, &history, engine.handle.run());
        let mut task = Self {
            notes: Vec::new(),
            backoff: Backoff::new(engine.settings.backoff.0, engine.settings.backoff.1, seed),
            turn: Some(turn),
            trial,
            password_refused: false,
            causes: Vec::new(),
            phases: None,
            own,
            other: None,
            broken: false,
            prepared: None,
            writer,
            registered: Vec::new(),
            leftovers: None,
            vars: None,
            started: dispatched_at(before.dispatched_ms, engine.handle.now_ms()),
            deciding: None,
            message: before.message,
            failure: before.failure,
            untold: Vec::new(),
            dispatched,
            index,
            ended: None,
            history,
            engine,
            to: Box::new(to),
        };
        for (step, registered) in before.registered {
            task.register_again(step, registered.as_deref());
        }
        // The round and the dispatch are in the run's history; a host that was under way has them in its own.
        task.learn(&EventKind::Dispatched);
        task
    }

    /// From dispatch to outcome.
    ///
    /// There is one of these futures for every session, most of them waiting for output: what is rare or at the end is
    /// boxed, so that it takes no room until then.
    pub(crate) async fn live(mut self: Box<Self>) -> Result<Left, Halt> {
        crate::failpoint::reach(&self.to.name, &EventKind::Dispatched);
        loop {
            let next = self.decide();
            match next {
                Next::Conclude(end) => {
                    let status = Box::pin(self.conclude(end)).await?;
                    return Ok(Left::Ended(status));
                }
                Next::Leave => {
                    self.commit().await?;
                    return Ok(Left::Stopped);
                }
                next => match self.perform(next).await {
                    Ok(()) => {}
                    Err(Halt::Interrupted) => {
                        self.commit().await?;
                        return Ok(Left::Stopped);
                    }
                    Err(Halt::Refused(outcome)) => {
                        self.commit().await?;
                        return Ok(Left::Refused(outcome));
                    }
                    Err(halt) => return Err(halt),
                },
            }
        }
    }

    fn decide(&self) -> Next {
        let session = match &self.other {
            Some(other) => other.is_up().then(|| other.who.clone()),
            None => self.own.is_up().then(|| self.own.who.clone()),
        };
        let held = Held {
            session,
            prepared: self
                .prepared
                .as_ref()
                .map(|prepared| (prepared.index, prepared.machine.clone())),
        };
        let mut view: RunView = self.engine.view();
        if !self.untold.is_empty() {
            // It is noted, and told with the next commit.
            let untold = self.untold.iter().map(|(step, _)| (*step, OnceState::Done));
            view.once = view.once.iter().copied().chain(untold).collect();
        }
        decide(&self.history, &held, &view, &self.outline())
    }

    fn outline(&self) -> Outline<'_> {
        Outline {
            job: &self.engine.outline,
            routes: u32::try_from(self.to.routes.len()).unwrap_or(u32::MAX),
            leads: self.engine.leader.as_ref() == Some(&self.to.name),
        }
    }

    /// Does what was decided. Each arm ends in events.
    async fn perform(&mut self, next: Next) -> Result<(), Halt> {
        match next {
            Next::Connect(machine) => Box::pin(self.go_to(&machine)).await,
            Next::Attach(step, number) => Box::pin(self.attach(step, number)).await,
            Next::Prepare(step) => Box::pin(self.prepare(step)).await,
            Next::Start(permit) => Box::pin(self.start(&permit)).await,
            Next::Skip(step, reason) => {
                self.skip_for(step, reason);
                Ok(())
            }
            Next::SettleOnce(step) => {
                self.settle_once(step);
                Ok(())
            }
            Next::Heal(rung) => Box::pin(self.take_rung(rung)).await,
            Next::Reboot(permit) => Box::pin(self.reboot_to_heal(&permit)).await,
            Next::Replace => Box::pin(self.replace()).await,
            Next::Healed(rung) => {
                self.note(EventKind::Healed { rung });
                self.prepared = None;
                Ok(())
            }
            Next::RungFailed(rung) => {
                let message = std::mem::take(&mut self.message);
                self.rung_failed(rung, message);
                Ok(())
            }
            Next::Wait(wait) => Box::pin(self.wait(wait)).await,
            Next::Fail(failure) => Box::pin(self.fail_at(failure)).await,
            Next::GiveUp(class, gatekeeper) => {
                self.give_up(class, gatekeeper);
                Ok(())
            }
            Next::Conclude(_) | Next::Leave => Ok(()),
        }
    }

    pub(crate) fn job(&self) -> Arc<Job> {
        Arc::clone(&self.engine.job)
    }

    /// The machine that the host works on now.
    pub(crate) fn machine(&mut self) -> &mut Machine {
        match &mut self.other {
            Some(other) => other,
            None => &mut self.own,
        }
    }

    /// Keeps an event for the next commit, and learns from it at once.
    pub(crate) fn note(&mut self, kind: EventKind) {
        crate::failpoint::reach(&self.to.name, &kind);
        self.learn(&kind);
        let mut entry = Entry::host(&self.to.name, kind);
        self.engine.handle.stamp(&mut entry);
        self.notes.push(entry);
    }

    /// Keeps something about the run as a whole for the same commit.
    pub(crate) fn note_run(&mut self, kind: EventKind) {
        let mut entry = Entry::run(kind);
        self.engine.handle.stamp(&mut entry);
        self.notes.push(entry);
    }

    /// The commit of its dispatch, if that is not known to be on disk.
    pub(crate) fn take_dispatched(&mut self) -> Option<Dispatched> {
        self.dispatched.take()
    }

    /// Learns from an event that is recorded on another way.
    pub(crate) fn learn(&mut self, kind: &EventKind) {
        if let Err(unfit) = self.history.apply(self.engine.handle.round(), kind) {
            // What this task does itself fits together.
            tracing::error!(host = %self.to.name, %unfit, "an event does not follow from the ones before");
            debug_assert!(false, "{unfit}");
        }
    }

    /// Commits what is noted. What is then on record may be forgotten by the host. Everything that can't be taken back
    /// (a start, a reboot, another machine, telling the run) comes after this.
    pub(crate) async fn commit(&mut self) -> Result<(), Halt> {
        let notes = self.take_notes().await?;
        if !notes.is_empty() {
            record(&self.engine, self.dispatched.take(), notes).await?;
            if let Some(on_record) = &self.engine.settings.world.on_record {
                on_record(&self.to.name, &self.history);
            }
        }
        for (step, registered) in std::mem::take(&mut self.untold) {
            self.engine.tell_once(step, registered, None);
        }
        if let Some(status) = self.ended.take() {
            // Before the host is cleaned, which may take long: it may be one failure too many.
            self.engine.tell_end(self.index, status);
        }
        if let Some(work) = self.leftovers.take() {
            Box::pin(work.clean()).await;
        }
        Ok(())
    }

    /// A step that runs once for all hosts is done: they are told after the commit, with what it registered.
    fn settle_once(&mut self, index: u32) {
        let job = self.job();
        let Some(step) = job.steps.get(index as usize) else {
            return;
        };
        let value = self
            .registered
            .iter()
            .rev()
            .find(|(name, _)| step.register.as_ref() == Some(name));
        let registered = value.and_then(|(_, value)| serde_json::to_string(value).ok());
        self.note_run(EventKind::OnceSettled {
            step: step_ref(index, step),
            registered: registered.clone(),
            failed: None,
        });
        self.untold.push((index, registered));
    }

    /// What is noted, to be recorded. The end of an attempt is on record only when its output survives a power cut: the
    /// host forgets its copy, and nobody asks for it again.
    pub(crate) async fn take_notes(&mut self) -> Result<Vec<Entry>, Halt> {
        if Rule::SyncBeforeClean.demands(self.leftovers.is_some()) {
            let beside = self.engine.settings.world.threads;
            crate::output::sync(&mut self.writer, beside).await?;
        }
        Ok(std::mem::take(&mut self.notes))
    }

    pub(crate) fn seed(&self) -> u64 {
        self.engine.settings.seed ^ seed_of(&self.to.name)
    }

    /// Records the outcome; it is the last thing that this task does.
    async fn conclude(&mut self, end: End) -> Result<Status, Halt> {
        let outcome = match end {
            End::Success(class) => self.succeeded(class),
            End::Failure(class, gatekeeper) => self.failed(class, gatekeeper),
        };
        let status = outcome.status();
        self.judge_password(&outcome);
        self.note(EventKind::OutcomeReached {
            outcome: Box::new(outcome),
        });
        self.ended = Some(status);
        self.commit().await?;
        for machine in self
            .other
            .iter_mut()
            .map(|other| &mut **other)
            .chain([&mut self.own])
        {
            if let Some(session) = machine.hang_up() {
                Box::pin(session.close()).await;
            }
        }
        Ok(status)
    }
}

/// Commits entries of a host, after its dispatch.
pub(crate) async fn record(
    engine: &Engine,
    dispatched: Option<Dispatched>,
    entries: Vec<Entry>,
) -> Result<(), reveille_ledger::Error> {
    // On a full disk the dispatch may be lost and what comes after it not.
    if let Some(dispatched) = dispatched {
        dispatched.await?;
    }
    let ticket = engine.handle.submit_in_turn(entries).await;
    if Rule::CommitFirst.demands(true) {
        ticket.committed().await?;
    }
    Ok(())
}

/// The machine that is meant, if it is another host.
pub(crate) fn other_host(machine: &MachineRef) -> Option<&HostName> {
    machine.delegate()
}

/// A host's own share of the run's seed (FNV-1a), so that hosts do not jitter in step.
fn seed_of(name: &HostName) -> u64 {
    name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
