//! Reboots a host and waits until its boot id changes.
//!
//! ```text
//!  boot id ──► intent with that id ──► ask to reboot ────► connect, again and again ──► another boot id: done
//!                     │                                              │
//!                     └── the controller died: only wait ────────────┤
//!                                                                    ├── time is up, same boot: it failed
//!                                                                    └── time is up, no answer: left for the next round
//! ```

use std::time::Duration;

use reveille_account::{Class, EventKind, Loss, MachineRef, StepRef};
use reveille_history::Permit;
use reveille_job::Registered;
use reveille_text::duration;
use reveille_transport::{Become, Session};
use tokio::time::{Instant, sleep};

use crate::ask::ask;
use crate::event::millis;
use crate::finish::failure;
use crate::host::{Deciding, Halt, HostTask};
use crate::stop::Stop;

/// Asks the host for its boot id, or for its boot time where it has none.
const BOOT_ID: &str =
    "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime 2>/dev/null";
/// Reboots after a second, so that the answer still gets through.
const REBOOT: &str = "nohup sh -c 'sleep 1; reboot || shutdown -r now || systemctl reboot' >/dev/null 2>&1 &";
/// The delay between connection tries during a reboot.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long to wait for a recovery reboot that an earlier controller requested.
const HEALING: Duration = Duration::from_mins(10);

/// The result of waiting for another boot.
enum Booted {
    /// Its boot id has changed.
    Another(Box<Session>),
    /// Its boot id is the same.
    Same(String),
    /// The host does not answer.
    Silent(Class, String),
}

impl HostTask {
    /// Asks the host to reboot and waits for another boot.
    pub(crate) async fn start_reboot(
        &mut self,
        at: &StepRef,
        permit: &Permit,
        escalate: Option<&Become>,
        within: Duration,
    ) -> Result<(), Halt> {
        let machine = permit.machine().clone();
        let Some(before) = self.boot(at, &machine).await? else {
            return Ok(());
        };
        self.note(EventKind::StepStarted {
            step: at.clone(),
            attempt: permit.number(),
            token: None,
            place: None,
            boot: Some(before.as_str().into()),
            machine,
            user: escalate.map(|escalate| escalate.user.clone()),
            site: None,
            chosen: None,
        });
        self.commit().await?;
        if let Err((class, why)) = self.ask_to_reboot(escalate).await {
            self.lose(at, permit.number(), Loss::Buried, String::new());
            let outcome = failure(at, class, format!("the host can't be asked to reboot: {why}"));
            self.refuse_outcome(&outcome)?;
            return self.fail(outcome).await;
        }
        self.follow_boot(at, permit.number(), &before, within).await
    }

    /// Continues waiting for a reboot that an earlier controller was about to request.
    pub(crate) async fn await_boot(&mut self, at: &StepRef, number: u32, before: &str) -> Result<(), Halt> {
        let job = self.job();
        let within = job
            .steps
            .get(at.index as usize)
            .and_then(reveille_job::Step::reboot_within)
            .unwrap_or(HEALING);
        self.leave_other().await?;
        self.follow_boot(at, number, before, within).await
    }

    async fn follow_boot(
        &mut self,
        at: &StepRef,
        number: u32,
        before: &str,
        within: Duration,
    ) -> Result<(), Halt> {
        let began = Instant::now();
        match Box::pin(self.other_boot(before, began + within)).await? {
            Booted::Another(session) => {
                self.own.rebooted();
                self.own.session = Some(*session);
                self.rebooted(at, number, began);
                Ok(())
            }
            Booted::Same(why) => {
                self.lose(at, number, Loss::Buried, String::new());
                let message = format!(
                    "the host did not come back with another boot within {}: {why}",
                    duration::shown(within)
                );
                self.fail(failure(at, Class::CommandFailed, message)).await
            }
            Booted::Silent(class, why) => {
                let message = format!(
                    "the host did not come back with another boot within {}: {why}",
                    duration::shown(within)
                );
                self.note(EventKind::StepLeft {
                    step: at.clone(),
                    attempt: number,
                    message: why,
                });
                self.fail(failure(at, class, message)).await
            }
        }
    }

    /// Records that the host rebooted.
    fn rebooted(&mut self, at: &StepRef, attempt: u32, began: Instant) {
        let job = self.job();
        let step = job.steps.get(at.index as usize);
        let value = Registered {
            changed: true,
            ..Registered::default()
        };
        let event = EventKind::StepFinished {
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
            registered: None,
            message: String::new(),
            learned: None,
        };
        match step {
            Some(step) => {
                self.finished(step, event, step.register.is_some().then_some(value));
                self.deciding = Some(Box::new(Deciding {
                    step: at.clone(),
                    exit_status: None,
                    signal: None,
                    stdout: (String::new(), false),
                    stderr: (String::new(), false),
                }));
            }
            None => self.note(event),
        }
    }

    /// Asks once: a lost request may have arrived, and a second reboot is one too many.
    async fn ask_to_reboot(&mut self, escalate: Option<&Become>) -> Result<(), (Class, String)> {
        let Some(session) = self.machine().hang_up() else {
            return Err((Class::ConnectionLost, "the connection was lost".to_owned()));
        };
        match Box::pin(ask(&session, escalate, REBOOT)).await {
            Ok((Some(0), _)) | Err((Class::ConnectionLost, _)) => Ok(()),
            Ok((status, _)) => Err((Class::CommandFailed, format!("exit status {status:?}"))),
            Err(error) => Err(error),
        }
    }

    /// The current boot id. `None` if the host could not be asked, which has failed it.
    async fn boot(&mut self, at: &StepRef, machine: &MachineRef) -> Result<Option<String>, Halt> {
        let Some((_, answer)) = Box::pin(self.ask(at, machine, BOOT_ID, None)).await? else {
            return Ok(None);
        };
        let boot = id(&answer);
        if boot.is_none() {
            let message = "the host does not report a boot id, so a reboot could not be verified";
            self.fail(failure(at, Class::CommandFailed, message)).await?;
        }
        Ok(boot)
    }

    /// Reconnects until the boot id differs.
    async fn other_boot(&mut self, before: &str, until: Instant) -> Result<Booted, Halt> {
        drop(self.own.hang_up());
        let mut last = Booted::Silent(Class::CommandFailed, "it was not reached yet".to_owned());
        loop {
            let mut stopped = self.engine.stopped.clone();
            tokio::select! {
                biased;
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
                () = sleep(LOOK_EVERY) => {}
            }
            if Instant::now() >= until {
                return Ok(last);
            }
            let connecting = self.engine.connect_beside(&self.own.target);
            let connected = tokio::select! {
                biased;
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
                connected = connecting => connected,
            };
            let session = match connected {
                Ok(session) => session,
                // A reboot does not change the host key.
                Err(error) if !error.class.may_pass() => {
                    return Ok(Booted::Silent(error.class, error.message));
                }
                Err(error) => {
                    last = Booted::Silent(error.class, error.message);
                    continue;
                }
            };
            match ask(&session, None, BOOT_ID).await {
                Ok((_, answer)) => match id(&answer) {
                    Some(now) if now != before => return Ok(Booted::Another(Box::new(session))),
                    Some(_) => last = Booted::Same("its boot id is unchanged".to_owned()),
                    None => {
                        let why = "it does not report a boot id".to_owned();
                        last = Booted::Silent(Class::CommandFailed, why);
                    }
                },
                Err((class, why)) => last = Booted::Silent(class, why),
            }
        }
    }
}

/// Parses the id from an answer: one short line.
fn id(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?.trim();
    (!text.is_empty() && text.len() <= 200 && !text.contains('\n')).then(|| text.to_owned())
}
