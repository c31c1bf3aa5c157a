//! Records failures and successes of a host, in words for the operator.

use reveille_account::{Class, EventKind, Outcome, Rung, Status, StepRef};
use reveille_history::{Failure, HostHistory, Rule, once_of};
use reveille_job::{Registered, Role};
use reveille_text::harmless;

use crate::event::millis;
use crate::host::{Halt, HostTask};

/// The outcome for a failed step.
pub(crate) fn failure(at: &StepRef, class: Class, message: impl Into<String>) -> Outcome {
    let mut outcome = Outcome::new(class, message);
    outcome.step = Some(at.clone());
    outcome
}

impl HostTask {
    /// Records that the host failed. What happens next is decided from there.
    pub(crate) async fn fail(&mut self, outcome: Outcome) -> Result<(), Halt> {
        self.prepared = None;
        if let reveille_history::Trouble::Healing(_, _, rung) = self.history.trouble() {
            self.rung_failed(rung, outcome.message);
            return Ok(());
        }
        if let reveille_history::Trouble::GivenUp(_) = self.history.trouble() {
            self.rescue_failed(&outcome);
            return Ok(());
        }
        let outcome = self.complete(outcome);
        let class = outcome.class;
        self.note(EventKind::HostFailed {
            outcome: Box::new(outcome.clone()),
        });
        self.failure = Some(Box::new(outcome));
        if self.is_considered() {
            self.engine
                .failed_alike(&self.to.name, self.seed(), class)
                .await?;
        }
        // Templates of `on_failed` may use results of steps that were never reached.
        let job = self.job();
        for (index, step) in (0u32..).zip(&job.steps) {
            if step.role == Role::Main
                && step.register.is_some()
                && !self.registered.iter().any(|(known, _)| *known == index)
            {
                let skipped = self.skipped(step, index);
                self.registered.push((index, skipped));
            }
        }
        Ok(())
    }

    /// Whether its failure leaves anything to consider.
    fn is_considered(&self) -> bool {
        let job = &self.engine.job;
        let repairs = job.steps.iter().any(|step| matches!(step.role, Role::Repair(_)));
        repairs || job.heal.reboot || job.replaces() || !self.to.routes.is_empty()
    }

    /// Skips a step of `on_failed` that could not start or was lost, and adds that to the outcome.
    fn rescue_failed(&mut self, outcome: &Outcome) {
        let job = self.job();
        let next = (0u32..).zip(&job.steps).find(|(index, step)| {
            let last = self.history.last(*index);
            step.role == Role::OnFailed && last.is_none_or(|class| class.status() != Status::Success)
        });
        let Some((index, step)) = next else { return };
        if let Some(failure) = &mut self.failure {
            failure.message = format!(
                "{}{}`{}` of on_failed: {}",
                failure.message,
                Outcome::THEN,
                step.name,
                outcome.message
            );
        }
        let at = self.step_ref(index);
        self.skip(step, at, format!("it has no result: {}", outcome.message));
    }

    pub(crate) fn rung_failed(&mut self, rung: Rung, message: String) {
        self.prepared = None;
        if let Some(failure) = &mut self.failure {
            failure.message = format!("{}; {} failed: {message}", failure.message, rung.name());
        }
        self.note(EventKind::RungFailed { rung, message });
    }

    /// Records the failure that was decided.
    pub(crate) async fn fail_at(&mut self, why: Failure) -> Result<(), Halt> {
        let job = self.job();
        let outcome = match why {
            Failure::Attempts(index, class) => {
                if let Some(step) = job.steps.get(index as usize) {
                    let label = self.own.label.clone();
                    self.engine.overseer.given_up(step, label.as_deref(), class);
                }
                let message = match std::mem::take(&mut self.message) {
                    message if message.is_empty() => "it failed before the controller ended".to_owned(),
                    message => message,
                };
                let prefix = self.machine().prefix();
                failure(&self.step_ref(index), class, format!("{prefix}{message}"))
            }
            Failure::Unknown(index, loss) => {
                // That a command vanished is known, and more specific.
                let class = match loss.class() {
                    Class::EarlyExit => Class::EarlyExit,
                    _ => Class::ResultUnknown,
                };
                let message = match std::mem::take(&mut self.message) {
                    message if message.is_empty() => loss.words().to_owned(),
                    message => message,
                };
                let idempotent = job.steps.get(index as usize).is_some_and(|step| step.idempotent);
                let why = if idempotent {
                    "it may still run, so it was not run again"
                } else {
                    "the step is not idempotent, so it was not run again"
                };
                failure(&self.step_ref(index), class, format!("{message}; {why}"))
            }
            Failure::Open(index) => failure(
                &self.step_ref(index),
                Class::ConnectionLost,
                "earlier work left on the machine may still run, so the step was not started beside it",
            ),
            Failure::Once(index) => {
                let step = self.step_ref(index);
                let why = self.engine.once_failure(index);
                let message = format!("`{}` runs once for all hosts: {why}", step.name);
                failure(&step, Class::Stopped, message)
            }
        };
        self.fail(outcome).await
    }

    /// Records that no further recovery is tried.
    pub(crate) fn give_up(&mut self, class: Class, gatekeeper: String) {
        self.prepared = None;
        self.rule(class, &gatekeeper);
        self.note(EventKind::GaveUp { class, gatekeeper });
    }

    /// Adds the gatekeeper's reason to the failure.
    fn rule(&mut self, class: Class, gatekeeper: &str) {
        let failure = self
            .failure
            .get_or_insert_with(|| Box::new(Outcome::new(class, "it failed before the controller ended")));
        if class.status() == Status::Quarantined {
            failure.message = format!("{}; {gatekeeper}", failure.message);
        }
        failure.class = class;
        gatekeeper.clone_into(&mut failure.gatekeeper);
    }

    /// The outcome of a host that succeeded.
    pub(crate) fn succeeded(&mut self, class: Class) -> Outcome {
        let mut outcome = Outcome::new(class, "");
        outcome.step = self.deciding.as_ref().map(|deciding| deciding.step.clone());
        self.complete(outcome)
    }

    /// The outcome of a host that failed.
    pub(crate) fn failed(&mut self, class: Class, gatekeeper: Option<String>) -> Outcome {
        match gatekeeper {
            Some(gatekeeper) => self.rule(class, &gatekeeper),
            None => self.tell_rescue(),
        }
        let mut outcome = match self.failure.take() {
            Some(failure) => *failure,
            None => Outcome::new(class, ""),
        };
        outcome.class = class;
        outcome.connects = self.history.connects();
        outcome.duration_ms = millis(self.started.elapsed());
        outcome
    }

    /// Adds a failed step of `on_failed` to the message.
    fn tell_rescue(&mut self) {
        let job = self.job();
        let failed = (0u32..).zip(&job.steps).find(|(index, step)| {
            step.role == Role::OnFailed
                && !step.ignore_errors
                && self
                    .history
                    .last(*index)
                    .is_some_and(|class| class.status() != Status::Success)
        });
        if let (Some((index, step)), Some(failure)) = (failed, &mut self.failure) {
            let message = std::mem::take(&mut self.message);
            failure.message = format!(
                "{}{}`{}` of on_failed: {message}",
                failure.message,
                Outcome::THEN,
                step.name
            );
            let deciding = self
                .deciding
                .as_ref()
                .filter(|deciding| deciding.step.index == index);
            let said = deciding.and_then(|deciding| {
                harmless::last_line(&deciding.stderr.0).or_else(|| harmless::last_line(&deciding.stdout.0))
            });
            if let Some(said) = said {
                failure.message = format!("{}: {said}", failure.message);
            }
            let behind = job.steps.iter().skip(index as usize + 1);
            let left_out: Vec<String> = behind
                .filter(|step| step.role == Role::OnFailed)
                .map(|step| format!("`{}`", step.name))
                .collect();
            if !left_out.is_empty() {
                failure.message = format!("{}; {} did not run", failure.message, left_out.join(", "));
            }
        }
    }

    /// Fills in what is known about the host.
    fn complete(&mut self, mut outcome: Outcome) -> Outcome {
        outcome.connects = self.history.connects();
        outcome.causes = std::mem::take(&mut self.causes);
        outcome.phases = self.phases;
        outcome.duration_ms = millis(self.started.elapsed());
        if let Some(deciding) = self
            .deciding
            .take()
            .filter(|deciding| outcome.step.as_ref() == Some(&deciding.step))
        {
            outcome.attempts = attempts(&self.history, deciding.step.index);
            outcome.exit_status = deciding.exit_status;
            outcome.signal = deciding.signal;
            outcome.truncated = deciding.stdout.1 || deciding.stderr.1;
            outcome.stdout_tail = deciding.stdout.0;
            outcome.stderr_tail = deciding.stderr.0;
        } else if let Some(step) = &outcome.step {
            outcome.attempts = self.history.counted(step.index);
        }
        outcome
    }

    /// Withholds the outcome of a refused password while resuming, or of a host where work may still run: the operator
    /// may have mistyped it.
    pub(crate) fn refuse_outcome(&mut self, outcome: &Outcome) -> Result<(), Halt> {
        if !self.is_refusal(outcome) || self.engine.trial.is_proven() {
            return Ok(());
        }
        let open = self
            .history
            .attempts()
            .iter()
            .any(reveille_history::Attempt::is_open);
        if Rule::PasswordByEpoch.demands(self.engine.resumed || open) {
            self.engine.password_refused(&self.to.name);
            self.trial = None;
            return Err(Halt::Refused(Box::new(self.complete(outcome.clone()))));
        }
        Ok(())
    }

    fn is_refusal(&self, outcome: &Outcome) -> bool {
        match outcome.class {
            Class::AuthFailed => self.password_refused,
            Class::BecomeFailed => self.to.becomes.password.is_some(),
            _ => false,
        }
    }

    /// Reports to the trial what this host's end shows about the password.
    pub(crate) fn judge_password(&self, outcome: &Outcome) {
        if self.is_refusal(outcome) {
            self.engine.password_refused(&self.to.name);
        } else if self.to.becomes.password.is_some() && outcome.status() == Status::Success {
            // It worked, or this job does not need it.
            self.engine.trial.worked();
        }
    }
}

fn attempts(history: &HostHistory, step: u32) -> u32 {
    history.counted(step).max(1)
}

impl crate::engine::Engine {
    /// Why a `once` step failed.
    pub(crate) fn once_failure(&self, index: u32) -> String {
        debug_assert!(once_of(&self.view(), index).is_some());
        let why = self
            .once_failures
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        why.iter()
            .find(|(step, _)| *step == index)
            .map_or_else(|| "it failed".to_owned(), |(_, why)| why.clone())
    }

    /// The value that a `once` step registered.
    pub(crate) fn once_value(&self, index: u32) -> Registered {
        let values = self
            .once_values
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = values.iter().find(|(step, _)| *step == index);
        match found.and_then(|(_, text)| text.as_ref()) {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => Registered {
                skipped: true,
                ..Registered::default()
            },
        }
    }
}
