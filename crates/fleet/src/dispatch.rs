//! The dispatcher: the only task that dispatches hosts, halts the run and cancels waiting hosts.
//!
//! It decides with [`direct`] from the run's history. Messages update the history only after commits, so that it always
//! matches the ledger. The dispatcher queues its own records in order, so that no dispatch follows a halt.
//!
//! ```text
//!  host tasks ── turn ─────────────► dispatcher ── dispatched, one batch for all whose turn has come ─► ledger
//!             ── ended, settled ───►     │      ── halted, cancelled ──────────────────────────────────► ledger
//!                                        └── view: what hosts see of the run
//! ```

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures::FutureExt as _;
use reveille_account::{Class, EventKind, HaltReason, HostName, Outcome, RunState, Status};
use reveille_history::{Batch, HostState, OnceState, Order, RunHistory, RunOutline, direct};
use reveille_job::Role;
use reveille_ledger::{Entry, LedgerState, RunHandle};
use reveille_pace::{HandshakePermit, Portion, batches};
use reveille_transport::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Failure;
use crate::engine::Engine;
use crate::event::millis;
use crate::host::{Halt, HostTask, Left};
use crate::message::{Dispatched, Message};
use crate::plan::{HostPlan, RunPlan, Settings};
use crate::stop::{Stop, Stopped};
use crate::trial::Turn;

/// Outcomes of cancelled hosts per commit.
const CANCELLED_AT_ONCE: usize = 500;
/// Messages handled together.
const AT_ONCE: usize = 256;

/// How a run ended, from the engine's point of view. The account is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Every host has its outcome.
    Closed,
    /// It was stopped; hosts without an outcome can be resumed.
    Interrupted,
    /// The ledger's disk is full; the last outcomes were recorded.
    DiskFull,
}

/// The result of a host task.
type Ended = (usize, Result<Left, Failure>);

/// The dispatcher of a run.
struct Dispatcher {
    engine: Arc<Engine>,
    history: RunHistory,
    names: Vec<HostName>,
    /// The hosts without a task so far, by position on the roll.
    plans: Vec<Option<Box<HostPlan>>>,
    /// Hosts that an earlier controller had dispatched; they go first.
    under_way: VecDeque<usize>,
    /// Where to continue looking for hosts in the current batch.
    cursor: usize,
    /// The batch that was opened last.
    batch: Option<usize>,
    messages: mpsc::UnboundedReceiver<Message>,
    tasks: JoinSet<Ended>,
    /// Hosts that refused the password and have no outcome yet.
    refused: Vec<(usize, Box<Outcome>)>,
    /// The password is wrong, so nothing more can be done.
    given_up: bool,
    disk: watch::Receiver<LedgerState>,
}

/// Runs the hosts of `plan` until each has its outcome, or the run is stopped.
///
/// # Errors
///
/// When the ledger can't be written or another controller has taken over: nothing more was dispatched, and durable work
/// continues on its hosts.
pub async fn run(
    handle: RunHandle,
    client: Arc<Client>,
    plan: RunPlan,
    stopped: Stopped,
) -> Result<RunEnd, Failure> {
    let (sender, messages) = mpsc::unbounded_channel();
    let roll: Vec<_> = plan.roll.clone();
    let halted = plan.halted;
    let (engine, hosts) = Engine::new(handle, client, plan, stopped, sender);
    let engine = Arc::new(engine);
    let watched = engine.settings.world.watched;
    let dispatcher = Dispatcher::new(Arc::clone(&engine), roll, hosts, halted, messages);
    if !watched {
        return Box::pin(dispatcher.work()).await;
    }
    tokio::select! {
        biased;
        end = Box::pin(dispatcher.work()) => end,
        never = engine.govern_handshakes() => match never {},
        never = engine.watch_clock() => match never {},
        never = engine.watch_pressure() => match never {},
    }
}

/// The batches of the roll, and the failures that the run permits.
fn outline(settings: &Settings, total: u64) -> RunOutline {
    // More than this share or number is too many.
    let most = |portion: Portion, of: u64| match portion {
        Portion::Count(count) => count,
        Portion::Share(_) => portion.of(of),
    };
    let batches = batches(&settings.serial, total).map(|size| Batch {
        size,
        most_failed: settings.max_fail_batch.map(|portion| most(portion, size)),
    });
    RunOutline {
        batches: batches.collect(),
        most_failed: settings.max_fail.map(|portion| most(portion, total)),
        canary: settings.canary,
        serial: !settings.serial.is_empty(),
    }
}

// === impl Dispatcher ===

impl Dispatcher {
    fn new(
        engine: Arc<Engine>,
        roll: Vec<crate::recall::RollHost>,
        hosts: Vec<HostPlan>,
        halted: Option<HaltReason>,
        messages: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        let mut plans: Vec<Option<Box<HostPlan>>> = Vec::new();
        let mut states = Vec::new();
        let mut names = Vec::new();
        let mut hosts = hosts.into_iter().peekable();
        for host in roll {
            // Both are in the roll's order.
            let plan = hosts.next_if(|plan| plan.to.name == host.name);
            let state = match &plan {
                Some(plan) if plan.to.not_ready && host.state == HostState::Waiting => HostState::NotReady,
                _ => host.state,
            };
            states.push(state);
            plans.push(plan.map(Box::new));
            names.push(host.name);
        }
        let once: Vec<u32> = (0u32..)
            .zip(&engine.job.steps)
            .filter(|(_, step)| step.once && step.role == Role::Main)
            .map(|(index, _)| index)
            .collect();
        let leader = engine
            .leader
            .as_ref()
            .and_then(|leader| names.iter().position(|name| name == leader));
        let mut under_way: VecDeque<usize> = (0..states.len())
            .filter(|index| states[*index] == HostState::Dispatched && plans[*index].is_some())
            .collect();
        // Other hosts may wait for the `once` steps that it runs.
        if let Some(at) = under_way.iter().position(|index| Some(*index) == leader) {
            under_way.remove(at);
            under_way.extend(leader);
            under_way.rotate_right(1);
        }
        let outline = outline(&engine.settings, names.len() as u64);
        let mut history = RunHistory::new(outline, states, leader, &once);
        for (step, state) in engine.view.borrow().once.iter() {
            history.settle_once(*step, *state);
        }
        if let Some(reason) = halted {
            history.halt(reason);
        }
        let disk = engine.handle.ledger().state();
        Self {
            engine,
            history,
            names,
            plans,
            under_way,
            cursor: 0,
            batch: None,
            messages,
            tasks: JoinSet::new(),
            refused: Vec::new(),
            given_up: false,
            disk,
        }
    }

    async fn work(mut self) -> Result<RunEnd, Failure> {
        let waiting = self.plans.iter().flatten().count();
        let sessions = self.engine.settings.sessions.min(waiting);
        self.engine
            .handle
            .record_run(EventKind::SessionsLimited {
                sessions: sessions as u64,
                queued: (waiting - sessions) as u64,
                reason: None,
            })
            .await?;
        self.dispatch_all().await?;
        self.end().await
    }

    /// Dispatches hosts until none is left or the run is to stop.
    async fn dispatch_all(&mut self) -> Result<(), Failure> {
        let mut stopped = self.engine.stopped.clone();
        let mut disk = self.disk.clone();
        let mut held: Option<Instant> = None;
        loop {
            let next = match self.next().await? {
                Some(next) => Some(next),
                None if self.tasks.is_empty() => return Ok(()),
                None => None,
            };
            let slots = &self.engine.slots;
            tokio::select! {
                biased;
                () = stopped.wait(Stop::Soon) => return self.wind_down().await,
                () = is_full(&mut disk) => return self.wind_down().await,
                () = take(&mut self.messages, &mut self.history, &self.engine, &mut self.given_up) => {
                    if self.given_up && self.engine.resumed {
                        return self.wind_down().await;
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    self.settle(ended).await?;
                    if self.given_up && self.engine.resumed {
                        return self.wind_down().await;
                    }
                }
                () = sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => held = None,
                slot = slots.acquire(), if next.is_some() && held.is_none() => {
                    let Some(index) = next else { continue };
                    held = self.engine.may_go(&self.names[index]).err();
                    if held.is_some() {
                        continue;
                    }
                    if self.under_way.front() == Some(&index) {
                        self.under_way.pop_front();
                    }
                    let Some(host) = self.plans[index].take() else { continue };
                    self.engine.queued.fetch_sub(1, Ordering::Relaxed);
                    self.engine
                        .recoveries
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .dispatched(Instant::now());
                    let engine = Arc::clone(&self.engine);
                    let dispatched = self.history.host(index) == Some(HostState::Dispatched);
                    self.tasks.spawn(async move {
                        let ended = engine.admit(index, host, dispatched).await;
                        drop(slot);
                        ended
                    });
                }
            }
        }
    }

    /// Follows the orders derived from the run's history until a host may be dispatched.
    async fn next(&mut self) -> Result<Option<usize>, Failure> {
        if let Some(index) = self.under_way.front() {
            return Ok(Some(*index));
        }
        loop {
            match direct(&self.history) {
                Order::Halt(reason) => {
                    // Queued before the next dispatch, so there is no need to wait.
                    drop(
                        self.engine
                            .handle
                            .submit(vec![Entry::run(EventKind::Halted { reason })]),
                    );
                    self.history.halt(reason);
                }
                Order::FailOnce(step) => self.fail_once(step).await?,
                Order::CancelNotReady => {
                    self.cancel(
                        HostState::NotReady,
                        Class::NotReady,
                        "the inventory marks it as not ready",
                    )
                    .await?;
                }
                Order::CancelWaiting => {
                    let reason = self.history.halted().unwrap_or(HaltReason::MaxFail);
                    let words = reason.to_string();
                    self.cancel(HostState::Waiting, reason.class(), &words).await?;
                }
                Order::Dispatch(batch) => {
                    self.open_batch(batch);
                    return Ok(self.of_batch(batch));
                }
                Order::Nothing => return Ok(None),
            }
        }
    }

    /// Records that a batch has begun, once, if there are several.
    fn open_batch(&mut self, batch: usize) {
        let of = self.history.batches();
        if of < 2 || self.batch == Some(batch) {
            return;
        }
        self.batch = Some(batch);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let opened = EventKind::BatchOpened {
            batch: number(batch + 1),
            of: number(of),
            hosts: self.history.hosts_of_batch(batch) as u64,
        };
        // Queued before the batch's first dispatch.
        drop(self.engine.handle.submit(vec![Entry::run(opened)]));
    }

    /// The next host of a batch without a task.
    fn of_batch(&mut self, batch: usize) -> Option<usize> {
        while self.cursor < self.plans.len() && self.history.batch_of(self.cursor) < batch {
            self.cursor += 1;
        }
        let mut index = self.cursor;
        while index < self.plans.len() && self.history.batch_of(index) == batch {
            if self.plans[index].is_some() && self.history.host(index) == Some(HostState::Waiting) {
                self.cursor = index;
                return Some(index);
            }
            index += 1;
        }
        None
    }

    /// Records a `once` step as failed, because no host will run it.
    async fn fail_once(&mut self, step: u32) -> Result<(), Failure> {
        let why = match self.engine.leader.as_ref() {
            Some(leader) => format!("{leader}, which runs it for all hosts, ended without its success"),
            None => "no host is ready to run it".to_owned(),
        };
        let at = crate::event::step_ref(step, &self.engine.job.steps[step as usize]);
        self.engine
            .handle
            .record_run(EventKind::OnceSettled {
                step: at,
                registered: None,
                failed: Some(why.clone()),
            })
            .await?;
        self.history.settle_once(step, OnceState::Failed);
        self.engine.tell_once(step, None, Some(why));
        Ok(())
    }

    /// Records an outcome for hosts that will not be dispatched.
    async fn cancel(&mut self, state: HostState, class: Class, message: &str) -> Result<(), Failure> {
        let mut entries = Vec::new();
        let mut hosts = Vec::new();
        for index in 0..self.names.len() {
            if self.history.host(index) != Some(state) {
                continue;
            }
            let outcome = Box::new(Outcome::new(class, message));
            entries.push(Entry::host(
                &self.names[index],
                EventKind::OutcomeReached { outcome },
            ));
            hosts.push(index);
            if entries.len() == CANCELLED_AT_ONCE {
                self.engine.handle.record(std::mem::take(&mut entries)).await?;
            }
        }
        if !entries.is_empty() {
            self.engine.handle.record(entries).await?;
        }
        for index in hosts {
            if self.plans[index].take().is_some() {
                self.engine.queued.fetch_sub(1, Ordering::Relaxed);
            }
            self.history.ended(index, Status::Cancelled);
        }
        Ok(())
    }

    /// Counts a host that ended.
    async fn settle(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Result<(), Failure> {
        // Panics are caught inside; otherwise only our abort ends a task.
        let Ok((index, left)) = ended else { return Ok(()) };
        let left = left?;
        let status = match &left {
            Left::Ended(status) => Some(*status),
            Left::Stopped | Left::Refused(_) => None,
        };
        // A failed probe has reported itself.
        let well = self.engine.is_probe(&self.names[index]) && matches!(status, Some(Status::Success));
        self.engine
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .succeeded(well, Instant::now());
        if let Some(status) = status {
            self.history.ended(index, status);
        }
        if let Left::Refused(outcome) = left {
            if self.engine.trial.is_proven() {
                return self.has_failed(index, outcome).await;
            }
            // This host can't run the `once` steps with this password, so nothing is gained by waiting.
            let once = self.history.once().iter();
            let awaited = once.clone().any(|(_, state)| *state == OnceState::Open);
            self.given_up |= awaited && self.history.leader() == Some(index);
            self.refused.push((index, outcome));
        }
        Ok(())
    }

    /// Records the failure of a host that refused a password which worked elsewhere.
    async fn has_failed(&mut self, index: usize, outcome: Box<Outcome>) -> Result<(), Failure> {
        let status = outcome.status();
        let outcome = EventKind::OutcomeReached { outcome };
        self.engine
            .handle
            .record_host(&self.names[index], outcome)
            .await?;
        self.history.ended(index, status);
        Ok(())
    }

    /// After a stop, gives running steps their grace and then leaves them.
    async fn wind_down(&mut self) -> Result<(), Failure> {
        let mut stopped = self.engine.stopped.clone();
        let stopping = EventKind::Stopping {
            grace_ms: millis(self.engine.settings.grace),
        };
        // If the ledger can't be written, the run ends for that reason.
        drop(self.engine.handle.submit(vec![Entry::run(stopping)]));
        let grace = sleep(self.engine.settings.grace);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                biased;
                () = stopped.wait(Stop::Now) => break,
                () = &mut grace => break,
                () = refuse(&mut self.messages) => {}
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.settle(ended).await?,
                    None => return Ok(()),
                },
            }
        }
        // These hosts stay `running` in the account; durable work continues.
        self.tasks.shutdown().await;
        Ok(())
    }

    /// Determines the run's final state and records it.
    async fn end(mut self) -> Result<RunEnd, Failure> {
        if self.engine.trial.is_proven() {
            for (index, outcome) in std::mem::take(&mut self.refused) {
                self.has_failed(index, outcome).await?;
            }
        }
        let handle = &self.engine.handle;
        // A run that stopped after its last host has nothing to resume.
        let account = handle.ledger().account(handle.run())?;
        let full = *self.disk.borrow() == LedgerState::DiskFull;
        if account.pending + account.running == 0 {
            handle.set_state(RunState::Closed, None).await?;
            return Ok(if full { RunEnd::DiskFull } else { RunEnd::Closed });
        }
        let reason = if full {
            Some("the state directory's disk is full".to_owned())
        } else if !self.refused.is_empty() || self.given_up {
            Some("the password was refused; resume with the right one".to_owned())
        } else {
            None
        };
        handle.set_state(RunState::Interrupted, reason).await?;
        Ok(if full {
            RunEnd::DiskFull
        } else {
            RunEnd::Interrupted
        })
    }
}

/// Handles all available messages: hosts that have their turn are dispatched in one batch.
async fn take(
    messages: &mut mpsc::UnboundedReceiver<Message>,
    history: &mut RunHistory,
    engine: &Engine,
    given_up: &mut bool,
) {
    let mut taken = Vec::new();
    if messages.recv_many(&mut taken, AT_ONCE).await == 0 {
        // Never happens, because the engine holds a sender.
        std::future::pending::<()>().await;
    }
    let mut turns = Vec::new();
    for message in taken {
        match message {
            Message::Turn { index, reply } => turns.push((index, reply)),
            Message::Ended { index, status } => history.ended(index, status),
            Message::OnceSettled { step, state } => history.settle_once(step, state),
            Message::PasswordRefused => {
                *given_up = true;
                if !engine.resumed {
                    let reason = HaltReason::Password;
                    drop(
                        engine
                            .handle
                            .submit(vec![Entry::run(EventKind::Halted { reason })]),
                    );
                    history.halt(reason);
                }
            }
        }
    }
    // Orders that came with the messages go first, above all a halt.
    while let Order::Halt(reason) = direct(history) {
        drop(
            engine
                .handle
                .submit(vec![Entry::run(EventKind::Halted { reason })]),
        );
        history.halt(reason);
    }
    let mut entries = Vec::new();
    let mut replies = Vec::new();
    for (index, reply) in turns {
        let may = history.host(index) == Some(HostState::Waiting)
            && reveille_history::Rule::HaltBeforeDispatch.holds(history.halted().is_none());
        match engine.name_of(index).filter(|_| may) {
            Some(name) => {
                history.dispatched(index);
                entries.push(Entry::host(name, EventKind::Dispatched));
                replies.push(reply);
            }
            // A task that has ended needs no answer.
            None => drop(reply.send(None)),
        }
    }
    if !entries.is_empty() {
        let dispatched: Dispatched = engine.handle.submit(entries).committed().boxed().shared();
        for reply in replies {
            let _ = reply.send(Some(dispatched.clone()));
        }
    }
}

/// Refuses all turns, once the run stops.
async fn refuse(messages: &mut mpsc::UnboundedReceiver<Message>) {
    match messages.recv().await {
        Some(Message::Turn { reply, .. }) => drop(reply.send(None)),
        Some(_) => {}
        None => std::future::pending().await,
    }
}

// === impl Engine ===

impl Engine {
    fn name_of(&self, index: usize) -> Option<&HostName> {
        self.roll.get(index)
    }

    /// Waits for the host's turn to connect, and runs its task. A waiting host takes little memory and is not
    /// dispatched yet.
    async fn admit(self: Arc<Self>, index: usize, host: Box<HostPlan>, dispatched: bool) -> Ended {
        let mut stopped = self.stopped.clone();
        let endpoint = host.to.target.first_endpoint();
        let turns = async {
            // Do not hold a handshake permit while waiting for the trial.
            let trial = if host.to.has_password() {
                self.trial.turn().await
            } else {
                None
            };
            let turn = self.handshakes.acquire(&endpoint).await;
            // Nor while waiting for a session: a host that has one may need the permit.
            if let Some(open) = self.open.try_acquire() {
                (trial, turn, open)
            } else {
                drop(turn);
                let open = self.open.acquire().await;
                (trial, self.handshakes.acquire(&endpoint).await, open)
            }
        };
        let (trial, turn, open) = tokio::select! {
            biased;
            () = stopped.wait(Stop::Soon) => return (index, Ok(Left::Stopped)),
            turns = turns => turns,
        };
        drop((stopped, endpoint));
        // A password that two hosts refused is offered to no other host.
        if self.trial.is_given_up() && host.to.has_password() && (dispatched || self.resumed) {
            return (index, Ok(Left::Stopped));
        }
        let mut commit = None;
        if !dispatched {
            let (reply, answer) = oneshot::channel();
            let asked = self.dispatcher.send(Message::Turn { index, reply });
            commit = answer.await.ok().flatten();
            if asked.is_err() || commit.is_none() {
                // The dispatcher handles its outcome.
                return (index, Ok(Left::Stopped));
            }
        }
        let ended = Box::pin(self.supervise(index, host, turn, trial, commit)).await;
        drop(open);
        ended
    }

    /// Runs a host's task; turns a panic into an outcome.
    async fn supervise(
        self: Arc<Self>,
        index: usize,
        host: Box<HostPlan>,
        turn: HandshakePermit,
        trial: Option<Turn>,
        dispatched: Option<Dispatched>,
    ) -> Ended {
        let name = host.to.name.clone();
        let unfit = host.before.as_ref().and_then(|before| before.unfit.clone());
        let message = if let Some(unfit) = unfit {
            format!("can't resume from this host's record: {unfit}")
        } else {
            let task = Box::new(HostTask::new(
                Arc::clone(&self),
                *host,
                turn,
                trial,
                dispatched,
                index,
            ));
            let life = AssertUnwindSafe(task.live()).catch_unwind();
            match life.await {
                Ok(Ok(left)) => return (index, Ok(left)),
                Ok(Err(Halt::Run(failure))) => return (index, Err(failure)),
                Ok(Err(Halt::Host(message))) => message,
                // Both end the task without an outcome.
                Ok(Err(Halt::Interrupted | Halt::Refused(_))) => return (index, Ok(Left::Stopped)),
                Err(panic) => {
                    let words = panic
                        .downcast_ref::<&str>()
                        .map(|words| (*words).to_owned())
                        .or_else(|| panic.downcast_ref::<String>().cloned())
                        .unwrap_or_else(|| "no message".to_owned());
                    tracing::error!(host = %name, "the host's task panicked: {words}");
                    format!("internal error: {words}")
                }
            }
        };
        let outcome = Box::new(Outcome::new(Class::Internal, message));
        let outcome = EventKind::OutcomeReached { outcome };
        let recorded = Box::pin(self.handle.record_host(&name, outcome)).await;
        let left = match recorded {
            Ok(_) => Ok(Left::Ended(Status::Failed)),
            // It failed after its outcome was recorded, which counts.
            Err(reveille_ledger::Error::Duplicate { .. }) => self.recorded(&name),
            Err(error) => Err(error.into()),
        };
        (index, left)
    }
}

impl Engine {
    /// A host's recorded outcome.
    fn recorded(&self, name: &HostName) -> Result<Left, Failure> {
        let hosts = self.handle.ledger().round(self.handle.run())?;
        let outcome = hosts.iter().find(|host| host.entry.host == *name);
        let status = outcome
            .and_then(|host| host.outcome)
            .map_or(Status::Failed, Class::status);
        Ok(Left::Ended(status))
    }
}

/// Returns when the ledger's disk is full. It releases the watch's lock at once: a task that this wakes may be the next
/// to find the disk full.
async fn is_full(disk: &mut watch::Receiver<LedgerState>) {
    if disk
        .wait_for(|state| *state == LedgerState::DiskFull)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}
