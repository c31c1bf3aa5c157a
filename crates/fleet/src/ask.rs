//! Small questions to a host between attempts: facts, and whether a condition holds. They may be asked again.

use reveille_account::StepRef;
use reveille_job::{FACTS_COMMAND, Facts, Job, Scope};
use reveille_transport::Become;

use crate::attempt;
use crate::host::{Halt, HostTask};
use crate::step::failed;

impl HostTask {
    /// Asks the host for its facts, if the step takes some and nobody has asked yet.
    pub(crate) async fn ask_for_facts(&mut self, job: &Job, index: usize, at: &StepRef) -> Result<(), Halt> {
        if self.facts.is_some() {
            return Ok(());
        }
        let vars = self
            .vars
            .get_or_insert_with(|| (self.engine.vars)(&self.plan.name));
        let scope = Scope::new(self.plan.name.as_str(), vars, &self.engine.shared);
        if job.needs_facts(index, &scope) {
            let (_, answer) = Box::pin(self.ask(at, FACTS_COMMAND, None)).await?;
            self.facts = Some(Facts::parse(&String::from_utf8_lossy(&answer)));
        }
        Ok(())
    }

    /// Whether a small command succeeds on the host; it leaves no output on record.
    pub(crate) async fn holds(
        &mut self,
        at: &StepRef,
        command: &str,
        escalate: Option<&Become>,
    ) -> Result<bool, Halt> {
        let (status, _) = self.ask(at, command, escalate).await?;
        Ok(status == Some(0))
    }

    /// The exit status and the beginning of the output of a small command, which may be asked again.
    pub(crate) async fn ask(
        &mut self,
        at: &StepRef,
        command: &str,
        escalate: Option<&Become>,
    ) -> Result<(Option<u32>, Vec<u8>), Halt> {
        loop {
            let session = match self.session.take().filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => Box::pin(self.connect()).await?,
            };
            let answer = Box::pin(attempt::ask(&session, escalate, command)).await;
            self.session = Some(session);
            match answer {
                Ok(answer) => return Ok(answer),
                Err((class, message)) => {
                    self.session = None;
                    if !class.may_pass() || !self.budget.take() {
                        return Err(failed(at, class, message));
                    }
                    self.recovered = true;
                    self.pause(class, "a new connection").await?;
                }
            }
        }
    }
}
