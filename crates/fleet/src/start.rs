//! Starts attempts, and re-attaches to them.

use std::sync::Arc;

use reveille_account::{Class, EventKind, Loss, MachineRef, Status, StepRef, Token};
use reveille_history::{Kind, Permit, Rule, absence};
use reveille_job::Step;
use reveille_ledger::{Entry, Ticket};
use reveille_transport::supervisor::{Begun, Durable, Hello, Key, Offsets, Payload};
use reveille_transport::{Become, Session};
use tokio::time::Instant;

use crate::durable::{self, Beginning};
use crate::ended::{self, Ended, SPOOL_CAP};
use crate::host::{Halt, HostTask};
use crate::machine::site;
use crate::output::Output;
use crate::plain;
use crate::prepared::What;
use crate::settle::{Current, broken};
use crate::watchdog::Limits;
use crate::way::Way;
use crate::work::Work;

impl HostTask {
    /// Starts an attempt of the prepared step and follows it.
    pub(crate) async fn start(&mut self, permit: &Permit) -> Result<(), Halt> {
        let job = self.job();
        let Some(prepared) = self.prepared.take() else {
            return Ok(());
        };
        let Some(step) = job.steps.get(permit.step() as usize) else {
            return Ok(());
        };
        let Some(session) = self.machine().session.take() else {
            self.prepared = Some(prepared);
            return Ok(());
        };
        self.message.clear();
        let current = Current {
            at: &prepared.at,
            step,
            number: permit.number(),
            escalate: prepared.escalate.as_ref(),
            began: Instant::now(),
        };
        let result = match &prepared.what {
            What::Reboot { within } => {
                self.machine().session = Some(session);
                let rebooting = self.start_reboot(&prepared.at, permit, current.escalate, *within);
                Box::pin(rebooting).await
            }
            // A durable command needs a directory on the host, which a check does not make.
            What::Work(Work::Command {
                payload,
                durable: true,
                ..
            }) if !self.engine.settings.preview.check => {
                let result = Box::pin(self.start_durably(&session, &current, permit, payload)).await;
                self.keep(session);
                result
            }
            What::Work(work) => {
                let result = Box::pin(self.start_plainly(&session, &current, permit, work)).await;
                self.keep(session);
                result
            }
        };
        // Another attempt reuses the prepared step.
        let again = self
            .history
            .last(permit.step())
            .is_some_and(|class| class.status() != Status::Success);
        if again && self.prepared.is_none() {
            self.prepared = Some(prepared);
        }
        result?;
        let done = self
            .history
            .last(permit.step())
            .is_some_and(|class| class.status() == Status::Success);
        if done && !step.settle.is_zero() {
            self.commit().await?;
            tokio::time::sleep(step.settle).await;
        }
        Ok(())
    }

    async fn start_durably(
        &mut self,
        session: &Session,
        current: &Current<'_>,
        permit: &Permit,
        payload: &Payload,
    ) -> Result<(), Halt> {
        let engine = Arc::clone(&self.engine);
        let token = engine.settings.world.token();
        let limits = self.limits(current.step, permit.step(), true)?;
        let mut key = self.key(token, None);
        let agreed = self.machine().hello(current.escalate).cloned();
        if let Some(hello) = &agreed {
            // The directory is known, so the intent is recorded before the previous step's channel closes. Hosts that
            // permit one session at a time need that.
            key.place = Some(hello.place.clone());
            self.note_start(current, permit.machine(), Some((token, hello)), limits.1.clone());
            Box::pin(self.commit()).await?;
        }
        let opening = async {
            Durable::open_start(session, current.escalate, &key)
                .await
                .map(Box::new)
        };
        let mut work = match Box::pin(opening).await {
            Ok(work) => work,
            // No start was sent; a recorded intent is still asked about like any other.
            Err(error) => {
                let ended = ended::refused(error)?;
                return Box::pin(self.not_started(current, permit, agreed.is_some(), ended)).await;
            }
        };
        self.became(current.escalate);
        let agreed = if let Some(agreed) = agreed {
            agreed
        } else {
            let hello = work.hello().clone();
            self.machine().said_hello(current.escalate, hello.clone());
            key.place = Some(hello.place.clone());
            self.note_start(current, permit.machine(), Some((token, &hello)), limits.1.clone());
            Box::pin(self.commit()).await?;
            hello
        };
        let agreed = if Rule::HelloAgrees.holds(false) {
            work.hello().clone()
        } else {
            agreed
        };
        if let Err(error) = Box::pin(work.start(&agreed, payload, SPOOL_CAP)).await {
            let ended = ended::refused(error)?;
            return Box::pin(self.lost_touch(current, permit.machine(), ended)).await;
        }
        let limits = limits.0;
        self.follow(
            session,
            current,
            permit.machine(),
            &key,
            None,
            work,
            &limits,
            false,
        )
        .await
    }

    /// Re-attaches to an attempt that may still run, or finds out what became of it.
    pub(crate) async fn attach(&mut self, index: u32, number: u32) -> Result<(), Halt> {
        let job = self.job();
        let at = self.step_ref(index);
        let Some(attempt) = self.history.attempt(index, number).cloned() else {
            return Ok(());
        };
        let intent = match &attempt.kind {
            Kind::Durable(intent) => intent,
            Kind::Plain => {
                self.lose(&at, number, Loss::Plain, Loss::Plain.words().to_owned());
                return Ok(());
            }
            Kind::Reboot(boot) => {
                let boot = boot.to_string();
                return Box::pin(self.await_boot(&at, number, &boot)).await;
            }
        };
        // Record how it got here before what it finds.
        Box::pin(self.commit()).await?;
        let (Some(step), Some(session)) = (job.steps.get(index as usize), self.machine().session.take())
        else {
            return Ok(());
        };
        let escalate = self.machine().become_again(intent.user.as_deref());
        let current = Current {
            at: &at,
            step,
            number,
            escalate: escalate.as_ref(),
            began: Instant::now(),
        };
        let begun = intent.begun.as_ref().map(|(pid, born)| Begun {
            pid: *pid,
            born: born.clone(),
        });
        let key = self.key(intent.token, intent.place.clone());
        let limits = self.limits(step, index, true)?;
        let result = async {
            let mut work = match Box::pin(Durable::open_attach(&session, current.escalate, &key)).await {
                Ok(work) => Box::new(work),
                Err(error) => {
                    let ended = ended::refused(error)?;
                    return self.lost_touch(&current, &attempt.machine, ended).await;
                }
            };
            self.became(current.escalate);
            let hello = work.hello().clone();
            self.machine().said_hello(current.escalate, hello);
            let offsets = {
                let (handle, host) = (self.engine.handle.clone(), self.to.name.clone());
                let mut output = self.output(&current);
                output.recover(&handle, &host)?;
                output.offsets()
            };
            let [stdout, stderr] = offsets;
            if let Err(error) = work
                .attach(Offsets { stdout, stderr }, begun.as_ref(), SPOOL_CAP)
                .await
            {
                let ended = ended::refused(error)?;
                return self.lost_touch(&current, &attempt.machine, ended).await;
            }
            self.follow(
                &session,
                &current,
                &attempt.machine,
                &key,
                begun,
                work,
                &limits.0,
                true,
            )
            .await
        };
        let result = Box::pin(result).await;
        self.keep(session);
        result
    }

    /// Keeps the session for later use, unless it is broken.
    fn keep(&mut self, session: Session) {
        if !std::mem::take(&mut self.broken) {
            self.machine().session = Some(session);
        }
    }

    /// Follows durable work to its end and records that.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of an attempt; a struct would be named after this function"
    )]
    async fn follow(
        &mut self,
        session: &Session,
        current: &Current<'_>,
        machine: &MachineRef,
        key: &Key,
        begun: Option<Begun>,
        work: Box<Durable>,
        limits: &Limits,
        attached: bool,
    ) -> Result<(), Halt> {
        let engine = Arc::clone(&self.engine);
        let hello = work.hello().clone();
        let target = Arc::clone(&self.machine().target);
        let way = Way {
            session,
            engine: &engine,
            target: &target,
            host: &self.to.name,
            at: current.at,
        };
        let mut output = Output::new(
            &mut self.writer,
            current.step,
            current.at.index,
            current.number,
            &self.to.name,
            &engine.settings,
        );
        if attached {
            output.recover(&engine.handle, &self.to.name)?;
        }
        let mut beginning = Beginning {
            begun,
            recording: None,
        };
        let number = current.number;
        let following = durable::durable(
            &way,
            current.escalate,
            key,
            work,
            number,
            &mut beginning,
            limits,
            &mut output,
        );
        let (ended, leftovers) = Box::pin(following).await?;
        if let Ended::Over(over) = ended {
            let (verdict, said) = output.finish(&over)?;
            Box::pin(self.learn_begun(current, beginning, true)).await;
            self.leftovers = leftovers;
            self.settle(current, over, verdict, &said);
            return Ok(());
        }
        Box::pin(self.learn_begun(current, beginning, false)).await;
        match ended {
            // A tombstone in a directory with another mark was made after a wipe, so it proves no more than an absent
            // one.
            gone @ (Ended::Absent | Ended::Never) => {
                let intent = self
                    .history
                    .attempt(current.at.index, number)
                    .and_then(|attempt| attempt.intent());
                let told = |intent: &reveille_history::Intent| match (&gone, &intent.site) {
                    (Ended::Never, Some(site)) if site.mark == hello.mark => Some(Loss::Buried),
                    _ => absence(intent, &site(&hello)),
                };
                match intent.and_then(told) {
                    Some(loss) => {
                        self.lose(current.at, number, loss, loss.words().to_owned());
                        Ok(())
                    }
                    None => Box::pin(self.elsewhere(current, &hello)).await,
                }
            }
            // The machine reports another identity than recorded, and did nothing: ask it again.
            Ended::Elsewhere if !attached => {
                self.machine().rebooted();
                let message =
                    "the host rebooted, or its directory for this run was removed, just before the start";
                self.lose(current.at, number, Loss::Buried, message.to_owned());
                Box::pin(self.again_or_fail(current, Class::ConnectionLost, message.to_owned())).await
            }
            // Its directory for this run was recreated between its report and the request.
            Ended::Elsewhere if self.is_of(current, &hello) => {
                self.lose(current.at, number, Loss::Wiped, Loss::Wiped.words().to_owned());
                Ok(())
            }
            Ended::Elsewhere => Box::pin(self.elsewhere(current, &hello)).await,
            // The program that should have started it reports why it did not.
            Ended::Refused { class, message } if !attached => {
                self.lose(current.at, number, Loss::Buried, message.clone());
                Box::pin(self.again_or_fail(current, class, message)).await
            }
            ended => Box::pin(self.lost_touch(current, machine, ended)).await,
        }
    }

    async fn start_plainly(
        &mut self,
        session: &Session,
        current: &Current<'_>,
        permit: &Permit,
        work: &Work,
    ) -> Result<(), Halt> {
        let engine = Arc::clone(&self.engine);
        let commands = matches!(work, Work::Command { .. }) && current.step.kind() != "wait_for";
        let limits = self.limits(current.step, permit.step(), commands)?;
        self.note_start(current, permit.machine(), None, limits.1);
        Box::pin(self.commit()).await?;
        let target = Arc::clone(&self.machine().target);
        let way = Way {
            session,
            engine: &engine,
            target: &target,
            host: &self.to.name,
            at: current.at,
        };
        let mut output = Output::new(
            &mut self.writer,
            current.step,
            current.at.index,
            current.number,
            &self.to.name,
            &engine.settings,
        );
        let running = plain::run(&way, current.escalate, work, &limits.0, &mut output);
        match running.await? {
            Ended::Over(over) => {
                let (verdict, said) = output.finish(&over)?;
                self.became(current.escalate);
                self.settle(current, over, verdict, &said);
                Ok(())
            }
            // Nothing ran for certain.
            ended @ (Ended::Refused { .. } | Ended::NotSent { .. }) => {
                self.lose(
                    current.at,
                    current.number,
                    Loss::Buried,
                    Loss::Buried.words().to_owned(),
                );
                let Some((class, message)) = broken(ended) else {
                    return Ok(());
                };
                Box::pin(self.again_or_fail(current, class, message)).await
            }
            Ended::Vanished { message } => {
                self.lose(current.at, current.number, Loss::Gone, message);
                Ok(())
            }
            ended => {
                let message = broken(ended).map(|(_, message)| message).unwrap_or_default();
                self.lose(current.at, current.number, Loss::Plain, message);
                Ok(())
            }
        }
    }

    fn key(&self, token: Token, place: Option<String>) -> Key {
        Key {
            run: self.engine.handle.run(),
            epoch: self.engine.handle.epoch(),
            token,
            place,
        }
    }

    /// The deadlines of a step's next attempt; only `commands` are watched.
    fn limits(
        &mut self,
        step: &Step,
        index: u32,
        commands: bool,
    ) -> Result<(Limits, Option<Box<reveille_account::Chosen>>), Halt> {
        let engine = Arc::clone(&self.engine);
        let attempt = self.history.counted(index) + 1;
        let label = self.machine().label.clone();
        Ok(engine
            .overseer
            .choose(step, label.as_deref(), attempt, commands, &engine.handle)?)
    }

    fn note_start(
        &mut self,
        current: &Current<'_>,
        machine: &MachineRef,
        durable: Option<(Token, &Hello)>,
        chosen: Option<Box<reveille_account::Chosen>>,
    ) {
        self.note(EventKind::StepStarted {
            step: current.at.clone(),
            attempt: current.number,
            token: durable.map(|(token, _)| token),
            place: durable.map(|(_, hello)| hello.place.clone()),
            boot: None,
            machine: machine.clone(),
            user: current.escalate.map(|escalate| escalate.user.clone()),
            site: durable.map(|(_, hello)| Box::new(site(hello))),
            chosen,
        });
    }

    fn output<'a>(&'a mut self, current: &Current<'a>) -> Output<'a> {
        Output::new(
            &mut self.writer,
            current.step,
            current.at.index,
            current.number,
            &self.to.name,
            &self.engine.settings,
        )
    }

    /// A command ran as the other user, so the password is right.
    fn became(&mut self, escalate: Option<&Become>) {
        if escalate.is_some_and(|escalate| escalate.password.is_some()) {
            self.engine.trial.worked();
            self.trial = None;
        }
    }
}

impl crate::engine::Engine {
    /// Records that durable work has begun, without waiting for the commit.
    pub(crate) fn note_begun(
        &self,
        host: &reveille_account::HostName,
        at: &StepRef,
        attempt: u32,
        begun: &Begun,
    ) -> Ticket {
        let event = EventKind::StepBegan {
            step: at.clone(),
            attempt,
            pid: begun.pid,
            born: begun.born.clone(),
        };
        self.handle.submit(vec![Entry::host(host, event)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Waits;

    /// The size of a call's future, without making the call.
    fn one<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    fn two<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// One future per session exists, and most of them wait for a command's output. Measures all futures that wait
    /// then.
    #[test]
    fn a_host_that_waits_for_a_command_takes_little() {
        let live = one(HostTask::live);
        let start = two(|task: &'static mut HostTask, permit: &'static Permit| task.start(permit));
        let plainly = one(|(task, session, current, permit, work): Plainly<'static>| {
            task.start_plainly(session, current, permit, work)
        });
        let durably = one(|(task, session, current, permit, payload): Durably<'static>| {
            task.start_durably(session, current, permit, payload)
        });
        let run = one(
            |(way, escalate, command, pty, waits, limits, output): Run<'static>| {
                plain::plain(way, escalate, command, pty, waits, limits, output)
            },
        );
        let following = one(
            |(task, session, current, machine, key, work, limits): Following<'static>| {
                task.follow(session, current, machine, key, None, work, limits, false)
            },
        );
        let follow = one(
            |(way, escalate, key, work, number, beginning, limits, output): Follow<'static>| {
                durable::durable(way, escalate, key, work, number, beginning, limits, output)
            },
        );
        let of_a_plain_one = live + start + plainly + run;
        let of_a_durable_one = live + start + durably + following + follow;
        let words = format!(
            "live {live}, start {start}, plainly {plainly}, durably {durably}, following {following}, run {run}, follow {follow}"
        );
        assert!(of_a_plain_one <= 4608, "{of_a_plain_one}: {words}");
        assert!(of_a_durable_one <= 6144, "{of_a_durable_one}: {words}");
        // The state that all of them borrow.
        assert!(size_of::<HostTask>() <= 2048, "{}", size_of::<HostTask>());
    }

    type Plainly<'a> = (
        &'a mut HostTask,
        &'a Session,
        &'a Current<'a>,
        &'a Permit,
        &'a Work,
    );
    type Durably<'a> = (
        &'a mut HostTask,
        &'a Session,
        &'a Current<'a>,
        &'a Permit,
        &'a Payload,
    );
    type Run<'a> = (
        &'a Way<'a>,
        Option<&'a Become>,
        &'a str,
        bool,
        Option<&'a Waits>,
        &'a Limits,
        &'a mut Output<'a>,
    );
    type Following<'a> = (
        &'a mut HostTask,
        &'a Session,
        &'a Current<'a>,
        &'a MachineRef,
        &'a Key,
        Box<Durable>,
        &'a Limits,
    );
    type Follow<'a> = (
        &'a Way<'a>,
        Option<&'a Become>,
        &'a Key,
        Box<Durable>,
        u32,
        &'a mut Beginning,
        &'a Limits,
        &'a mut Output<'a>,
    );
}
