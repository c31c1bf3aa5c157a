//! Rebooting a host, until it is really another boot.
//!
//! ```text
//!  only_if? ──no──► skipped
//!     │
//!     ▼
//!  boot id ──► intent with that id ──► asked to reboot ──► connect, again and again ──► another boot id: done
//!                     │                                              │
//!                     └── the controller died: only the waiting ─────┘── time is up: failed
//! ```

use std::time::Duration;

use reveille_account::{Class, EventKind, StepRef};
use reveille_job::{Registered, Step};
use reveille_transport::{Become, Session};
use tokio::time::{Instant, sleep};

use crate::attempt;
use crate::host::{Deciding, Halt, HostTask, millis};
use crate::step::failed;
use crate::stop::Stop;

/// Asks the host for its boot. What has no such id tells when it was booted.
const BOOT_ID: &str =
    "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime 2>/dev/null";
/// Reboots in a moment, so that the answer still gets through.
const REBOOT: &str = "nohup sh -c 'sleep 1; reboot || shutdown -r now || systemctl reboot' >/dev/null 2>&1 &";
/// How often the host is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// In the place of an intent: the boot that is to end.
const BOOT: &str = "boot:";

impl HostTask {
    /// Reboots the host, or goes on waiting for a reboot that an earlier controller asked for.
    pub(crate) async fn reboot(
        &mut self,
        step: &Step,
        at: &StepRef,
        escalate: Option<&Become>,
        within: Duration,
        only_if: Option<&str>,
    ) -> Result<(), Halt> {
        let began = Instant::now();
        let (attempt, before) = if let Some(asked) = self.rebooting(at) {
            asked
        } else {
            if let Some(command) = only_if
                && !self.holds(at, command, escalate).await?
            {
                self.skip(step, at.clone(), &format!("`{command}` does not succeed"));
                return Ok(());
            }
            let before = self.boot(at).await?;
            let attempt = self.next_attempt(at.index as usize);
            self.begun.insert(at.index as usize, attempt);
            self.note(EventKind::StepStarted {
                step: at.clone(),
                attempt,
                token: None,
                place: Some(format!("{BOOT}{before}")),
                chosen: None,
            });
            self.record_intent().await?;
            self.ask_to_reboot(at, escalate).await?;
            (attempt, before)
        };
        let session = self.other_boot(at, &before, began + within, within).await?;
        self.session = Some(session);
        // What was known of the host was of the boot before.
        self.facts = None;
        self.place = None;
        let registered = Registered {
            changed: true,
            ..Registered::default()
        };
        self.note(EventKind::StepFinished {
            step: at.clone(),
            attempt,
            class: Class::Ok,
            exit_status: None,
            signal: None,
            duration_ms: millis(began.elapsed()),
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_bytes: 0,
            changed: true,
            empty_output: false,
            // A run that is resumed later takes it from here.
            registered: step
                .register
                .as_ref()
                .and_then(|_| serde_json::to_string(&registered).ok()),
            message: String::new(),
            learned: None,
        });
        if let Some(name) = &step.register {
            self.registered.push((name.clone(), registered));
        }
        self.deciding = Some(Deciding {
            step: at.clone(),
            attempts: attempt,
            exit_status: None,
            signal: None,
            stdout: (String::new(), false),
            stderr: (String::new(), false),
        });
        Ok(())
    }

    /// Reboots a host that failed, for the sake of healing it. That it was asked is on record as a recovery.
    pub(crate) async fn reboot_to_heal(&mut self, at: &StepRef, within: Duration) -> Result<(), Halt> {
        let began = Instant::now();
        let before = self.boot(at).await?;
        if self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = Some(Box::pin(self.connect()).await?);
        }
        let root = self.plan.becomes.clone();
        let escalate = (self.plan.target.user != "root").then_some(root);
        self.ask_to_reboot(at, escalate.as_ref()).await?;
        let session = self.other_boot(at, &before, began + within, within).await?;
        self.session = Some(session);
        self.facts = None;
        self.place = None;
        Ok(())
    }

    /// Asks once: a question that got lost may have been heard, and a second reboot is one too many.
    async fn ask_to_reboot(&mut self, at: &StepRef, escalate: Option<&Become>) -> Result<(), Halt> {
        let refused = |class, why: String| {
            Err(failed(
                at,
                class,
                format!("the host can't be asked to reboot: {why}"),
            ))
        };
        let Some(session) = self.session.take() else {
            return refused(Class::ConnectionLost, "the connection was lost".to_owned());
        };
        match Box::pin(attempt::ask(&session, escalate, REBOOT)).await {
            Ok((Some(0), _)) | Err((Class::ConnectionLost, _)) => Ok(()),
            Ok((status, _)) => refused(Class::CommandFailed, format!("exit status {status:?}")),
            Err((class, why)) => refused(class, why),
        }
    }

    /// The reboot that an earlier controller was about to ask for: its attempt, and the boot before it.
    fn rebooting(&self, at: &StepRef) -> Option<(u32, String)> {
        let intent = self.plan.before.as_ref()?.intent.as_ref()?;
        let boot = intent.place.as_deref()?.strip_prefix(BOOT)?;
        (intent.step.index == at.index && !intent.finished).then(|| (intent.attempt, boot.to_owned()))
    }

    /// The present boot.
    async fn boot(&mut self, at: &StepRef) -> Result<String, Halt> {
        let (_, answer) = self.ask(at, BOOT_ID, None).await?;
        id(&answer).ok_or_else(|| {
            let message = "the host does not tell its boot id, so a reboot could not be told from none";
            failed(at, Class::CommandFailed, message)
        })
    }

    /// Connects again and again until the boot is another one.
    async fn other_boot(
        &mut self,
        at: &StepRef,
        before: &str,
        until: Instant,
        within: Duration,
    ) -> Result<Session, Halt> {
        self.session = None;
        let mut last = (Class::CommandFailed, "it was not reached yet".to_owned());
        loop {
            let mut stopped = self.engine.stopped.clone();
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
            }
            if Instant::now() >= until {
                let (class, why) = last;
                let message = format!("the host is not back with another boot after {within:?}: {why}");
                return Err(failed(at, class, message));
            }
            let connecting = self.engine.connect_beside(&self.plan.target);
            let connected = tokio::select! {
                connected = connecting => connected,
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
            };
            let session = match connected {
                Ok(session) => session,
                // A changed key is not what a reboot does.
                Err(error) if !error.class.may_pass() => return Err(failed(at, error.class, error.message)),
                Err(error) => {
                    last = (error.class, error.message);
                    continue;
                }
            };
            match attempt::ask(&session, None, BOOT_ID).await {
                Ok((_, answer)) => match id(&answer) {
                    Some(now) if now != before => return Ok(session),
                    Some(_) => last = (Class::CommandFailed, "it is still the boot before".to_owned()),
                    None => last = (Class::CommandFailed, "it does not tell its boot id".to_owned()),
                },
                Err(error) => last = error,
            }
        }
    }
}

/// The id in an answer: one short line.
fn id(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?.trim();
    (!text.is_empty() && text.len() <= 200 && !text.contains('\n')).then(|| text.to_owned())
}
