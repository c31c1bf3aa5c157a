//! Steps that run once for all hosts: on the first one, while the others wait for its result.

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

    pub(crate) fn tell_once(&mut self, index: usize, step: &Step, result: &Result<(), Halt>) {
        match result {
            Ok(()) => {
                let registered = step
                    .register
                    .as_ref()
                    .and_then(|name| self.registered.iter().rev().find(|(known, _)| known == name))
                    .map(|(_, registered)| registered.clone())
                    .unwrap_or_default();
                self.engine.once[index].send_replace(Some(Once::Done(registered)));
            }
            Err(Halt::Outcome(outcome)) => {
                self.engine
                    .fail_once(&format!("it failed on {}: {}", self.plan.name, outcome.message));
            }
            Err(Halt::Interrupted | Halt::Failure(_)) => {}
        }
    }
}
