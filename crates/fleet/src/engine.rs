//! The dispatcher: admits hosts, sees every task to its end, stops when it must.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use reveille_account::{Class, EventKind, HostName, Outcome, RunState, Status};
use reveille_job::{Job, Registered, Shared};
use reveille_ledger::{Entry, LedgerState, RunHandle};
use reveille_pace::admission::{Admission, Sources, Thresholds};
use reveille_pace::{
    Breaker, BreakerRule, Gate, Governor, HandshakePermit, Handshakes, Pass, Portion, Reserve, RetryBudget,
    batches,
};
use reveille_transport::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Failure;
use crate::copy::Originals;
use crate::host::HostTask;
use crate::plan::{HostPlan, RunPlan, Settings, VarsOf};
use crate::stop::{Stop, Stopped};
use crate::trial::{Trial, Turn};
use crate::watchdog::Overseer;

/// Bounds of the global handshake limit.
const LEAST_HANDSHAKES: usize = 4;
const MOST_HANDSHAKES: usize = 512;
/// Outcomes of cancelled hosts in one commit.
const CANCELLED_AT_ONCE: usize = 500;

/// What all host tasks share.
pub(crate) struct Engine {
    pub(crate) handle: RunHandle,
    pub(crate) client: Arc<Client>,
    pub(crate) job: Arc<Job>,
    pub(crate) shared: Shared,
    pub(crate) vars: VarsOf,
    pub(crate) settings: Settings,
    pub(crate) handshakes: Handshakes,
    pub(crate) stopped: Stopped,
    pub(crate) originals: Originals,
    pub(crate) overseer: Arc<Overseer>,
    /// The slots of the run; a part of them is kept for recoveries while there are some.
    pub(crate) slots: Reserve,
    /// Hosts with a session, or about to open one: of those that have a slot many may still wait for their handshake,
    /// and cost nothing.
    open: Gate,
    /// How many recoveries there may be, for all hosts together.
    pub(crate) recoveries: Mutex<RetryBudget>,
    /// Whether many fail alike, and the host that was let through to see.
    breaker: Mutex<Breaker<Class>>,
    probe: Mutex<Option<HostName>>,
    /// Hosts that wait for a slot.
    queued: AtomicU64,
    /// The most handshakes at once that the CPU's pressure leaves.
    most_handshakes: AtomicUsize,
    /// Results of `once` steps, by position.
    pub(crate) once: Vec<watch::Sender<Option<Once>>>,
    /// Other hosts that steps run on.
    pub(crate) delegates: HashMap<HostName, HostPlan>,
    /// The host that `once` steps run on.
    pub(crate) first: Option<HostName>,
    /// Whether the passwords of this run are any good.
    pub(crate) trial: Trial,
    halted: AtomicBool,
    failed: AtomicU64,
}

/// What became of a `once` step.
#[derive(Debug, Clone)]
pub(crate) enum Once {
    /// It is done; every host gets its result.
    Done(Registered),
    /// It failed, or its host did before it.
    Failed(String),
}

/// How a run ended, as far as the engine is concerned. The account is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Every host has its outcome.
    Closed,
    /// It was stopped; hosts without an outcome can be resumed.
    Interrupted,
    /// The ledger's disk is full; the last outcomes were written.
    DiskFull,
}

/// What a host task came to.
type Ended = (HostName, Result<Option<Status>, Failure>);

/// Works on `hosts` until each has its outcome, or the run is stopped.
///
/// # Errors
///
/// When the ledger can't be written or another controller has taken over: nothing more was dispatched, durable work
/// goes on where it is.
pub async fn run(
    handle: RunHandle,
    client: Arc<Client>,
    plan: RunPlan,
    stopped: Stopped,
) -> Result<RunEnd, Failure> {
    let RunPlan {
        job,
        hosts,
        planned,
        failed,
        delegates,
        first,
        shared,
        vars,
        settings,
    } = plan;
    let engine = Arc::new(Engine {
        handshakes: Handshakes::new(settings.handshakes, settings.handshakes_each),
        originals: Originals::default(),
        slots: Reserve::new(settings.sessions.max(1), Reserve::SHARE),
        open: Gate::new(settings.sessions.max(1)),
        recoveries: Mutex::default(),
        probe: Mutex::default(),
        breaker: Mutex::new(Breaker::new(BreakerRule::default(), Instant::now())),
        queued: AtomicU64::new(hosts.len() as u64),
        most_handshakes: AtomicUsize::new(usize::MAX),
        overseer: Arc::new(Overseer::new(hosts.len(), &settings)),
        once: job.steps.iter().map(|_| watch::Sender::new(None)).collect(),
        delegates,
        first,
        trial: Trial::new(hosts.iter().any(HostPlan::has_password)),
        halted: AtomicBool::new(false),
        failed: AtomicU64::new(failed),
        handle,
        client,
        job,
        shared,
        vars,
        settings,
        stopped,
    });
    engine.restore_once()?;
    tokio::select! {
        biased;
        end = engine.run_batches(hosts, planned) => end,
        never = engine.govern_handshakes() => match never {},
        never = engine.watch_clock() => match never {},
        never = engine.watch_pressure() => match never {},
    }
}

// === impl Engine ===

impl Engine {
    async fn run_batches(self: &Arc<Self>, hosts: Vec<HostPlan>, total: u64) -> Result<RunEnd, Failure> {
        let sizes: Vec<u64> = batches(&self.settings.serial, hosts.len() as u64).collect();
        let sessions = self.settings.sessions.min(hosts.len());
        self.handle
            .record_run(EventKind::SessionsLimited {
                sessions: sessions as u64,
                queued: (hosts.len() - sessions) as u64,
                reason: None,
            })
            .await?;
        let mut disk = self.handle.ledger().state();
        let mut rest = hosts.into_iter();
        for (number, size) in sizes.into_iter().enumerate() {
            let batch: Vec<HostPlan> = rest
                .by_ref()
                .take(usize::try_from(size).unwrap_or(usize::MAX))
                .collect();
            let failed_before = self.failed.load(Ordering::Relaxed);
            self.run_batch(batch, total, &mut disk).await?;
            let failed_here = self.failed.load(Ordering::Relaxed) - failed_before;
            let trial_failed = self.settings.canary && number == 0 && failed_here > 0;
            if trial_failed
                || self
                    .settings
                    .max_fail_batch
                    .is_some_and(|most| most.exceeded(failed_here, size))
            {
                self.halt();
            }
            if self.stopped.asked() > Stop::No || *disk.borrow() == LedgerState::DiskFull {
                break;
            }
        }
        let end = if *disk.borrow() == LedgerState::DiskFull {
            RunEnd::DiskFull
        } else if self.stopped.asked() > Stop::No {
            RunEnd::Interrupted
        } else {
            RunEnd::Closed
        };
        let (state, reason) = match end {
            RunEnd::Closed => (RunState::Closed, None),
            RunEnd::Interrupted => (RunState::Interrupted, None),
            RunEnd::DiskFull => (
                RunState::Interrupted,
                Some("the disk of the state directory is full".to_owned()),
            ),
        };
        // A run that was stopped after its last host has nothing left to resume.
        let account = self.handle.ledger().account(self.handle.run())?;
        if account.pending + account.running == 0 {
            self.handle.set_state(RunState::Closed, None).await?;
            return Ok(if end == RunEnd::DiskFull {
                end
            } else {
                RunEnd::Closed
            });
        }
        self.handle.set_state(state, reason).await?;
        Ok(end)
    }

    /// Notices when this process itself stood still, and says so.
    async fn watch_clock(&self) -> std::convert::Infallible {
        let stalled = async |late: Duration| {
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            // A ledger that can't be written stops the run elsewhere.
            let _ = self
                .handle
                .record_run(EventKind::ControllerStalled { late_ms })
                .await;
        };
        self.overseer.watch_clock(stalled).await
    }

    /// Opens fewer sessions while this machine is short of memory.
    async fn watch_pressure(&self) -> std::convert::Infallible {
        let mut admission = Admission::new(
            Thresholds::default(),
            self.settings.sessions.max(1),
            MOST_HANDSHAKES.max(self.settings.handshakes),
        );
        let sources = Sources::default();
        // The first look is before the first session: what is there then costs no session anything.
        loop {
            let step = admission.observe(&sources.read(), self.open.used(), Instant::now());
            self.open.set_limit(step.sessions);
            self.slots.set_limit(step.sessions);
            self.most_handshakes.store(step.handshakes, Ordering::Relaxed);
            if let Some(change) = step.change {
                let limited = EventKind::SessionsLimited {
                    sessions: step.sessions as u64,
                    queued: self.queued.load(Ordering::Relaxed),
                    reason: Some(change.to_string()),
                };
                // A ledger that can't be written stops the run elsewhere.
                let _ = self.handle.record_run(limited).await;
            }
            sleep(Admission::TICK).await;
        }
    }

    /// A host failed; if many fail alike, that is said once.
    pub(crate) async fn failed_alike(
        &self,
        host: &HostName,
        number: u64,
        class: Class,
    ) -> Result<(), Failure> {
        let probe = self.is_probe(host);
        let opened = {
            let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
            // A number of its own for each host is all that is asked for; two that share one are counted as one.
            let number = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
            breaker.failed(number, &class, false, probe, Instant::now())
        };
        if let Some(opened) = opened {
            let message = format!(
                "{} of {} hosts failed with {class}: suspect the job, the mirror or the network; nothing of it is recovered, and no \
                 further host is dispatched for {} s",
                opened.hosts,
                opened.of,
                opened.hold.as_secs()
            );
            self.handle.record_run(EventKind::Warning { message }).await?;
        }
        Ok(())
    }

    /// Why no host that failed like this is to be recovered, if many fail so.
    pub(crate) fn suspicion(&self, class: Class) -> Option<String> {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker
            .suspected()
            .filter(|suspected| **suspected == class)
            .map(|class| format!("many hosts fail with {class}: suspect the job, the mirror or the network"))
    }

    /// Waits until the fleet's budget allows one more recovery.
    pub(crate) async fn may_recover(&self) {
        loop {
            let pause = {
                let mut budget = self.recoveries.lock().unwrap_or_else(PoisonError::into_inner);
                if budget.withdraw(Instant::now()) {
                    return;
                }
                budget.pause()
            };
            sleep(pause).await;
        }
    }

    /// Keeps the global handshake limit at what this machine's CPU can take.
    async fn govern_handshakes(&self) -> std::convert::Infallible {
        let start = self.settings.handshakes;
        let mut governor = Governor::new(start, LEAST_HANDSHAKES, MOST_HANDSHAKES.max(start));
        loop {
            let due = Instant::now() + Governor::TICK;
            sleep_until(due).await;
            governor.set_most(
                self.most_handshakes
                    .load(Ordering::Relaxed)
                    .min(MOST_HANDSHAKES.max(start)),
            );
            let limit = governor.observe(due.elapsed(), self.handshakes.is_used_up());
            self.handshakes.set_global_limit(limit);
        }
    }

    /// Dispatches a batch and waits for its end, or for a stop and its grace.
    async fn run_batch(
        self: &Arc<Self>,
        batch: Vec<HostPlan>,
        total: u64,
        disk: &mut watch::Receiver<LedgerState>,
    ) -> Result<(), Failure> {
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let mut queue = batch.into_iter();
        let mut next = queue.next();
        let mut stopped = self.stopped.clone();
        let mut held: Option<Instant> = None;
        while next.is_some() || !tasks.is_empty() {
            if self.is_halted() && next.as_ref().is_some_and(|host| !host.is_under_way()) {
                let rest = next.take().into_iter().chain(queue);
                let (under_way, waiting): (Vec<_>, Vec<_>) = rest.partition(HostPlan::is_under_way);
                self.cancel(waiting).await?;
                queue = under_way.into_iter();
                next = queue.next();
                continue;
            }
            if let Some(host) = next.take_if(|host| host.not_ready) {
                self.cancel([host]).await?;
                next = queue.next();
                continue;
            }
            tokio::select! {
                biased;
                () = stopped.wait(Stop::Soon) => return self.wind_down(tasks, total).await,
                () = is_full(disk) => return self.wind_down(tasks, total).await,
                Some(ended) = tasks.join_next() => self.settle(ended, total)?,
                () = sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => held = None,
                slot = self.slots.dispatch(), if next.is_some() && held.is_none() => {
                    held = next.as_ref().and_then(|host| self.may_go(&host.name).err());
                    if held.is_some() {
                        continue;
                    }
                    if let Some(host) = next.take() {
                        self.queued.fetch_sub(1, Ordering::Relaxed);
                        self.recoveries
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .dispatched(Instant::now());
                        let engine = Arc::clone(self);
                        tasks.spawn(async move {
                            let ended = engine.admit(Box::new(host)).await;
                            drop(slot);
                            ended
                        });
                    }
                    next = queue.next();
                }
            }
        }
        Ok(())
    }

    /// Whether a host may be dispatched, or from when on: where many fail alike, one is let through to see.
    fn may_go(&self, host: &HostName) -> Result<(), Instant> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match breaker.pass(Instant::now()) {
            Pass::Go => {}
            Pass::Probe => {
                *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(host.clone());
            }
            Pass::Hold { until } => return Err(until),
        }
        breaker.dispatched();
        Ok(())
    }

    /// Whether a host is the one that was let through to see.
    fn is_probe(&self, host: &HostName) -> bool {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(host)
    }

    /// Waits for the host's turn to shake hands, and takes it through its life. A host that waits costs little memory
    /// and is not dispatched yet.
    async fn admit(self: Arc<Self>, host: Box<HostPlan>) -> Ended {
        let mut stopped = self.stopped.clone();
        let endpoint = host.target.first_endpoint();
        let turns = async {
            // Nobody waits for the trial with a handshake's turn in hand.
            let trial = if host.has_password() {
                self.trial.turn().await
            } else {
                None
            };
            let turn = self.handshakes.acquire(&endpoint).await;
            // Nor for memory: who has a session already may need the turn for another.
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
            () = stopped.wait(Stop::Soon) => return (host.name, Ok(None)),
            turns = turns => turns,
        };
        drop((stopped, endpoint));
        if self.is_halted() && !host.is_under_way() {
            let name = host.name.clone();
            let cancelled = Box::pin(self.cancel([*host])).await;
            return (name, cancelled.map(|()| None));
        }
        let ended = Box::pin(self.supervise(host, turn, trial)).await;
        drop(open);
        ended
    }

    /// Takes a host through its life; a panic on the way becomes an outcome.
    async fn supervise(
        self: Arc<Self>,
        host: Box<HostPlan>,
        turn: HandshakePermit,
        trial: Option<Turn>,
    ) -> Ended {
        let name = host.name.clone();
        let task = Box::new(HostTask::new(Arc::clone(&self), host, turn, trial));
        let life = AssertUnwindSafe(task.live()).catch_unwind();
        let result = match life.await {
            Ok(result) => result,
            Err(panic) => {
                let words = panic
                    .downcast_ref::<&str>()
                    .map(|words| (*words).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".to_owned());
                tracing::error!(host = %name, "the host's task panicked: {words}");
                let outcome = Box::new(Outcome::new(
                    Class::Internal,
                    format!("a fault in Reveille: {words}"),
                ));
                let outcome = EventKind::OutcomeReached { outcome };
                let recorded = Box::pin(self.handle.record_host(&name, outcome)).await;
                match recorded {
                    Ok(_) => Ok(Some(Status::Failed)),
                    // It panicked after its outcome was on record: that one counts.
                    Err(reveille_ledger::Error::Duplicate { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        };
        (name, result)
    }

    /// Counts a host that ended.
    fn settle(&self, ended: Result<Ended, tokio::task::JoinError>, total: u64) -> Result<(), Failure> {
        // Panics are caught inside; only an abort of ours ends a task otherwise.
        let Ok((name, result)) = ended else { return Ok(()) };
        let status = result?;
        // A probe that failed has told so itself.
        let well = self.is_probe(&name) && matches!(status, Some(Status::Success));
        self.breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .succeeded(well, Instant::now());
        if matches!(status, Some(Status::Failed | Status::Quarantined)) {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            if self
                .settings
                .max_fail
                .is_some_and(|most: Portion| most.exceeded(failed, total))
            {
                self.halt();
            }
            if self.first.as_ref() == Some(&name) {
                self.fail_once(&format!("{name}, which runs them for all, failed"));
            }
        }
        Ok(())
    }

    /// After a stop: what runs has its grace, what is left then is let go.
    async fn wind_down(&self, mut tasks: JoinSet<Ended>, total: u64) -> Result<(), Failure> {
        let mut stopped = self.stopped.clone();
        let grace = sleep(self.settings.grace);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                biased;
                () = stopped.wait(Stop::Now) => break,
                () = &mut grace => break,
                ended = tasks.join_next() => match ended {
                    Some(ended) => self.settle(ended, total)?,
                    None => return Ok(()),
                },
            }
        }
        // Their hosts stay running in the account; durable work goes on where it is.
        tasks.shutdown().await;
        Ok(())
    }

    /// Gives hosts that will not be dispatched their outcome.
    async fn cancel(&self, hosts: impl IntoIterator<Item = HostPlan>) -> Result<(), Failure> {
        let mut entries = Vec::new();
        for host in hosts {
            let class = if host.not_ready {
                Class::NotReady
            } else {
                self.halted_class()
            };
            let message = match class {
                _ if !host.not_ready && self.trial.is_given_up() => {
                    "two hosts refused the password, so it was offered to no other"
                }
                Class::MaxFailReached => "more hosts failed than the run allows",
                Class::Stopped => "a step that runs once for all hosts failed",
                _ => "the inventory marks it as not ready",
            };
            let outcome = Box::new(Outcome::new(class, message));
            entries.push(Entry::host(&host.name, EventKind::OutcomeReached { outcome }));
            if entries.len() == CANCELLED_AT_ONCE {
                self.handle.record(std::mem::take(&mut entries)).await?;
            }
        }
        if !entries.is_empty() {
            self.handle.record(entries).await?;
        }
        Ok(())
    }

    /// Dispatches nothing more; what runs goes on to its end.
    pub(crate) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    fn halted_class(&self) -> Class {
        let once_failed = self
            .once
            .iter()
            .any(|once| matches!(*once.borrow(), Some(Once::Failed(_))));
        if once_failed || self.trial.is_given_up() {
            Class::Stopped
        } else {
            Class::MaxFailReached
        }
    }

    /// Lets nobody wait for a `once` step that will not come.
    pub(crate) fn fail_once(&self, why: &str) {
        for (step, once) in self.job.steps.iter().zip(&self.once) {
            if step.once {
                let failed = once.send_if_modified(|result| {
                    let open = result.is_none();
                    if open {
                        *result = Some(Once::Failed(why.to_owned()));
                    }
                    open
                });
                if failed {
                    self.halt();
                }
            }
        }
    }

    /// Results of `once` steps that an earlier controller had.
    fn restore_once(&self) -> Result<(), Failure> {
        let Some(first) = self
            .first
            .as_ref()
            .filter(|_| self.job.steps.iter().any(|step| step.once))
        else {
            return Ok(());
        };
        for event in self.handle.ledger().events(self.handle.run(), Some(first)) {
            let event = event?;
            if event.round != self.handle.round() {
                continue;
            }
            let (step, registered) = match event.kind {
                EventKind::StepFinished {
                    step,
                    class,
                    registered,
                    ..
                } if class.status() == Status::Success => (
                    step,
                    registered
                        .and_then(|text| serde_json::from_str(&text).ok())
                        .unwrap_or_default(),
                ),
                EventKind::StepSkipped { step, .. } => (
                    step,
                    Registered {
                        skipped: true,
                        ..Registered::default()
                    },
                ),
                _ => continue,
            };
            let index = step.index as usize;
            if let (Some(once), Some(true)) = (
                self.once.get(index),
                self.job.steps.get(index).map(|step| step.once),
            ) {
                once.send_replace(Some(Once::Done(registered)));
            }
        }
        Ok(())
    }
}

/// Ends when the ledger's disk is full. The lock of the watched value is given back at once: whoever is let go on by
/// this may be the one that meets the full disk next.
async fn is_full(disk: &mut watch::Receiver<LedgerState>) {
    if disk
        .wait_for(|state| *state == LedgerState::DiskFull)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}
