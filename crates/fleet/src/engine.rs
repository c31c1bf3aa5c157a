//! The state that all hosts of a run share, and their pacing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reveille_account::{Class, EventKind, HostName, Status};
use reveille_history::{JobOutline, OnceState, Role, RunView, StepOutline};
use reveille_job::{Job, Shared};
use reveille_ledger::RunHandle;
use reveille_pace::admission::{Admission, Sources, Thresholds};
use reveille_pace::{Breaker, BreakerRule, Gate, Governor, Handshakes, Pass, RetryBudget};
use reveille_text::duration;
use reveille_transport::Client;
use reveille_way::Destination;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Failure;
use crate::message::Message;
use crate::originals::Originals;
use crate::plan::{HostPlan, RunPlan, Settings, VarsOf};
use crate::recall::RollHost;
use crate::stop::{Stop, Stopped};
use crate::trial::Trial;
use crate::watchdog::Overseer;

/// Bounds of the global handshake limit.
const LEAST_HANDSHAKES: usize = 4;
const MOST_HANDSHAKES: usize = 512;

/// The state that all host tasks share.
pub(crate) struct Engine {
    pub(crate) handle: RunHandle,
    pub(crate) client: Arc<Client>,
    pub(crate) job: Arc<Job>,
    pub(crate) outline: JobOutline,
    pub(crate) shared: Shared,
    pub(crate) vars: VarsOf,
    pub(crate) hidden: HashMap<HostName, Vec<String>>,
    pub(crate) settings: Settings,
    pub(crate) handshakes: Handshakes,
    pub(crate) stopped: Stopped,
    pub(crate) originals: Originals,
    pub(crate) overseer: Arc<Overseer>,
    /// The run's slots. A host keeps its slot until its outcome, through all recoveries.
    pub(crate) slots: Gate,
    /// Hosts with a session or about to open one. Many hosts with a slot may still wait for their handshake, which
    /// costs nothing.
    pub(crate) open: Gate,
    /// The fleet-wide budget for recoveries.
    pub(crate) recoveries: Mutex<RetryBudget>,
    /// The breaker, and the host that it let through as a probe.
    pub(crate) breaker: Mutex<Breaker<Class>>,
    probe: Mutex<Option<HostName>>,
    /// Hosts waiting for a slot.
    pub(crate) queued: AtomicU64,
    /// The limit on handshakes that CPU pressure permits.
    most_handshakes: AtomicUsize,
    /// What hosts see of the run. Changes only after commits.
    pub(crate) view: watch::Sender<RunView>,
    /// What `once` steps registered, or why they failed.
    pub(crate) once_values: Mutex<Vec<(u32, Option<String>)>>,
    pub(crate) once_failures: Mutex<Vec<(u32, String)>>,
    /// The host at each address and port, if the job may replace machines.
    places: Mutex<HashMap<(String, u16), HostName>>,
    /// The hosts that steps are delegated to.
    pub(crate) delegates: HashMap<HostName, Destination>,
    /// The host that `once` steps run on.
    pub(crate) leader: Option<HostName>,
    /// The hosts of the round, in the roll's order.
    pub(crate) roll: Vec<HostName>,
    /// Whether another controller began this round.
    pub(crate) resumed: bool,
    /// The trial of the run's passwords.
    pub(crate) trial: Trial,
    /// The channel to the dispatcher.
    pub(crate) dispatcher: mpsc::UnboundedSender<Message>,
}

// === impl Engine ===

impl Engine {
    /// The engine of a run that starts or continues.
    pub(crate) fn new(
        handle: RunHandle,
        client: Arc<Client>,
        plan: RunPlan,
        stopped: Stopped,
        dispatcher: mpsc::UnboundedSender<Message>,
    ) -> (Self, Vec<HostPlan>) {
        let RunPlan {
            job,
            hosts,
            roll,
            halted: _,
            once,
            resumed,
            delegates,
            shared,
            vars,
            hidden,
            settings,
        } = plan;
        let not_ready: HashSet<&HostName> = hosts
            .iter()
            .filter(|host| host.to.not_ready)
            .map(|host| &host.to.name)
            .collect();
        let leader = roll
            .iter()
            .find(|host| host.ready && !not_ready.contains(&host.name))
            .map(|host| host.name.clone());
        let outline = outline(&job, settings.preview.check);
        let places = if outline.replace {
            places(&roll, &hosts, &delegates)
        } else {
            HashMap::new()
        };
        let view = RunView {
            once: once
                .iter()
                .map(|settled| {
                    let state = match settled.failed {
                        None => OnceState::Done,
                        Some(_) => OnceState::Failed,
                    };
                    (settled.step, state)
                })
                .collect(),
            ..RunView::default()
        };
        let once_values = once
            .iter()
            .map(|settled| (settled.step, settled.registered.clone()));
        let once_failures = once
            .iter()
            .filter_map(|settled| Some((settled.step, settled.failed.clone()?)));
        let engine = Self {
            handshakes: Handshakes::new(settings.handshakes, settings.handshakes_each),
            originals: Originals::default(),
            slots: Gate::new(settings.sessions.max(1)),
            open: Gate::new(settings.sessions.max(1)),
            recoveries: Mutex::default(),
            probe: Mutex::default(),
            breaker: Mutex::new(Breaker::new(BreakerRule::default(), Instant::now())),
            queued: AtomicU64::new(hosts.len() as u64),
            most_handshakes: AtomicUsize::new(usize::MAX),
            overseer: Arc::new(Overseer::new(hosts.len(), &settings)),
            view: watch::Sender::new(view),
            once_values: Mutex::new(once_values.collect()),
            once_failures: Mutex::new(once_failures.collect()),
            delegates,
            leader,
            roll: roll.into_iter().map(|host| host.name).collect(),
            resumed,
            trial: Trial::new(hosts.iter().any(|host| host.to.has_password())),
            outline,
            places: Mutex::new(places),
            dispatcher,
            handle,
            client,
            job,
            shared,
            vars,
            hidden,
            settings,
            stopped,
        };
        (engine, hosts)
    }

    /// Registers a host's new address.
    ///
    /// # Errors
    ///
    /// The host that has this address already, if it is another one.
    pub(crate) fn settle_at(&self, host: &Destination, address: &str, port: u16) -> Result<(), HostName> {
        // It may have been reinstalled at its old address, and many names may share one machine.
        if (host.target.address.as_str(), host.target.port) == (address, port) {
            return Ok(());
        }
        let host = &host.name;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = places
            .entry((address.to_owned(), port))
            .or_insert_with(|| host.clone());
        if owner == host { Ok(()) } else { Err(owner.clone()) }
    }

    /// What a host sees of the run when it decides.
    pub(crate) fn view(&self) -> RunView {
        let mut view = self.view.borrow().clone();
        view.stop = self.stopped.asked() > Stop::No;
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        view.suspected = breaker.suspected().copied();
        view
    }

    /// Reports the result of a `once` step, after its commit.
    pub(crate) fn tell_once(&self, step: u32, registered: Option<String>, failed: Option<String>) {
        let state = match failed {
            None => OnceState::Done,
            Some(_) => OnceState::Failed,
        };
        {
            let mut values = self.once_values.lock().unwrap_or_else(PoisonError::into_inner);
            values.retain(|(known, _)| *known != step);
            values.push((step, registered));
        }
        if let Some(why) = failed {
            let mut failures = self.once_failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.push((step, why));
        }
        self.view.send_modify(|view| {
            let known = view.once.iter().filter(|(known, _)| *known != step).copied();
            view.once = known.chain([(step, state)]).collect();
        });
        // Fails if the dispatcher has ended.
        let _ = self.dispatcher.send(Message::OnceSettled { step, state });
    }

    /// Reports that a host's outcome is on record.
    pub(crate) fn tell_end(&self, index: usize, status: Status) {
        let _ = self.dispatcher.send(Message::Ended { index, status });
    }

    /// Reports that a host refused the password.
    pub(crate) fn password_refused(&self, host: &HostName) {
        tracing::debug!(%host, "the password was refused");
        if self.trial.refused() {
            let _ = self.dispatcher.send(Message::PasswordRefused);
        }
    }

    /// Detects and records stalls of this process.
    pub(crate) async fn watch_clock(&self) -> std::convert::Infallible {
        let stalled = async |late: Duration| {
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            // An unwritable ledger stops the run elsewhere.
            let _ = self
                .handle
                .record_run(EventKind::ControllerStalled { late_ms })
                .await;
        };
        self.overseer.watch_clock(stalled).await
    }

    /// Lowers the session limit while this machine is short of memory.
    pub(crate) async fn watch_pressure(&self) -> std::convert::Infallible {
        let mut admission = Admission::new(
            Thresholds::default(),
            self.settings.sessions.max(1),
            MOST_HANDSHAKES.max(self.settings.handshakes),
        );
        let sources = Sources::default();
        // The first reading comes before the first session, so that no session is charged for earlier memory.
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
                // An unwritable ledger stops the run elsewhere.
                let _ = self.handle.record_run(limited).await;
            }
            sleep(Admission::TICK).await;
        }
    }

    /// Counts a failed host; warns once if many fail alike.
    pub(crate) async fn failed_alike(
        &self,
        host: &HostName,
        number: u64,
        class: Class,
    ) -> Result<(), Failure> {
        let probe = self.is_probe(host);
        let opened = {
            let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
            // Any number per host will do; two hosts with the same number count as one.
            let number = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
            breaker.failed(number, &class, false, probe, Instant::now())
        };
        if let Some(opened) = opened {
            let message = format!(
                "{} of {} hosts failed with {class}: suspect the job, the mirror or the network; none of them is recovered, and no \
                 further host is dispatched for {}",
                opened.hosts,
                opened.of,
                duration::shown(opened.hold)
            );
            self.handle.record_run(EventKind::Warning { message }).await?;
        }
        Ok(())
    }

    /// Waits until the fleet's budget permits a recovery.
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

    /// Adapts the global handshake limit to this machine's CPU.
    pub(crate) async fn govern_handshakes(&self) -> std::convert::Infallible {
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

    /// Whether a host may be dispatched, or when to ask again: while many fail alike, one goes first as a probe.
    pub(crate) fn may_go(&self, host: &HostName) -> Result<(), Instant> {
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

    /// Whether a host is the probe.
    pub(crate) fn is_probe(&self, host: &HostName) -> bool {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(host)
    }
}

/// The host at each address and port.
fn places(
    roll: &[RollHost],
    hosts: &[HostPlan],
    delegates: &HashMap<HostName, Destination>,
) -> HashMap<(String, u16), HostName> {
    let recorded = roll
        .iter()
        .filter_map(|host| Some((host.place.clone()?, host.name.clone())));
    let mut places: HashMap<_, _> = recorded.collect();
    for to in hosts.iter().map(|host| &host.to).chain(delegates.values()) {
        let target = (to.target.address.clone(), to.target.port);
        let routes = to.routes.iter().map(|route| (route.address.clone(), route.port));
        for place in [target].into_iter().chain(routes) {
            places.entry(place).or_insert_with(|| to.name.clone());
        }
    }
    for host in hosts {
        let history = host.before.as_ref().and_then(|before| before.history.as_ref());
        if let Some((address, port)) = history.and_then(|history| history.address()) {
            let place = (address.to_owned(), port);
            places.entry(place).or_insert_with(|| host.to.name.clone());
        }
    }
    places
}

/// The parts of the job that decisions depend on.
pub(crate) fn outline(job: &Job, check: bool) -> JobOutline {
    let steps = job.steps.iter().map(|step| StepOutline {
        role: match &step.role {
            reveille_job::Role::Main => Role::Main,
            reveille_job::Role::OnFailed => Role::OnFailed,
            // A check repairs nothing.
            reveille_job::Role::Repair(_) if check => Role::Repair(Vec::new()),
            reveille_job::Role::Repair(classes) => Role::Repair(classes.clone()),
        },
        attempts: step.attempts,
        // What changes nothing can run again.
        idempotent: step.idempotent || check && step.check,
        ignore_errors: step.ignore_errors,
        once: step.once,
        elsewhere: step.runs_elsewhere(),
    });
    JobOutline {
        reboot: job.heal.reboot && !check,
        replace: job.replaces() && !check,
        ..JobOutline::of(steps.collect())
    }
}
