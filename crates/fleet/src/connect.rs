//! Connection tries: bounded, jittered, each failure with its class.

use std::time::Duration;

use reveille_account::{Class, EventKind, MachineRef, Outcome};
use reveille_pace::HandshakePermit;
use reveille_transport::{ConnectError, Dialed, Session, Target, Throttle};
use tokio::time::{Instant, sleep, timeout};

use crate::host::{Halt, HostTask, other_host, record};
use crate::machine::Machine;
use crate::stop::Stop;

/// Connection tries of a host in one go.
const TRIES: u32 = 5;
/// Tries that met an endpoint's limit on new connections, and are not counted as tries.
const THROTTLED_TRIES: u32 = 20;
/// From this many quick closes in a row on, the endpoint is taken to penalise us (OpenSSH's PerSourcePenalties).
const PENALISED_AFTER: u32 = 3;
/// How long a host is looked for that went away in the middle of a step, beyond the usual tries: a boot takes minutes.
const AWAY: Duration = Duration::from_mins(5);
/// How long a penalty is waited out at least.
const PENALTY: Duration = Duration::from_secs(15);
/// A TCP connection that takes longer than this gives its handshake permit back while it waits.
const PATIENCE: Duration = Duration::from_millis(250);

/// Why a machine could not be reached.
struct Unreachable {
    class: Class,
    message: String,
}

impl HostTask {
    /// Makes a machine the one that is worked on, with a session to it. That it can't be reached is a failure of the host.
    pub(crate) async fn go_to(&mut self, machine: &MachineRef) -> Result<(), Halt> {
        if let Some(delegate) = other_host(machine) {
            if self.other.as_ref().is_none_or(|other| other.who != *machine) {
                let Some(plan) = self.engine.delegates.get(delegate) else {
                    let message = format!("no way to {delegate} is known, which a step runs on");
                    return self.unreachable(machine, Class::TemplateError, message).await;
                };
                let other = Box::new(Machine::delegate(plan));
                self.leave_other().await?;
                self.other = Some(other);
            }
        } else {
            self.leave_other().await?;
        }
        if self.machine().is_up() {
            return Ok(());
        }
        self.machine().hang_up();
        match Box::pin(self.connect()).await? {
            Ok(session) => {
                self.machine().session = Some(session);
                Ok(())
            }
            Err(Unreachable { class, message }) => self.unreachable(machine, class, message).await,
        }
    }

    /// Comes back from another host.
    pub(crate) async fn leave_other(&mut self) -> Result<(), Halt> {
        if self.other.is_some() {
            // What the other host keeps of its work can go once it is on record here.
            if self.leftovers.is_some() {
                self.commit().await?;
            }
            if let Some(session) = self.other.take().and_then(|mut other| other.hang_up()) {
                Box::pin(session.close()).await;
            }
        }
        Ok(())
    }

    /// Connects and authenticates, trying again where that may help.
    async fn connect(&mut self) -> Result<Result<Session, Unreachable>, Halt> {
        let target = std::sync::Arc::clone(&self.machine().target);
        let machine = self.machine().who.clone();
        let endpoint = target.first_endpoint();
        let mut counted = 0;
        let mut throttled = 0;
        let mut causes = Vec::new();
        let began = Instant::now();
        loop {
            let tries = counted + throttled + 1;
            self.engine.overseer.tried(counted + 1);
            self.note(EventKind::Connecting {
                tries,
                address: target.endpoint(),
                machine: machine.clone(),
            });
            // Recorded while the connection is being made: nothing runs on the host before the next commit.
            let entries = self.take_notes().await?;
            let dispatched = self.take_dispatched();
            let engine = std::sync::Arc::clone(&self.engine);
            let recording = record(&engine, dispatched, entries);
            let mut stopped = self.engine.stopped.clone();
            let trying = self.engine.try_connect(&target, &endpoint, self.turn.take());
            let connecting = async { tokio::join!(recording, trying) };
            let (recorded, result) = tokio::select! {
                biased;
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
                both = connecting => both,
            };
            recorded?;
            let (error, crowded) = match result {
                Ok((session, phases)) => {
                    self.password_worked(&session);
                    if machine.delegate().is_none() {
                        self.phases = Some(phases);
                    }
                    self.note(EventKind::Connected { tries, phases });
                    return Ok(Ok(session));
                }
                Err(failed) => failed,
            };
            self.password_refused |= error.password_refused;
            let is_throttled = match error.throttle() {
                Throttle::Stated => true,
                // We may be the cause only if several of us were connecting.
                Throttle::Likely => crowded,
                Throttle::No => false,
            };
            if is_throttled {
                throttled += 1;
                let limit = self.engine.handshakes.throttled(&endpoint);
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                self.note(EventKind::HandshakesLimited {
                    endpoint: endpoint.clone(),
                    limit,
                });
            } else {
                counted += 1;
                causes.push(error.class);
                if machine.delegate().is_none() {
                    self.causes.push(error.class);
                }
            }
            let budget = self.history.spent() < self.engine.outline.budget;
            let may_help = error.class.may_pass()
                && counted < TRIES
                && throttled < THROTTLED_TRIES
                && (is_throttled || budget);
            // Work that goes on there is worth waiting for, and so is a host that boots.
            let limit = self.engine.settings.away.unwrap_or(AWAY);
            let left = limit.saturating_sub(began.elapsed());
            let away = self.is_under_way(&machine) && error.class.may_pass() && !left.is_zero();
            let again = may_help || away;
            let wait = if is_throttled && throttled >= PENALISED_AFTER {
                PENALTY + self.backoff.wait()
            } else {
                self.backoff.wait()
            };
            // The last time that it is looked for is when that is over.
            let wait = if may_help { wait } else { wait.min(left) };
            self.note(EventKind::ConnectFailed {
                tries,
                machine: machine.clone(),
                phase: error.phase,
                class: error.class,
                message: error.message.clone(),
                throttled: is_throttled,
                retry_in_ms: again.then(|| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                away: away && !may_help,
            });
            if !again {
                return Ok(Err(gave_up(&causes, error.class, error.message)));
            }
            self.commit().await?;
            let mut stopped = self.engine.stopped.clone();
            tokio::select! {
                biased;
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
                () = sleep(wait) => {}
            }
        }
    }

    /// Whether work may go on on a machine.
    fn is_under_way(&self, machine: &MachineRef) -> bool {
        let mut open = self.history.attempts().iter();
        open.any(|attempt| attempt.machine == *machine && attempt.is_open())
    }

    /// A machine can't be reached: what may run there is left, and the host failed.
    async fn unreachable(&mut self, machine: &MachineRef, class: Class, message: String) -> Result<(), Halt> {
        let prefix = self.machine().prefix();
        let open = self.history.attempts().iter();
        let open: Vec<(u32, u32)> = open
            .filter(|attempt| attempt.machine == *machine && attempt.is_open())
            .map(|attempt| (attempt.step, attempt.number))
            .collect();
        let mut outcome = Outcome::new(class, format!("{prefix}{message}"));
        // A machine whose own key or name is wrong says more than that work was under way there.
        if let Some((step, _)) = open.first() {
            outcome.step = Some(self.step_ref(*step));
            if class.may_pass() {
                outcome.class = Class::ConnectionLost;
                outcome.message = format!(
                    "{prefix}the connection broke during the step and could not be re-established: {message}"
                );
            }
        } else if machine.delegate().is_some() {
            outcome.step = self
                .prepared
                .as_ref()
                .map(|prepared| self.step_ref(prepared.index));
        }
        self.refuse_outcome(&outcome)?;
        for (step, attempt) in open {
            let step = self.step_ref(step);
            self.note(EventKind::StepLeft {
                step,
                attempt,
                message: message.clone(),
            });
        }
        self.leave_other().await?;
        self.fail(outcome).await
    }

    /// A login by password proves it. One by key says nothing of it, and others may have their turn.
    fn password_worked(&mut self, session: &Session) {
        if self.to.becomes.password.is_none() {
            if session.took_password() {
                self.engine.trial.worked();
            }
            self.trial = None;
        }
    }
}

/// The class that all tries share, or `ssh_retry_failed`.
fn gave_up(causes: &[Class], last: Class, message: String) -> Unreachable {
    let first = causes.first().copied().unwrap_or(last);
    if causes.iter().all(|cause| *cause == first) {
        return Unreachable {
            class: first,
            message,
        };
    }
    let kinds: Vec<&str> = causes.iter().map(|cause| cause.as_str()).collect();
    Unreachable {
        class: Class::SshRetryFailed,
        message: format!(
            "{} tries failed ({}); the last: {message}",
            causes.len(),
            kinds.join(", ")
        ),
    }
}

impl crate::engine::Engine {
    /// A connection beside the one that a host has: for a host that opens no second session on one (`MaxSessions 1`).
    pub(crate) async fn connect_beside(&self, target: &Target) -> Result<Session, ConnectError> {
        let endpoint = target.first_endpoint();
        match Box::pin(self.try_connect(target, &endpoint, None)).await {
            Ok((session, _)) => Ok(session),
            Err((error, _)) => Err(error),
        }
    }

    /// One try, under the handshake limits, with the turn that is there already or a new one. With an error comes
    /// whether others were pressing at the same endpoint.
    async fn try_connect(
        &self,
        target: &Target,
        endpoint: &str,
        turn: Option<HandshakePermit>,
    ) -> Result<(Session, reveille_account::PhaseTimings), (ConnectError, bool)> {
        let mut permit = match turn {
            Some(turn) => Some(turn),
            None => Some(self.handshakes.acquire(endpoint).await),
        };
        let crowded = self.handshakes.in_use(endpoint) > 1;
        let with = |error: ConnectError| (error, crowded);
        let mut dialing = Box::pin(self.client.dial(target));
        let dialed: Dialed = if let Ok(result) = timeout(PATIENCE, &mut dialing).await {
            result.map_err(with)?
        } else {
            // Many silent hosts must not keep the others from shaking hands. A bastion's limit still holds.
            if target.jump.is_none() {
                permit = None;
            }
            dialing.await.map_err(with)?
        };
        if permit.is_none() {
            permit = Some(self.handshakes.acquire(endpoint).await);
        }
        let connected = self.client.handshake(target, dialed).await.map_err(with)?;
        self.handshakes.succeeded(endpoint);
        drop(permit);
        Ok(connected)
    }
}
