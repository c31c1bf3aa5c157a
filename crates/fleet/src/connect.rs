//! Connection tries: bounded, jittered, each failure with its class.

use std::time::Duration;

use reveille_account::{Class, EventKind, Outcome};
use reveille_ledger::Entry;
use reveille_pace::HandshakePermit;
use reveille_transport::{ConnectError, Dialed, Session, Target};
use tokio::time::{Instant, sleep, timeout};

use crate::host::{Halt, HostTask};
use crate::stop::Stop;

/// Connection tries of a host in one go.
const TRIES: u32 = 5;
/// Tries that met an endpoint's limit on new connections, and are not counted as tries.
const THROTTLED_TRIES: u32 = 20;
/// From this many quick closes in a row on, the endpoint is taken to penalise us (OpenSSH's PerSourcePenalties).
const PENALISED_AFTER: u32 = 3;
/// How sshd says that it limits new connections; from 9.8 on for MaxStartups and PerSourcePenalties alike.
const LIMITS: [&str; 2] = ["MaxStartups", "Not allowed at this time"];
/// How long a host is looked for that went away in the middle of a step, beyond the usual tries: a boot takes minutes.
const AWAY: Duration = Duration::from_mins(5);
/// How long a penalty is waited out at least.
const PENALTY: Duration = Duration::from_secs(15);
/// A TCP connection that takes longer than this gives its handshake permit back while it waits.
const PATIENCE: Duration = Duration::from_millis(250);

impl HostTask {
    /// Connects and authenticates, trying again where that may help.
    pub(crate) async fn connect(&mut self) -> Result<Session, Halt> {
        let target = std::sync::Arc::clone(&self.plan.target);
        let endpoint = target.first_endpoint();
        let mut counted = 0;
        let mut throttled = 0;
        let mut causes = Vec::new();
        let began = Instant::now();
        loop {
            self.connects += 1;
            let tries = self.connects;
            self.engine.overseer.tried(counted + 1);
            self.note(EventKind::Connecting {
                tries,
                address: target.endpoint(),
            });
            // Recorded while the connection is being made: nothing runs on the host before the next commit.
            let entries = self.take_notes();
            let recording = self.engine.handle.record(entries);
            let mut stopped = self.engine.stopped.clone();
            let trying = self.engine.try_connect(&target, &endpoint, self.turn.take());
            let connecting = async { tokio::join!(recording, trying) };
            let (recorded, result) = tokio::select! {
                both = connecting => both,
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
            };
            recorded?;
            let (error, crowded) = match result {
                Ok((session, phases)) => {
                    self.phases = Some(phases);
                    self.password_worked(&session);
                    self.recovered |= counted > 0;
                    self.note(EventKind::Connected { tries, phases });
                    return Ok(session);
                }
                Err(failed) => failed,
            };
            self.password_refused |= error.password_refused;
            // Closed before the banner is our own doing only if we were pressing, or the endpoint says so.
            let said_so = LIMITS.iter().any(|words| error.message.contains(words));
            let is_throttled = said_so || (error.throttled && crowded);
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
                self.causes.push(error.class);
            }
            let may_help = error.class.may_pass() && counted < TRIES && throttled < THROTTLED_TRIES;
            // Work that goes on there is worth waiting for, and so is a host that boots.
            let away = self.under_way.is_some()
                && error.class.may_pass()
                && began.elapsed() < self.engine.settings.away.unwrap_or(AWAY);
            let again = (may_help && (is_throttled || self.budget.take())) || away;
            let wait = if is_throttled && throttled >= PENALISED_AFTER {
                PENALTY + self.backoff.wait()
            } else {
                self.backoff.wait()
            };
            self.note(EventKind::ConnectFailed {
                tries,
                phase: error.phase,
                class: error.class,
                message: error.message.clone(),
                throttled: is_throttled,
                retry_in_ms: again.then(|| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            });
            if !again {
                return Err(self.gave_up(&causes, error.message));
            }
            self.commit_notes().await?;
            let mut stopped = self.engine.stopped.clone();
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
            }
        }
    }

    /// The outcome of a host that can't be reached: the class that all tries share, or `ssh_retry_failed`.
    fn gave_up(&mut self, causes: &[Class], message: String) -> Halt {
        let first = causes.first().copied().unwrap_or(Class::SshInitiatedFailed);
        let class = if causes.iter().all(|cause| *cause == first) {
            first
        } else {
            Class::SshRetryFailed
        };
        let message = if class == Class::SshRetryFailed {
            let kinds: Vec<&str> = causes.iter().map(|cause| cause.as_str()).collect();
            format!(
                "{} tries failed ({}); the last: {message}",
                causes.len(),
                kinds.join(", ")
            )
        } else {
            message
        };
        // Work that was under way when the connection broke goes on without us. What trying does not change, a host key
        // above all, says more.
        match self.under_way.take() {
            Some(step) if class.may_pass() => {
                let message = format!(
                    "the connection broke during the step and could not be re-established: {message}"
                );
                let mut outcome = Outcome::new(Class::ConnectionLost, message);
                outcome.step = Some(step);
                Halt::Outcome(Box::new(outcome))
            }
            step => {
                let mut outcome = Outcome::new(class, message);
                outcome.step = step;
                Halt::Outcome(Box::new(outcome))
            }
        }
    }

    /// A login by password proves it. One by key says nothing of it, and others may have their turn.
    fn password_worked(&mut self, session: &Session) {
        if self.plan.becomes.password.is_none() {
            if session.took_password() {
                self.engine.trial.worked();
            }
            self.trial = None;
        }
    }

    fn take_notes(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.notes)
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
