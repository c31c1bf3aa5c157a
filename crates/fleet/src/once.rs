//! Steps that run once for all hosts: on the first one, while the others wait for its result.

use std::sync::Arc;

use reveille_account::{Class, EventKind, Outcome};
use reveille_job::Step;

use crate::engine::Once;
use crate::host::{Halt, HostTask};
use crate::step::step_ref;
use crate::stop::Stop;

impl HostTask {
    pub(crate) async fn wait_for_once(&mut self, index: usize, step: &Step) -> Result<(), Halt> {
        // The host that everybody waits for may need it.
        self.turn = None;
        self.commit_notes().await?;
        let mut once = self.engine.once[index].subscribe();
        let mut stopped = self.engine.stopped.clone();
        let result = tokio::select! {
            result = once.wait_for(Option::is_some) => result.ok().and_then(|result| result.clone()),
            () = stopped.wait(Stop::Soon) => None,
        };
        let at = step_ref(index, step);
        match result {
            None => Err(Halt::Interrupted),
            Some(Once::Failed(why)) => {
                let mut outcome = Outcome::new(
                    Class::Stopped,
                    format!("`{}` runs once for all hosts: {why}", step.name),
                );
                outcome.step = Some(at);
                Err(Halt::Outcome(Box::new(outcome)))
            }
            Some(Once::Done(registered)) => {
                if let Some(name) = &step.register {
                    self.registered.push((name.clone(), registered));
                }
                self.note(EventKind::StepSkipped {
                    step: at,
                    reason: "it ran once, on the first host".to_owned(),
                });
                Ok(())
            }
        }
    }

    /// Tells those who wait that this host's step failed for good, if they do.
    pub(crate) fn tell_failure(&mut self, outcome: &Outcome) {
        let engine = Arc::clone(&self.engine);
        let step = &engine.job.steps[self.reached];
        if step.once && engine.first.as_ref() == Some(&self.plan.name) {
            self.tell_once(self.reached, step, Some(outcome));
        }
    }

    pub(crate) fn tell_once(&mut self, index: usize, step: &Step, failure: Option<&Outcome>) {
        match failure {
            None => {
                let registered = step
                    .register
                    .as_ref()
                    .and_then(|name| self.registered.iter().rev().find(|(known, _)| known == name))
                    .map(|(_, registered)| registered.clone())
                    .unwrap_or_default();
                self.engine.once[index].send_replace(Some(Once::Done(registered)));
            }
            Some(outcome) => {
                self.engine
                    .fail_once(&format!("it failed on {}: {}", self.plan.name, outcome.message));
            }
        }
    }
}
