//! Prepares a step: facts, templates, conditions. All of it can be repeated.

use std::sync::Arc;

use reveille_account::{Class, EventKind, MachineRef, SourceError, StepRef, UNDECIDED, WOULD};
use reveille_history::SkipReason;
use reveille_job::{FACTS_COMMAND, Facts, Job, Preview, Registered, RenderedAction, Scope, Step};
use reveille_transport::Become;

use crate::ask::ask;
use crate::event::step_ref;
use crate::finish::failure;
use crate::host::{Halt, HostTask};
use crate::machine::delegate_of;
use crate::prepared::{Prepared, What};
use crate::work;

impl HostTask {
    pub(crate) fn step_ref(&self, index: u32) -> StepRef {
        match self.engine.job.steps.get(index as usize) {
            Some(step) => step_ref(index, step),
            None => StepRef {
                index,
                name: "reboot to heal".to_owned(),
            },
        }
    }

    /// Prepares a step. Afterwards it is skipped, has failed, or can start.
    pub(crate) async fn prepare(&mut self, index: u32) -> Result<(), Halt> {
        let job = self.job();
        let step = &job.steps[index as usize];
        let at = step_ref(index, step);
        self.prepared = None;
        self.message.clear();
        if let Some(why) = &step.left_out {
            self.skip(step, at, why.clone());
            return Ok(());
        }
        if !self.ask_for_facts(&job, index, &at).await? {
            return Ok(());
        }
        let check = self.engine.settings.preview.check;
        let rendered = if check {
            self.preview(&job, index)
        } else {
            self.render(&job, index)
        };
        let rendered = match rendered {
            Ok(Some(Preview::Known(rendered))) => *rendered,
            Ok(Some(Preview::Undecided)) => {
                let why = "its `when` needs the result of a step that did not run";
                self.pass_over(at, &format!("{UNDECIDED}{why}"));
                return Ok(());
            }
            Ok(Some(Preview::Unknown)) => {
                let why = "run, with the result of a step that did not run";
                self.pass_over(at, &format!("{WOULD}{why}"));
                return Ok(());
            }
            Ok(Some(Preview::Skipped) | None) => {
                let (at, why) = if step.has_condition() {
                    (at, "its condition is false")
                } else {
                    // It stands for the whole loop.
                    let name = step.name_in_file().to_owned();
                    (StepRef { name, ..at }, "its loop has no items")
                };
                self.skip(step, at, why.to_owned());
                return Ok(());
            }
            Err(error) => {
                return self
                    .fail(failure(&at, Class::TemplateError, error.to_string()))
                    .await;
            }
        };
        let delegate = delegate_of(rendered.run_on.as_deref(), &self.to.name);
        let machine = match delegate {
            Some(name) if !self.engine.delegates.contains_key(&name) => {
                let message = format!("no known way to {name}, on which the step runs");
                return self.fail(failure(&at, Class::TemplateError, message)).await;
            }
            Some(name) => MachineRef::Delegate(name),
            None => self.own.who.clone(),
        };
        let escalate = self.escalation(step, &machine, rendered.become_user.as_deref());
        if let Some(skip_if) = &rendered.skip_if {
            let (command, reason) = work::check(skip_if);
            match self.holds(&at, &machine, &command, escalate.as_ref()).await? {
                None => return Ok(()),
                Some(true) => {
                    // The rendered condition may contain secrets.
                    let reason = step.skip_if_text().unwrap_or(reason);
                    self.skip(step, at, reason);
                    return Ok(());
                }
                Some(false) => {}
            }
        }
        if check && let Some(would) = would(&rendered.action, step.check) {
            self.pass_over(at, &format!("{WOULD}{would}"));
            return Ok(());
        }
        let what = match rendered.action {
            RenderedAction::Reboot { within, ref only_if } => {
                if let Some(command) = only_if {
                    match self.holds(&at, &machine, command, escalate.as_ref()).await? {
                        None => return Ok(()),
                        Some(true) => {}
                        Some(false) => {
                            let text = step.only_if_text().unwrap_or_else(|| command.clone());
                            self.skip(step, at, format!("`{text}` failed"));
                            return Ok(());
                        }
                    }
                }
                What::Reboot { within }
            }
            _ => match work::prepare(&job, step, rendered, &self.to.name) {
                Ok(work) => What::Work(work),
                Err(message) => return self.fail(failure(&at, Class::TransferFailed, message)).await,
            },
        };
        self.prepared = Some(Box::new(Prepared {
            index,
            at,
            machine,
            escalate,
            what,
        }));
        Ok(())
    }

    /// Renders the step for this host; `None` if its condition is false.
    fn render(&mut self, job: &Job, index: u32) -> Result<Option<Preview>, SourceError> {
        let scope = self.scope(job);
        if job.when(index as usize, &scope)? {
            let rendered = job.render(index as usize, &scope)?;
            Ok(Some(Preview::Known(Box::new(rendered))))
        } else {
            Ok(None)
        }
    }

    /// Finds what the step would do if the steps before it had not only been checked.
    fn preview(&mut self, job: &Job, index: u32) -> Result<Option<Preview>, SourceError> {
        let scope = self.scope(job);
        job.preview(index as usize, &scope).map(Some)
    }

    fn scope(&mut self, job: &Job) -> Scope<'_> {
        let vars = self.vars.get_or_insert_with(|| (self.engine.vars)(&self.to.name));
        let mut scope =
            Scope::new(self.to.name.as_str(), vars, &self.engine.shared).with_facts(self.own.facts.as_ref());
        if let Some(hidden) = self.engine.hidden.get(&self.to.name) {
            scope = scope.hiding(hidden);
        }
        for (index, registered) in &self.registered {
            job.register(&mut scope, *index, registered.clone());
        }
        scope
    }

    /// Skips a step of a check, so that its result stays unknown.
    fn pass_over(&mut self, at: StepRef, reason: &str) {
        self.note(EventKind::StepSkipped {
            step: at,
            reason: reason.to_owned(),
        });
    }

    /// Gathers the host's facts if the step needs them and they are not known yet. Returns false if the host could not
    /// be asked, which has failed it.
    async fn ask_for_facts(&mut self, job: &Job, index: u32, at: &StepRef) -> Result<bool, Halt> {
        if self.own.facts.is_some() {
            return Ok(true);
        }
        let vars = self.vars.get_or_insert_with(|| (self.engine.vars)(&self.to.name));
        let scope = Scope::new(self.to.name.as_str(), vars, &self.engine.shared);
        if !job.needs_facts(index as usize, &scope) {
            return Ok(true);
        }
        let own = self.own.who.clone();
        let Some((_, answer)) = Box::pin(self.ask(at, &own, FACTS_COMMAND, None)).await? else {
            return Ok(false);
        };
        self.own.facts = Some(Facts::parse(&String::from_utf8_lossy(&answer)));
        Ok(true)
    }

    /// Whether a small command succeeds on a machine; its output is not recorded. `None` if it could not be asked,
    /// which has failed the host.
    async fn holds(
        &mut self,
        at: &StepRef,
        machine: &MachineRef,
        command: &str,
        escalate: Option<&Become>,
    ) -> Result<Option<bool>, Halt> {
        let answer = self.ask(at, machine, command, escalate).await?;
        Ok(answer.map(|(status, _)| status == Some(0)))
    }

    /// Returns the exit status and the first output of a small command, which must be safe to repeat. `None` if it
    /// could not be asked, which has failed the host.
    pub(crate) async fn ask(
        &mut self,
        at: &StepRef,
        machine: &MachineRef,
        command: &str,
        escalate: Option<&Become>,
    ) -> Result<Option<(Option<u32>, Vec<u8>)>, Halt> {
        loop {
            Box::pin(self.go_to(machine)).await?;
            let Some(session) = self.machine().session.take() else {
                // The connection failure is already recorded.
                return Ok(None);
            };
            let answer = Box::pin(ask(&session, escalate, command)).await;
            self.machine().session = Some(session);
            let (class, message) = match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(failed) => failed,
            };
            if !self.may_reconnect(class) {
                let outcome = failure(at, class, message);
                self.refuse_outcome(&outcome)?;
                self.fail(outcome).await?;
                return Ok(None);
            }
            self.machine().hang_up();
            self.pause(class, "a new connection".to_owned()).await?;
        }
    }

    /// Whether a new connection may help, and is permitted.
    pub(crate) fn may_reconnect(&self, class: Class) -> bool {
        class.may_pass() && self.history.spent() < self.engine.outline.budget
    }

    fn escalation(&self, step: &Step, machine: &MachineRef, user: Option<&str>) -> Option<Become> {
        let to = machine
            .delegate()
            .and_then(|name| self.engine.delegates.get(name))
            .unwrap_or(&self.to);
        let wanted = step.becomes.unwrap_or(to.escalate.is_some() || user.is_some());
        let become_user = || user.map(|user| to.becomes.for_user(user));
        wanted.then(|| {
            become_user()
                .or_else(|| to.escalate.clone())
                .unwrap_or_else(|| to.becomes.clone())
        })
    }

    pub(crate) fn skip(&mut self, step: &Step, at: StepRef, reason: String) {
        if step.register.is_some() {
            let skipped = self.skipped(step, at.index);
            self.registered.push((at.index, skipped));
        }
        self.note(EventKind::StepSkipped { step: at, reason });
    }

    /// Skips a step for a reason outside of it.
    pub(crate) fn skip_for(&mut self, index: u32, reason: SkipReason) {
        let job = self.job();
        let Some(step) = job.steps.get(index as usize) else {
            return;
        };
        let at = step_ref(index, step);
        let reason = match reason {
            SkipReason::OnceDone => {
                let check = self.engine.settings.preview.check;
                let registered = self.engine.once_value(index);
                if step.register.is_some() && !(check && registered.skipped) {
                    self.registered.push((index, registered));
                }
                let reason = "it runs once, on the first host".to_owned();
                return self.note(EventKind::StepSkipped { step: at, reason });
            }
            SkipReason::Unreachable => "the host could not be reached".to_owned(),
            SkipReason::Left => "earlier work left on the host may still run".to_owned(),
        };
        self.skip(step, at, reason);
    }

    /// Restores what an earlier controller registered.
    pub(crate) fn register_again(&mut self, index: u32, registered: Option<&str>) {
        let job = Arc::clone(&self.engine.job);
        let Some(step) = job.steps.get(index as usize) else {
            return;
        };
        // What a check skips may have no known result.
        let unknown = self.engine.settings.preview.check && registered.is_none();
        if step.register.is_none() || unknown {
            return;
        }
        let value = match registered {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None if step.once => self.engine.once_value(index),
            None => self.skipped(step, index),
        };
        self.registered.push((index, value));
    }

    /// The result of a step that was skipped: it may have changed the host before.
    pub(crate) fn skipped(&self, step: &Step, index: u32) -> Registered {
        Registered {
            changed: self.has_changed(step, index),
            skipped: true,
            ..Registered::default()
        }
    }
}

/// What a step would do that a check does not do; `None` for what it does: comparing files, and commands that change
/// nothing.
fn would(action: &RenderedAction, changes_nothing: bool) -> Option<&'static str> {
    match action {
        RenderedAction::Run { .. } | RenderedAction::Script { .. } if changes_nothing => None,
        RenderedAction::Upload { .. } | RenderedAction::Template { .. } => None,
        RenderedAction::Run { .. } | RenderedAction::Script { .. } => Some("run"),
        RenderedAction::Download { .. } => Some("download"),
        RenderedAction::Reboot { .. } => Some("reboot"),
        RenderedAction::WaitFor { .. } => Some("wait"),
    }
}
