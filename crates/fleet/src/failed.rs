//! What is done on a host that failed, before it has its outcome.

use std::sync::Arc;

use reveille_account::{Outcome, Status};
use reveille_job::{Registered, Role};

use crate::host::{Halt, HostTask};
use crate::step::step_ref;
use crate::stop::Stop;

impl HostTask {
    /// Runs the `on_failed` steps of the job. The outcome stays what it is; that such a step failed as well is added to
    /// its message.
    pub(crate) async fn after_failure(&mut self, outcome: Outcome) -> Result<Outcome, Halt> {
        let engine = Arc::clone(&self.engine);
        let is_last = |role: &Role| *role == Role::OnFailed;
        let over = matches!(outcome.status(), Status::Failed | Status::Quarantined);
        if !over || !engine.job.steps.iter().any(|step| is_last(&step.role)) {
            return Ok(self.complete(outcome));
        }
        let mut outcome = self.complete(outcome);
        // Templates may ask for results of steps that were never reached.
        for step in engine.job.main_steps() {
            if let Some(name) = &step.register
                && !self.registered.iter().any(|(known, _)| known == name)
            {
                let skipped = Registered {
                    skipped: true,
                    ..Registered::default()
                };
                self.registered.push((name.clone(), skipped));
            }
        }
        for (index, step) in engine.job.steps.iter().enumerate() {
            if !is_last(&step.role) || self.done_before(index, step) {
                continue;
            }
            if engine.stopped.asked() > Stop::No {
                return Err(Halt::Interrupted);
            }
            if outcome.class.is_connection() && !step.runs_elsewhere() {
                self.skip(step, step_ref(index, step), "the host could not be reached");
                continue;
            }
            match Box::pin(self.step(index, step)).await {
                Ok(()) => {}
                Err(Halt::Outcome(again)) => {
                    outcome.message = format!(
                        "{}; then `{}` of on_failed: {}",
                        outcome.message, step.name, again.message
                    );
                    break;
                }
                Err(halt) => return Err(halt),
            }
        }
        self.deciding = None;
        Ok(outcome)
    }
}
