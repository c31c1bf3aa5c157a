//! Connection tries: bounded and jittered; each failure has a class.

use std::time::Duration;

use reveille_account::{Class, EventKind, MachineRef, Outcome};
use reveille_pace::HandshakePermit;
use reveille_transport::{ConnectError, Dialed, Session, Target, Throttle, Transport};
use tokio::time::{Instant, sleep, timeout};

use crate::host::{Halt, HostTask, other_host, record};
use crate::machine::Machine;
use crate::stop::Stop;

/// The limit on connection tries to a host in a row.
const TRIES: u32 = 5;
/// The limit on tries that met an endpoint's limit on new connections; these are not counted in `TRIES`.
const THROTTLED_TRIES: u32 = 20;
/// After this many quick closes in a row, the endpoint probably penalises us (OpenSSH's PerSourcePenalties).
const PENALISED_AFTER: u32 = 3;
/// How long to keep trying to reach a host lost during a step, beyond the usual tries: a boot takes minutes.
const AWAY: Duration = Duration::from_mins(5);
/// The shortest wait for a penalty to pass.
const PENALTY: Duration = Duration::from_secs(15);
/// A TCP connection that takes longer than this returns its handshake permit while it waits.
const PATIENCE: Duration = Duration::from_millis(250);

/// Why a machine could not be reached.
struct Unreachable {
    class: Class,
    message: String,
}

impl HostTask {
    /// Connects to a machine and makes it the current one. If it can't be reached, the host fails.
    pub(crate) async fn go_to(&mut self, machine: &MachineRef) -> Result<(), Halt> {
        if let Some(delegate) = other_host(machine) {
            if self.other.as_ref().is_none_or(|other| other.who != *machine) {
                let Some(plan) = self.engine.delegates.get(delegate) else {
                    let message = format!("no known way to {delegate}, on which a step runs");
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

    /// Returns from a delegate.
    pub(crate) async fn leave_other(&mut self) -> Result<(), Halt> {
        if self.other.is_some() {
            // The delegate can drop its finished work once the result is on record here.
            if self.leftovers.is_some() {
                self.commit().await?;
            }
            if let Some(session) = self.other.take().and_then(|mut other| other.hang_up()) {
                Box::pin(session.close()).await;
            }
        }
        Ok(())
    }

    /// Connects and authenticates, with further tries where they may help.
    async fn connect(&mut self) -> Result<Result<Session, Unreachable>, Halt> {
        let target = std::sync::Arc::clone(&self.machine().target);
        let machine = self.machine().who.clone();
        let endpoint = target.first_endpoint();
        let address = match target.transport {
            Transport::Local => "this machine".to_owned(),
            Transport::Native | Transport::OpenSsh(_) => target.endpoint(),
        };
        let mut counted = 0;
        let mut throttled = 0;
        let mut causes = Vec::new();
        let began = Instant::now();
        loop {
            let tries = counted + throttled + 1;
            self.engine.overseer.tried(counted + 1);
            self.note(EventKind::Connecting {
                tries,
                address: address.clone(),
                machine: machine.clone(),
            });
            // Commit while the connection is being made: nothing runs on the host before the next commit.
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
                // We are the likely cause only if several of us were connecting.
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
            // Wait for work that may still run there, and for a host that boots.
            let limit = self.engine.settings.away.unwrap_or(AWAY);
            let left = limit.saturating_sub(began.elapsed());
            let away = self.is_under_way(&machine) && error.class.may_pass() && !left.is_zero();
            let again = may_help || away;
            let wait = if is_throttled && throttled >= PENALISED_AFTER {
                PENALTY + self.backoff.wait()
            } else {
                self.backoff.wait()
            };
            // The last try comes when that time is over.
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

    /// Whether work may still run on a machine.
    fn is_under_way(&self, machine: &MachineRef) -> bool {
        let mut open = self.history.attempts().iter();
        open.any(|attempt| attempt.machine == *machine && attempt.is_open())
    }

    /// Handles a machine that can't be reached: its open attempts are left, and the host fails.
    async fn unreachable(&mut self, machine: &MachineRef, class: Class, message: String) -> Result<(), Halt> {
        let prefix = self.machine().prefix();
        let open = self.history.attempts().iter();
        let open: Vec<(u32, u32)> = open
            .filter(|attempt| attempt.machine == *machine && attempt.is_open())
            .map(|attempt| (attempt.step, attempt.number))
            .collect();
        let mut outcome = Outcome::new(class, format!("{prefix}{message}"));
        // A wrong key or name says more than a lost connection.
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

    /// A login by password proves it. A login by key proves nothing, so other hosts may try.
    fn password_worked(&mut self, session: &Session) {
        if self.to.becomes.password.is_none() {
            if session.took_password() {
                self.engine.trial.worked();
            }
            self.trial = None;
        }
    }
}

/// Fails with the class common to all tries, or else `ssh_retry_failed`.
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
    /// Opens a second connection to a host that permits no second session on the first (`MaxSessions 1`).
    pub(crate) async fn connect_beside(&self, target: &Target) -> Result<Session, ConnectError> {
        let endpoint = target.first_endpoint();
        match Box::pin(self.try_connect(target, &endpoint, None)).await {
            Ok((session, _)) => Ok(session),
            Err((error, _)) => Err(error),
        }
    }

    /// Makes one try under the handshake limits, with the given permit or a new one. An error includes whether other
    /// tries were in progress at the same endpoint.
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
            // Many silent hosts must not block the others' handshakes. A jump host's limit still applies.
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
