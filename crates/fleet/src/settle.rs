//! Settles an attempt: its end, its loss, or that it is left behind.

use reveille_account::{Class, EventKind, Loss, MachineRef, Status, StepRef};
use reveille_history::Permit;
use reveille_job::{Registered, Step, Verdict};
use reveille_text::duration;
use reveille_transport::Become;
use reveille_transport::supervisor::Hello;
use tokio::time::Instant;

use crate::durable::Beginning;
use crate::ended::{Ended, Over};
use crate::event::millis;
use crate::finish::failure;
use crate::host::{Deciding, Halt, HostTask};
use crate::output::{Said, TAIL_LIMIT};

/// An attempt in progress.
pub(crate) struct Current<'a> {
    pub(crate) at: &'a StepRef,
    pub(crate) step: &'a Step,
    pub(crate) number: u32,
    pub(crate) escalate: Option<&'a Become>,
    pub(crate) began: Instant,
}

impl HostTask {
    /// Handles durable work that could not start. If its intent is on record, the host is asked about it; otherwise it
    /// may start again.
    pub(crate) async fn not_started(
        &mut self,
        current: &Current<'_>,
        permit: &Permit,
        intended: bool,
        ended: Ended,
    ) -> Result<(), Halt> {
        if intended {
            return self.lost_touch(current, permit.machine(), ended).await;
        }
        let Some((class, message)) = broken(ended) else {
            return Ok(());
        };
        self.again_or_fail(current, class, message).await
    }

    /// Reconnects, or fails the host.
    pub(crate) async fn again_or_fail(
        &mut self,
        current: &Current<'_>,
        class: Class,
        message: String,
    ) -> Result<(), Halt> {
        if self.may_reconnect(class) {
            self.note_lost(current.at, &message);
            return self.pause(class, "a new connection".to_owned()).await;
        }
        let outcome = failure(current.at, class, format!("{}{message}", self.machine().prefix()));
        self.refuse_outcome(&outcome)?;
        self.fail(outcome).await
    }

    /// Handles durable work that is out of reach, or whose end is known.
    pub(crate) async fn lost_touch(
        &mut self,
        current: &Current<'_>,
        machine: &MachineRef,
        ended: Ended,
    ) -> Result<(), Halt> {
        let (at, number) = (current.at, current.number);
        let (class, message, stays) = match ended {
            Ended::Vanished { message } => {
                self.lose(at, number, Loss::Gone, message);
                return Ok(());
            }
            Ended::Unknown { message } => {
                self.lose(at, number, Loss::Rebooted, message);
                return Ok(());
            }
            Ended::Survives { class, message } => (class, message, true),
            // It had a shell when the work began, so this may pass.
            Ended::Refused {
                class: Class::NoShell,
                message,
            } => (Class::ConnectionLost, message, false),
            ended => match broken(ended) {
                Some((class, message)) => (class, message, false),
                None => return Ok(()),
            },
        };
        if !stays && self.may_reconnect(class) {
            self.note_lost(at, &message);
            return self.pause(class, "a new connection".to_owned()).await;
        }
        let prefix = self.machine().prefix();
        let outcome = failure(at, class, format!("{prefix}{message}"));
        self.refuse_outcome(&outcome)?;
        debug_assert!(
            self.history
                .attempt(at.index, number)
                .is_some_and(|attempt| attempt.machine == *machine)
        );
        self.note(EventKind::StepLeft {
            step: at.clone(),
            attempt: number,
            message,
        });
        self.fail(outcome).await
    }

    /// Leaves the attempt, because another machine answered: its state is unknown.
    pub(crate) async fn elsewhere(&mut self, current: &Current<'_>, hello: &Hello) -> Result<(), Halt> {
        let message = format!(
            "another machine answered ({}, machine id {}) than the one that started the step",
            hello.node, hello.machine
        );
        self.note(EventKind::StepLeft {
            step: current.at.clone(),
            attempt: current.number,
            message: message.clone(),
        });
        let prefix = self.machine().prefix();
        self.fail(failure(
            current.at,
            Class::ConnectionLost,
            format!("{prefix}{message}"),
        ))
        .await
    }

    /// Whether this report comes from the machine that the attempt was to start on.
    pub(crate) fn is_of(&self, current: &Current<'_>, hello: &Hello) -> bool {
        let attempt = self.history.attempt(current.at.index, current.number);
        let site = attempt.and_then(|attempt| attempt.intent()?.site.as_ref());
        site.is_some_and(|site| site.machine == hello.machine)
    }

    pub(crate) fn note_lost(&mut self, at: &StepRef, message: &str) {
        self.machine().hang_up();
        self.broken = true;
        self.note(EventKind::ConnectionLost {
            step: at.clone(),
            message: message.to_owned(),
        });
    }

    /// Records that an attempt has no result.
    pub(crate) fn lose(&mut self, at: &StepRef, attempt: u32, loss: Loss, message: String) {
        self.message.clone_from(&message);
        self.note(EventKind::StepLost {
            step: at.clone(),
            attempt,
            loss,
            message,
        });
    }

    /// Records how an attempt ended, for the ledger and for the outcome.
    pub(crate) fn settle(&mut self, current: &Current<'_>, over: Over, verdict: Verdict, said: &Said) {
        let Over {
            exit_status,
            signal,
            changed,
            killed,
            failed,
            lasted,
            missed: _,
            ran,
        } = over;
        let (at, step) = (current.at, current.step);
        let changed = match step.kind() {
            // The job says that it changes nothing.
            "run" | "script" if step.check => false,
            "wait_for" => false,
            _ => changed || self.has_changed(step, at.index),
        };
        let verdict = match (&killed, failed) {
            (None, None) => verdict,
            (None, Some(message)) => {
                let class = if step.kind() == "wait_for" {
                    Class::CommandFailed
                } else {
                    Class::TransferFailed
                };
                Verdict {
                    class,
                    message,
                    empty_output: false,
                }
            }
            (Some(kill), _) if kill.class == Class::FatalPattern => Verdict {
                class: kill.class,
                message: format!("{}; {}", verdict.message, kill.what()),
                empty_output: false,
            },
            (Some(kill), _) => Verdict {
                class: kill.class,
                message: format!(
                    "{} after {}: {}",
                    kill.what(),
                    duration::shown(kill.deadline),
                    kill.evidence
                ),
                empty_output: false,
            },
        };
        if let Some(kill) = killed.filter(|kill| kill.class != Class::FatalPattern) {
            self.note(EventKind::DeadlinePassed {
                step: at.clone(),
                class: kill.class,
                deadline_ms: millis(kill.deadline),
                lag_ms: kill.lag.map(millis),
                killed: kill.verified,
                evidence: kill.evidence,
            });
        }
        let stdout = said.stdout.text(TAIL_LIMIT);
        let stderr = said.stderr.text(TAIL_LIMIT);
        let registered = said.registers.then(|| Registered {
            stdout: said.stdout.text(usize::MAX).0.trim_end_matches('\n').to_owned(),
            stderr: said.stderr.text(usize::MAX).0.trim_end_matches('\n').to_owned(),
            exit_status,
            changed,
            skipped: false,
        });
        let learned = lasted
            .filter(|_| verdict.class.status() == Status::Success)
            .and_then(|lasted| self.engine.overseer.learn(&lasted));
        self.message.clone_from(&verdict.message);
        self.finished(
            step,
            EventKind::StepFinished {
                learned,
                step: at.clone(),
                attempt: current.number,
                class: verdict.class,
                exit_status,
                signal: signal.clone(),
                duration_ms: millis(ran.unwrap_or_else(|| current.began.elapsed())),
                stdout_bytes: said.record.stdout_bytes,
                stderr_bytes: said.record.stderr_bytes,
                dropped_bytes: said.record.dropped_bytes,
                changed,
                empty_output: verdict.empty_output,
                registered: None,
                message: verdict.message,
            },
            registered,
        );
        self.deciding = Some(Box::new(Deciding {
            step: at.clone(),
            exit_status,
            signal,
            stdout,
            stderr,
        }));
    }

    /// Whether an earlier attempt changed the host, or may have, and the host has not succeeded since: a later step that
    /// reacts to the change may not have run. Waiting changes nothing.
    pub(crate) fn has_changed(&self, step: &Step, index: u32) -> bool {
        !step.check && step.kind() != "wait_for" && self.history.has_changed(index)
    }

    /// Records the end of an attempt, with its registered value.
    pub(crate) fn finished(&mut self, step: &Step, mut event: EventKind, value: Option<Registered>) {
        let EventKind::StepFinished {
            step: at, registered, ..
        } = &mut event
        else {
            return;
        };
        let index = at.index;
        *registered = value.as_ref().and_then(|value| serde_json::to_string(value).ok());
        self.note(event);
        if let (Some(value), Some(_)) = (value, &step.register) {
            self.registered.push((index, value));
        }
    }

    /// Applies that an attempt has begun. If its end is on record, that suffices; otherwise a full disk may have
    /// prevented the commit, and it is recorded again.
    pub(crate) async fn learn_begun(&mut self, current: &Current<'_>, beginning: Beginning, ended: bool) {
        let (Some(begun), Some(recording)) = (beginning.begun, beginning.recording) else {
            return;
        };
        let event = EventKind::StepBegan {
            step: current.at.clone(),
            attempt: current.number,
            pid: begun.pid,
            born: begun.born,
        };
        if ended || recording.committed().await.is_ok() {
            self.learn(&event);
        } else {
            self.note(event);
        }
    }
}

/// The class and message for a connection that is no longer usable.
pub(crate) fn broken(ended: Ended) -> Option<(Class, String)> {
    match ended {
        Ended::Refused { class, message } | Ended::Survives { class, message } => Some((class, message)),
        Ended::Lost { message } | Ended::NotSent { message } | Ended::Unknown { message } => {
            Some((Class::ConnectionLost, message))
        }
        Ended::Vanished { message } => Some((Class::EarlyExit, message)),
        Ended::Never => Some((Class::ConnectionLost, Loss::Buried.words().to_owned())),
        Ended::Absent | Ended::Elsewhere | Ended::Over(_) => None,
    }
}
