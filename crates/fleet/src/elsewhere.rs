//! Steps that run on another host for this one: the balancer that lets it go, the machine that knows its address.

use reveille_account::{Class, HostName, StepRef};
use reveille_job::{Rendered, Step};

use crate::host::{Halt, HostTask};
use crate::step::failed;

impl HostTask {
    /// Runs a step on the host `name`, over a connection of its own.
    pub(crate) async fn step_elsewhere(
        &mut self,
        name: &str,
        index: usize,
        step: &Step,
        at: StepRef,
        rendered: Rendered,
    ) -> Result<(), Halt> {
        let Some(other) = self.engine.delegates.get(&HostName::from(name)).cloned() else {
            let message = format!("no way to {name} is known, which the step runs on");
            return Err(failed(&at, Class::TemplateError, message));
        };
        // What the task knows of the way to its host is put aside, and taken up again afterwards.
        let session = self.session.take();
        let place = self.place.take();
        let phases = self.phases.take();
        let connects = self.connects;
        let target = std::mem::replace(&mut self.plan.target, other.target);
        let escalate = std::mem::replace(&mut self.plan.escalate, other.escalate);
        let becomes = std::mem::replace(&mut self.plan.becomes, other.becomes);
        let label = std::mem::replace(&mut self.plan.label, other.label);
        let result = self.step_here(index, step, at, rendered).await;
        let result = match (result, self.leftovers.is_some()) {
            // What the other host keeps of it can go once it is on record here.
            (Ok(()), true) => self.record_intent().await,
            (result, _) => result,
        };
        self.plan.target = target;
        self.plan.escalate = escalate;
        self.plan.becomes = becomes;
        self.plan.label = label;
        self.connects = connects;
        self.phases = phases;
        self.place = place;
        if let Some(other) = std::mem::replace(&mut self.session, session) {
            Box::pin(other.close()).await;
        }
        result.map_err(|halt| match halt {
            Halt::Outcome(mut outcome) => {
                outcome.message = format!("on {name}: {}", outcome.message);
                Halt::Outcome(outcome)
            }
            other => other,
        })
    }
}
