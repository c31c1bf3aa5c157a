//! A host's task, which ends in exactly one outcome.
//!
//! ```text
//!           ┌──────────────────────────────────────────────┐
//!           ▼                                              │
//!  history ──► decide ──► perform ──► events: applied at once, committed with the next that needs it
//!                 │
//!                 └──► outcome
//! ```
//!
//! Decisions depend only on the history and the open session, so a controller that takes over from a dead one decides
//! the same. Before any action that can't be undone, all events that led to it are committed ([`HostTask::commit`]).

use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Class, EventKind, HostName, MachineRef, Outcome, PhaseTimings, Status, StepRef};
use reveille_history::{End, Held, HostHistory, Next, OnceState, Outline, Rule, RunView, decide};
use reveille_job::{Job, Registered, Scope};
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
    /// How to reach the host.
    pub(crate) to: Box<Destination>,
    pub(crate) history: HostHistory,
    /// Events for the next commit.
    notes: Vec<Entry>,
    pub(crate) backoff: Backoff,
    /// The handshake permit that the host was admitted with, until it is used.
    pub(crate) turn: Option<HandshakePermit>,
    /// The turn to try the password, until it is clear that this host does not need it.
    pub(crate) trial: Option<Turn>,
    /// Whether the host refused the password.
    pub(crate) password_refused: bool,
    pub(crate) causes: Vec<Class>,
    pub(crate) phases: Option<PhaseTimings>,
    pub(crate) own: Machine,
    /// The delegate that a step runs on.
    pub(crate) other: Option<Box<Machine>>,
    /// The current session is no longer usable.
    pub(crate) broken: bool,
    pub(crate) prepared: Option<Box<Prepared>>,
    pub(crate) writer: OutputWriter,
    /// Results of steps that have a name for them, by their positions; later ones win.
    pub(crate) registered: Vec<(u32, Registered)>,
    /// The steps that this host lacks.
    absent: Box<[u32]>,
    /// Finished durable work whose result is not on record yet.
    pub(crate) leftovers: Option<Box<Durable>>,
    /// The host's vars, once a template needs them.
    pub(crate) vars: Option<Map<String, Value>>,
    /// When it was dispatched, possibly by an earlier controller.
    pub(crate) started: Instant,
    pub(crate) deciding: Option<Box<Deciding>>,
    /// What went wrong in the last attempt.
    pub(crate) message: String,
    /// The outcome that it would get now.
    pub(crate) failure: Option<Box<Outcome>>,
    /// Results of `once` steps to report after the commit: the step and what it registered.
    untold: Vec<(u32, Option<String>)>,
    /// The commit of its dispatch, until it is known to be on disk.
    dispatched: Option<Dispatched>,
    /// Its position on the roll.
    index: usize,
    /// Its final status, to report to the dispatcher after the commit.
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

/// Why a host's task ends before its outcome.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The run is being stopped; the host stays `running` in the account.
    Interrupted,
    /// The host refused the password, which may be the operator's mistake, so it has no outcome yet.
    Refused(Box<Outcome>),
    /// The host's record can't be written.
    Host(String),
    /// The run as a whole can't continue.
    Run(Failure),
}

/// How a host's task ended.
#[derive(Debug)]
pub(crate) enum Left {
    /// With an outcome.
    Ended(Status),
    /// Without one: the run is being stopped.
    Stopped,
    /// Without one yet: the host refused the password. This outcome would be recorded.
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
            // An error of one host's file or record concerns only that host.
            reveille_ledger::Error::Duplicate { .. } | reveille_ledger::Error::Io { .. } => {
                Halt::Host(error.to_string())
            }
            error => Halt::Run(error.into()),
        }
    }
}

/// When an earlier controller recorded the dispatch; otherwise now.
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
            absent: Box::default(),
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
        if task.engine.job.has_loops() {
            let vars = task.vars.get_or_insert_with(|| (task.engine.vars)(&task.to.name));
            let scope = Scope::new(task.to.name.as_str(), vars, &task.engine.shared);
            task.absent = task.engine.job.absent(&scope).into();
        }
        for (step, registered) in before.registered {
            task.register_again(step, registered.as_deref());
        }
        // The run's history contains the round and the dispatch; so does that of a host dispatched earlier.
        task.learn(&EventKind::Dispatched);
        task
    }

    /// Runs the host from dispatch to outcome.
    ///
    /// There is one of these futures per session, and most of them wait for output. Rare and final parts are boxed, so
    /// that they take no memory until then.
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
            // Recorded with the next commit, and reported after it.
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
            absent: &self.absent,
        }
    }

    /// Performs a decision. Each arm ends in events.
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

    /// The machine that the host currently works on.
    pub(crate) fn machine(&mut self) -> &mut Machine {
        match &mut self.other {
            Some(other) => other,
            None => &mut self.own,
        }
    }

    /// Queues an event for the next commit and applies it at once.
    pub(crate) fn note(&mut self, kind: EventKind) {
        crate::failpoint::reach(&self.to.name, &kind);
        self.learn(&kind);
        let mut entry = Entry::host(&self.to.name, kind);
        self.engine.handle.stamp(&mut entry);
        self.notes.push(entry);
    }

    /// Queues an event of the run for the same commit.
    pub(crate) fn note_run(&mut self, kind: EventKind) {
        let mut entry = Entry::run(kind);
        self.engine.handle.stamp(&mut entry);
        self.notes.push(entry);
    }

    /// The commit of its dispatch, if it is not known to be on disk.
    pub(crate) fn take_dispatched(&mut self) -> Option<Dispatched> {
        self.dispatched.take()
    }

    /// Applies an event that is recorded elsewhere.
    pub(crate) fn learn(&mut self, kind: &EventKind) {
        if let Err(unfit) = self.history.apply(self.engine.handle.round(), kind) {
            // The task's own events never contradict each other.
            tracing::error!(host = %self.to.name, %unfit, "an event contradicts the ones before");
            debug_assert!(false, "{unfit}");
        }
    }

    /// Commits the queued events; the host may then drop what is on record. Every action that can't be undone (a start,
    /// a reboot, a replacement, a report to the run) comes after this.
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
            // Before cleaning the host, which may take long: its failure may be one too many.
            self.engine.tell_end(self.index, status);
        }
        if let Some(work) = self.leftovers.take() {
            Box::pin(work.clean()).await;
        }
        Ok(())
    }

    /// Queues the result of a `once` step; it is reported to the other hosts after the commit.
    fn settle_once(&mut self, index: u32) {
        let job = self.job();
        let Some(step) = job.steps.get(index as usize) else {
            return;
        };
        let value = self.registered.iter().rev().find(|(known, _)| *known == index);
        let registered = value.and_then(|(_, value)| serde_json::to_string(value).ok());
        self.note_run(EventKind::OnceSettled {
            step: step_ref(index, step),
            registered: registered.clone(),
            failed: None,
        });
        self.untold.push((index, registered));
    }

    /// Takes the queued events for recording. The end of an attempt is recorded only when its output survives a power
    /// cut, because the host then drops its copy.
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

    /// Records the outcome, as the last act of this task.
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

/// Commits a host's entries, after its dispatch.
pub(crate) async fn record(
    engine: &Engine,
    dispatched: Option<Dispatched>,
    entries: Vec<Entry>,
) -> Result<(), reveille_ledger::Error> {
    // On a full disk the dispatch may be lost while later entries are not.
    if let Some(dispatched) = dispatched {
        dispatched.await?;
    }
    let ticket = engine.handle.submit_in_turn(entries).await;
    if Rule::CommitFirst.demands(true) {
        ticket.committed().await?;
    }
    Ok(())
}

/// The delegate's name, if the machine is a delegate.
pub(crate) fn other_host(machine: &MachineRef) -> Option<&HostName> {
    machine.delegate()
}

/// Derives a host's seed from the run's (FNV-1a), so that hosts do not jitter in step.
fn seed_of(name: &HostName) -> u64 {
    name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
