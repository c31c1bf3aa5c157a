//! A host's steps: conditions, attempts, re-attachment, and what each attempt came to.

use std::sync::Arc;

use reveille_account::{Class, EventKind, Outcome, SourceError, Status, StepRef, Token};
use reveille_job::{Job, Registered, Rendered, RenderedAction, Scope, Step, Verdict};
use reveille_pace::Backoff;
use reveille_transport::Become;
use reveille_transport::Session;
use reveille_transport::supervisor::{Durable, Key, Payload};
use tokio::time::Instant;

use crate::attempt::{self, Ended, Over};
use crate::begun::Current;
use crate::host::{Deciding, Halt, HostTask, millis};
use crate::output::{Output, Said, TAIL_LIMIT};
use crate::work::{self, Work};

/// What an attempt came to.
enum Attempted {
    /// It ended, and this is what it was worth.
    Judged(Verdict),
    /// The connection is no use any more; nothing ran, or durable work goes on.
    Broken { class: Class, message: String },
    /// It never started, and its token never will.
    Never,
    /// Whether it ran to its end can't be known.
    Unknown { class: Class, message: String },
}

impl HostTask {
    /// The step for this host; nothing if its condition does not hold.
    fn render(&mut self, job: &Job, index: usize) -> Result<Option<Rendered>, SourceError> {
        let vars = self
            .vars
            .get_or_insert_with(|| (self.engine.vars)(&self.plan.name));
        let mut scope =
            Scope::new(self.plan.name.as_str(), vars, &self.engine.shared).with_facts(self.facts.as_ref());
        for (name, registered) in &self.registered {
            scope.register(name.clone(), registered.clone());
        }
        if job.when(index, &scope)? {
            job.render(index, &scope).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether an earlier controller saw this step to its end; its result is taken over.
    pub(crate) fn done_before(&mut self, index: usize, step: &Step) -> bool {
        let Some(before) = &self.plan.before else {
            return false;
        };
        let Some(result) = before
            .results
            .iter()
            .rev()
            .find(|result| result.step.index as usize == index)
        else {
            return false;
        };
        let done = result.class.status() == Status::Success || step.ignore_errors;
        if let Some(name) = step.register.as_ref().filter(|_| done) {
            let registered = match &result.registered {
                Some(text) => serde_json::from_str(text).unwrap_or_default(),
                None => Registered {
                    skipped: true,
                    ..Registered::default()
                },
            };
            self.registered.push((name.clone(), registered));
        }
        done
    }

    /// One step, through as many attempts as it takes and may take.
    pub(crate) async fn step(&mut self, index: usize, step: &Step) -> Result<(), Halt> {
        let at = step_ref(index, step);
        if let Some(why) = &step.left_out {
            self.skip(step, at, why);
            return Ok(());
        }
        let job = Arc::clone(&self.engine.job);
        self.ask_for_facts(&job, index, &at).await?;
        let rendered = self
            .render(&job, index)
            .map_err(|error| failed(&at, Class::TemplateError, error.to_string()))?;
        let Some(rendered) = rendered else {
            self.skip(step, at, "its condition does not hold");
            return Ok(());
        };
        match rendered
            .run_on
            .clone()
            .filter(|name| *name != self.plan.name.as_str())
        {
            Some(name) => Box::pin(self.step_elsewhere(&name, index, step, at, rendered)).await,
            None => self.step_here(index, step, at, rendered).await,
        }
    }

    /// The step with its templates filled in, on whichever host is the task's own now.
    pub(crate) async fn step_here(
        &mut self,
        index: usize,
        step: &Step,
        at: StepRef,
        rendered: Rendered,
    ) -> Result<(), Halt> {
        let job = Arc::clone(&self.engine.job);
        let escalate = self.escalation(step, rendered.become_user.as_deref());
        // What an earlier controller had begun is taken up once; a step that comes again after a repair is a new one.
        let again = self.begun.contains_key(&index) && self.healing.count > 0;
        let mut current = (!again)
            .then(|| self.resumed(index).or_else(|| self.orphaned(index)))
            .flatten();
        if let (Some(skip_if), None) = (&rendered.skip_if, &current) {
            let (command, reason) = work::check(skip_if);
            if self.holds(&at, &command, escalate.as_ref()).await? {
                self.skip(step, at, &reason);
                return Ok(());
            }
        }
        if let RenderedAction::Reboot { within, only_if } = &rendered.action {
            let rebooting = self.reboot(step, &at, escalate.as_ref(), *within, only_if.as_deref());
            return match Box::pin(rebooting).await {
                Err(Halt::Outcome(_)) if step.ignore_errors => Ok(()),
                other => other,
            };
        }
        let work = work::prepare(&job, step, rendered, &self.plan.name)
            .map_err(|message| failed(&at, Class::TransferFailed, message))?;
        // An earlier controller's attempts count, and their numbers are taken.
        let (mut attempts, mut last_attempt) = self.attempts_before(index);
        last_attempt = last_attempt.max(self.begun.get(&index).copied().unwrap_or_default());
        if again {
            attempts = 0;
        } else if let (None, Some(halt)) = (&current, self.given_up_before(index, step, attempts)) {
            return Err(halt);
        }
        loop {
            let mut now = current.take().unwrap_or_else(|| {
                last_attempt += 1;
                Current {
                    attempt: last_attempt,
                    token: work.is_durable().then(random_token),
                    place: None,
                    intended: false,
                    inherited: false,
                    orphan: false,
                    chosen: None,
                }
            });
            last_attempt = last_attempt.max(now.attempt);
            self.begun.insert(index, last_attempt);
            let verdict = match Box::pin(self.attempt(step, &at, &work, escalate.as_ref(), &mut now)).await? {
                // It failed, or can't be found: that is what this round is for.
                Attempted::Judged(verdict) if now.orphan && verdict.class.status() != Status::Success => {
                    self.recovered = true;
                    continue;
                }
                Attempted::Never | Attempted::Unknown { .. } if now.orphan => continue,
                Attempted::Judged(verdict) => {
                    attempts += 1;
                    verdict
                }
                // With a new connection the same attempt goes on: losing one does not use up an attempt.
                Attempted::Broken { class, message } => {
                    self.session = None;
                    self.note(EventKind::ConnectionLost {
                        step: at.clone(),
                        message: message.clone(),
                    });
                    self.recovered = true;
                    self.under_way = (now.intended && now.token.is_some()).then(|| at.clone());
                    if !class.may_pass() || !self.budget.take() {
                        return Err(failed(&at, class, message));
                    }
                    // Without a token nothing was sent, and the intent is recorded anew.
                    now.intended &= now.token.is_some();
                    current = Some(now);
                    self.pause(class, "a new connection").await?;
                    continue;
                }
                Attempted::Never => {
                    if !self.budget.take() {
                        let message = "the attempt was lost before it started, again and again";
                        return Err(failed(&at, Class::ConnectionLost, message));
                    }
                    self.recovered = true;
                    self.pause(Class::ConnectionLost, "the attempt never started")
                        .await?;
                    continue;
                }
                Attempted::Unknown { class, message } if step.idempotent => {
                    // A lost connection does not use up an attempt; a command that vanished does.
                    attempts += u32::from(class == Class::EarlyExit);
                    Verdict {
                        class,
                        message,
                        empty_output: false,
                    }
                }
                Attempted::Unknown { class, message } => {
                    let message = format!("{message}; the step is not idempotent, so it was not run again");
                    // That a command vanished is known, and says more.
                    let class = if class == Class::EarlyExit {
                        class
                    } else {
                        Class::ResultUnknown
                    };
                    return Err(failed(&at, class, message));
                }
            };
            if let Some(deciding) = &mut self.deciding {
                deciding.attempts = attempts.max(1);
            }
            if verdict.class.status() == Status::Success {
                self.recovered |= attempts > 1;
                return Ok(());
            }
            if !verdict.class.may_pass() || attempts >= step.attempts || !self.budget.take() {
                let label = self.plan.label.as_deref();
                self.engine.overseer.given_up(step, label, verdict.class);
                return if step.ignore_errors {
                    Ok(())
                } else {
                    Err(failed(&at, verdict.class, verdict.message))
                };
            }
            self.recovered = true;
            if let Some(backoff) = step.backoff {
                let longest = self.engine.settings.backoff.1.max(backoff);
                self.backoff = Backoff::new(backoff, longest, self.seed());
            }
            self.pause(
                verdict.class,
                &format!("attempt {} of {}", attempts + 1, step.attempts),
            )
            .await?;
        }
    }

    /// Connects if need be, records the intent, runs the attempt, notes its end.
    async fn attempt(
        &mut self,
        step: &Step,
        at: &StepRef,
        work: &Work,
        escalate: Option<&Become>,
        now: &mut Current,
    ) -> Result<Attempted, Halt> {
        if now.inherited && now.token.is_none() && !step.idempotent {
            let message = "the controller ended while the step ran, and it is not durable".to_owned();
            return Ok(Attempted::Unknown {
                class: Class::ConnectionLost,
                message,
            });
        }
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => Box::pin(self.connect()).await?,
        };
        let result = match (now.token, work) {
            (Some(token), Work::Command { payload, .. }) => {
                Box::pin(self.attempt_durably(&session, step, at, escalate, now, token, payload)).await
            }
            _ => Box::pin(self.attempt_plainly(&session, step, at, work, escalate, now)).await,
        };
        self.session = Some(session);
        result
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of what an attempt is; a struct would be named after this function"
    )]
    async fn attempt_durably(
        &mut self,
        session: &Session,
        step: &Step,
        at: &StepRef,
        escalate: Option<&Become>,
        now: &mut Current,
        token: Token,
        payload: &Payload,
    ) -> Result<Attempted, Halt> {
        let engine = Arc::clone(&self.engine);
        let began = Instant::now();
        let label = self.plan.label.as_deref();
        let (limits, chosen) = engine
            .overseer
            .choose(step, label, now.attempt, true, &engine.handle)?;
        now.chosen = chosen;
        let place = now.place.clone().or_else(|| self.place_for(escalate));
        let mut key = Key {
            run: engine.handle.run(),
            epoch: engine.handle.epoch(),
            token,
            place,
        };
        let resumed = now.intended;
        if !resumed && key.place.is_some() {
            // The place is known: with the intent on record the channel of the step before can go first, which hosts
            // that allow one session at a time insist on.
            now.place.clone_from(&key.place);
            self.note_start(at, now);
            self.record_intent().await?;
            now.intended = true;
        }
        // What was intended by an earlier connection may have begun: it is looked for, and never started again.
        let opened = if resumed {
            Box::pin(Durable::open_attach(session, escalate, &key)).await
        } else {
            Box::pin(Durable::open_start(session, escalate, &key)).await
        };
        let open = match opened {
            Ok(open) => open,
            Err(error) => return Ok(attempted(attempt::refused(error)?)),
        };
        self.became(escalate);
        key.place = Some(open.hello().place.clone());
        now.place.clone_from(&key.place);
        self.place = Some((escalate.cloned(), open.hello().place.clone()));
        if !now.intended {
            self.note_start(at, now);
        }
        self.record_intent().await?;
        now.intended = true;
        let mut output = Output::new(
            &mut self.writer,
            step,
            at.index,
            now.attempt,
            engine.settings.frugal,
        );
        if resumed {
            output.recover(&engine.handle, &self.plan.name)?;
        }
        let way = attempt::Way {
            session,
            engine: &engine,
            target: &self.plan.target,
            host: &self.plan.name,
            at,
        };
        let following = attempt::durable(
            &way,
            escalate,
            &key,
            open,
            (!resumed).then_some(payload),
            &limits,
            &mut output,
        );
        let (ended, leftovers) = Box::pin(following).await?;
        self.under_way = None;
        self.leftovers = leftovers;
        match ended {
            Ended::Over(over) => {
                let (verdict, said) = output.finish(&over)?;
                Ok(Attempted::Judged(
                    self.conclude(at, now, began, over, verdict, &said),
                ))
            }
            other => Ok(attempted(other)),
        }
    }

    async fn attempt_plainly(
        &mut self,
        session: &Session,
        step: &Step,
        at: &StepRef,
        work: &Work,
        escalate: Option<&Become>,
        now: &mut Current,
    ) -> Result<Attempted, Halt> {
        let engine = Arc::clone(&self.engine);
        let commands = matches!(work, Work::Command { .. }) && step.kind() != "wait_for";
        let (limits, chosen) = engine.overseer.choose(
            step,
            self.plan.label.as_deref(),
            now.attempt,
            commands,
            &engine.handle,
        )?;
        now.chosen = chosen;
        self.note_start(at, now);
        self.record_intent().await?;
        now.intended = true;
        let began = Instant::now();
        let mut output = Output::new(
            &mut self.writer,
            step,
            at.index,
            now.attempt,
            engine.settings.frugal,
        );
        let way = attempt::Way {
            session,
            engine: &engine,
            target: &self.plan.target,
            host: &self.plan.name,
            at,
        };
        let running = attempt::run(&way, escalate, work, &limits, &mut output);
        match Box::pin(running).await? {
            Ended::Over(over) => {
                let (verdict, said) = output.finish(&over)?;
                self.became(escalate);
                Ok(Attempted::Judged(
                    self.conclude(at, now, began, over, verdict, &said),
                ))
            }
            other => Ok(attempted(other)),
        }
    }

    /// Notes how an attempt ended, for the ledger and for the outcome.
    fn conclude(
        &mut self,
        at: &StepRef,
        now: &Current,
        began: Instant,
        over: Over,
        verdict: Verdict,
        said: &Said,
    ) -> Verdict {
        let Over {
            exit_status,
            signal,
            changed,
            killed,
            failed,
            lasted,
        } = over;
        let waited = matches!(self.engine.job.steps[at.index as usize].kind(), "wait_for");
        let verdict = match (&killed, failed) {
            (None, None) => verdict,
            (None, Some(message)) => {
                let class = if waited {
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
            (Some(kill), _) => Verdict {
                class: kill.class,
                message: format!(
                    "{} after {:.1} s: {}",
                    kill.what(),
                    kill.deadline.as_secs_f64(),
                    kill.evidence
                ),
                empty_output: false,
            },
        };
        if let Some(kill) = killed {
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
        self.note(EventKind::StepFinished {
            learned,
            step: at.clone(),
            attempt: now.attempt,
            class: verdict.class,
            exit_status,
            signal: signal.clone(),
            duration_ms: millis(began.elapsed()),
            stdout_bytes: said.record.stdout_bytes,
            stderr_bytes: said.record.stderr_bytes,
            dropped_bytes: said.record.dropped_bytes,
            changed,
            empty_output: verdict.empty_output,
            registered: registered
                .as_ref()
                .and_then(|registered| serde_json::to_string(registered).ok()),
            message: verdict.message.clone(),
        });
        if let (Some(registered), Some(name)) =
            (registered, &self.engine.job.steps[at.index as usize].register)
        {
            self.registered.push((name.clone(), registered));
        }
        self.deciding = Some(Deciding {
            step: at.clone(),
            attempts: now.attempt,
            exit_status,
            signal,
            stdout,
            stderr,
        });
        verdict
    }

    pub(crate) fn skip(&mut self, step: &Step, at: StepRef, reason: &str) {
        if let Some(name) = &step.register {
            self.registered.push((
                name.clone(),
                Registered {
                    skipped: true,
                    ..Registered::default()
                },
            ));
        }
        self.note(EventKind::StepSkipped {
            step: at,
            reason: reason.to_owned(),
        });
    }

    fn escalation(&self, step: &Step, user: Option<&str>) -> Option<Become> {
        let wanted = step
            .becomes
            .unwrap_or(self.plan.escalate.is_some() || user.is_some());
        let become_user = || user.map(|user| self.plan.becomes.for_user(user));
        wanted.then(|| {
            become_user()
                .or_else(|| self.plan.escalate.clone())
                .unwrap_or_else(|| self.plan.becomes.clone())
        })
    }

    /// A command ran as the other user: the password is right.
    fn became(&mut self, escalate: Option<&Become>) {
        if escalate.is_some_and(|escalate| escalate.password.is_some()) {
            self.engine.trial.worked();
            self.trial = None;
        }
    }

    fn place_for(&self, escalate: Option<&Become>) -> Option<String> {
        self.place
            .as_ref()
            .filter(|(user, _)| user.as_ref() == escalate)
            .map(|(_, place)| place.clone())
    }

    fn note_start(&mut self, at: &StepRef, now: &mut Current) {
        self.note(EventKind::StepStarted {
            step: at.clone(),
            attempt: now.attempt,
            token: now.token,
            place: now.place.clone(),
            chosen: now.chosen.take(),
        });
    }
}

/// The same for every outcome but [`Ended::Over`].
fn attempted(ended: Ended) -> Attempted {
    match ended {
        Ended::Over(over) => {
            debug_assert!(
                false,
                "an attempt that is over is concluded where its output is: {over:?}"
            );
            Attempted::Unknown {
                class: Class::Internal,
                message: "the attempt ended without a judgement".to_owned(),
            }
        }
        Ended::Vanished { message } => Attempted::Unknown {
            class: Class::EarlyExit,
            message,
        },
        Ended::Unknown { message } => Attempted::Unknown {
            class: Class::ConnectionLost,
            message,
        },
        Ended::Never => Attempted::Never,
        Ended::Refused { class, message } => Attempted::Broken { class, message },
        Ended::Lost { message } => Attempted::Broken {
            class: Class::ConnectionLost,
            message,
        },
    }
}

pub(crate) fn failed(at: &StepRef, class: Class, message: impl Into<String>) -> Halt {
    let mut outcome = Outcome::new(class, message);
    outcome.step = Some(at.clone());
    Halt::Outcome(Box::new(outcome))
}

pub(crate) fn step_ref(index: usize, step: &Step) -> StepRef {
    StepRef {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        name: step.name.clone(),
    }
}

fn random_token() -> Token {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random source works once a process runs");
    Token::new(bytes)
}
