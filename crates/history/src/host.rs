//! A host's history: the fold of its events.

use reveille_account::{Class, EventKind, Loss, MachineRef, Rung, Status};

use crate::attempt::{Attempt, Intent, Kind, State};
use crate::rule::Rule;

/// What is known about a host, from its events alone. Texts are dropped, except those of attempts without a recorded
/// end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct HostHistory {
    round: u32,
    dispatched: bool,
    /// The outcome in this round.
    outcome: Option<Class>,
    connects: u32,
    /// Retries used in this round.
    spent: u32,
    /// How often the host's machine was replaced.
    replacements: u32,
    /// The address of the current machine, if it is a replacement.
    address: Option<Box<(String, u16)>>,
    /// Routes given up in this round.
    route: u32,
    rungs: Rungs,
    trouble: Trouble,
    attempts: Vec<Attempt>,
    steps: Vec<Record>,
    /// Something failed in this round and the host recovered.
    recovered: bool,
    /// The connection has not failed since the latest attempt was recorded.
    undisturbed: bool,
    /// Something ran in this round.
    ran: bool,
    /// The wait before the next attempt is over.
    waited: bool,
}

/// The recoveries of this round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rungs {
    count: u32,
    rebooted: bool,
    /// A replacement was requested.
    asked: bool,
    /// The class with which the replaced machine had failed.
    replaced: Option<Class>,
    repaired: Vec<u32>,
}

/// What is known about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    step: u32,
    /// The highest attempt number in all rounds and on all machines.
    highest: u32,
    /// Attempts used up since the last recovery or round.
    counted: u32,
    /// The class of the last attempt on the current machine in this round; also set by a skip.
    last: Option<Class>,
    touched: Touched,
}

/// Whether a step may have changed something for a host that has not succeeded since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touched {
    /// Nothing.
    Nothing,
    /// The host's own machine.
    Own,
    /// The machine that the step runs on for the host; a replacement of the host keeps this.
    Delegate,
}

/// A host's failure and its handling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// It failed, and nothing has been decided yet.
    Stands(Class, Option<u32>),
    /// It failed, and this rung is being taken.
    Healing(Class, Option<u32>, Rung),
    /// It failed, and no further recovery is tried.
    GivenUp(Class),
}

/// Events that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host's events contradict each other: {0}")]
pub struct Unfit(String);

// === impl HostHistory ===

impl HostHistory {
    /// An empty history that starts at this round.
    pub fn new(round: u32) -> Self {
        Self {
            round,
            dispatched: false,
            outcome: None,
            connects: 0,
            spent: 0,
            replacements: 0,
            address: None,
            route: 0,
            rungs: Rungs::default(),
            trouble: Trouble::None,
            attempts: Vec::new(),
            steps: Vec::new(),
            recovered: false,
            undisturbed: false,
            ran: false,
            waited: false,
        }
    }

    /// The current round.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Whether it was handed to the engine in this round.
    pub fn is_dispatched(&self) -> bool {
        self.dispatched
    }

    /// The class of its outcome in this round.
    pub fn outcome(&self) -> Option<Class> {
        self.outcome
    }

    /// Connection tries to the host itself in this round, without throttled ones.
    pub fn connects(&self) -> u32 {
        self.connects
    }

    /// Retries used in this round.
    pub fn spent(&self) -> u32 {
        self.spent
    }

    /// The host's current machine.
    pub fn own(&self) -> MachineRef {
        MachineRef::Own(self.replacements)
    }

    /// The address of the current machine, if it is a replacement.
    pub fn address(&self) -> Option<(&str, u16)> {
        self.address
            .as_deref()
            .map(|(address, port)| (address.as_str(), *port))
    }

    /// How many routes were given up in this round.
    pub fn route(&self) -> u32 {
        self.route
    }

    /// The host's failure, if it has one.
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// The attempts that are not settled, oldest first.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The attempt of a step with this number, if it is not settled.
    pub fn attempt(&self, step: u32, number: u32) -> Option<&Attempt> {
        self.attempts
            .iter()
            .rev()
            .find(|attempt| (attempt.step, attempt.number) == (step, number))
    }

    /// Whether something failed in this round and the host recovered.
    pub fn is_recovered(&self) -> bool {
        self.recovered
    }

    /// Whether anything ran in this round.
    pub fn has_run(&self) -> bool {
        self.ran
    }

    /// Attempts of a step used up since the last recovery or round.
    pub fn counted(&self, step: u32) -> u32 {
        self.record(step).map_or(0, |record| record.counted)
    }

    /// How the last attempt of a step ended in this round, on the current machine.
    pub fn last(&self, step: u32) -> Option<Class> {
        self.record(step)?.last
    }

    pub(crate) fn next_number(&self, step: u32) -> u32 {
        let highest = self.record(step).map_or(0, |record| record.highest);
        let in_use = if Rule::NumbersOnce.holds(false) {
            0
        } else {
            highest
        };
        in_use + 1
    }

    pub(crate) fn has_waited(&self) -> bool {
        self.waited
    }

    pub(crate) fn recoveries(&self) -> u32 {
        self.rungs.count
    }

    pub(crate) fn is_rebooted(&self) -> bool {
        self.rungs.rebooted
    }

    pub(crate) fn has_asked_for_another(&self) -> bool {
        self.rungs.asked
    }

    pub(crate) fn replaced(&self) -> Option<Class> {
        self.rungs.replaced
    }

    pub(crate) fn is_repaired(&self, step: u32) -> bool {
        self.rungs.repaired.contains(&step)
    }

    /// Whether an attempt that was left behind in this round may still run on the host's own machine.
    pub fn has_left(&self) -> bool {
        let own = self.own();
        self.attempts
            .iter()
            .any(|attempt| attempt.machine == own && attempt.is_open() && attempt.is_left(self.round))
    }

    /// Whether anything may still run on the host's own machine, as far as this round knows: an attempt that was left
    /// behind or wiped, or a plain one that did not run again since.
    pub(crate) fn may_run_still(&self) -> bool {
        let own = self.own();
        // A plain attempt that ran again has no say: more has been started beside it since.
        let anew = |step| {
            let last = self.last(step);
            last.is_some_and(|class| class != Loss::Plain.class())
        };
        self.has_left()
            || self.attempts.iter().any(|attempt| {
                attempt.machine == own
                    && attempt.round == self.round
                    && match attempt.state {
                        State::Lost(Loss::Plain) => !anew(attempt.step),
                        State::Lost(Loss::Wiped) => true,
                        _ => false,
                    }
            })
    }

    /// Whether an earlier attempt of a step changed the host, or may have, and the host has not succeeded since: in this
    /// round or an earlier one, on the current machine.
    pub fn has_changed(&self, step: u32) -> bool {
        self.record(step)
            .is_some_and(|record| record.touched != Touched::Nothing)
    }

    fn record(&self, step: u32) -> Option<&Record> {
        self.steps.iter().find(|record| record.step == step)
    }

    fn record_mut(&mut self, step: u32) -> &mut Record {
        let at = self.steps.iter().position(|record| record.step == step);
        let at = at.unwrap_or_else(|| {
            self.steps.push(Record {
                step,
                highest: 0,
                counted: 0,
                last: None,
                touched: Touched::Nothing,
            });
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }

    /// Applies an event of this round.
    ///
    /// # Errors
    ///
    /// When it contradicts the events before it.
    pub fn apply(&mut self, round: u32, kind: &EventKind) -> Result<(), Unfit> {
        self.begin(round);
        match kind {
            EventKind::Dispatched => self.dispatched = true,
            EventKind::Connecting { machine, .. } => {
                self.connects += u32::from(machine.delegate().is_none());
            }
            EventKind::ConnectFailed {
                machine,
                throttled,
                retry_in_ms,
                away,
                ..
            } => {
                if *throttled {
                    let own = u32::from(machine.delegate().is_none());
                    self.connects = self.connects.saturating_sub(own);
                } else {
                    self.spent += u32::from(retry_in_ms.is_some() && !away);
                    self.recovered = true;
                    self.undisturbed = false;
                }
            }
            EventKind::StepStarted { .. } => self.start(kind),
            EventKind::StepBegan {
                step,
                attempt,
                pid,
                born,
            } => {
                let attempt = self.find(step.index, *attempt)?;
                attempt.state = State::Begun;
                if let Kind::Durable(intent) = &mut attempt.kind {
                    intent.begun = Some((*pid, born.clone()));
                }
            }
            EventKind::StepFinished {
                step,
                attempt,
                class,
                changed,
                ..
            } => self.finish(step.index, *attempt, *class, *changed)?,
            EventKind::StepLost {
                step, attempt, loss, ..
            } => self.lose(step.index, *attempt, *loss)?,
            EventKind::StepLeft { step, attempt, .. } => {
                let round = self.round;
                self.find(step.index, *attempt)?.left = Some(round);
            }
            EventKind::StepSkipped { step, .. } => {
                self.record_mut(step.index).last = Some(Class::NothingToDo);
            }
            EventKind::ConnectionLost { .. } => {
                self.recovered = true;
                self.undisturbed = false;
            }
            EventKind::Recovering { rung, .. } => self.recover(*rung),
            EventKind::Healed { .. } => self.overcome(),
            EventKind::RungFailed { .. } => {
                if let Trouble::Healing(class, step, _) = self.trouble {
                    self.trouble = Trouble::Stands(class, step);
                }
            }
            EventKind::HostFailed { outcome } => {
                let step = outcome.step.as_ref().map(|step| step.index);
                self.trouble = Trouble::Stands(outcome.class, step);
            }
            EventKind::GaveUp { class, .. } => self.trouble = Trouble::GivenUp(*class),
            EventKind::Replaced { address, port } => self.replace(address, *port),
            EventKind::OutcomeReached { outcome } => {
                if self.outcome.is_some() {
                    return Err(Unfit("it has two outcomes".to_owned()));
                }
                self.outcome = Some(outcome.class);
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins a later round. It keeps only attempts that may still run, the attempt numbers in use, and what steps
    /// changed before the host failed.
    pub fn begin(&mut self, round: u32) {
        if round > self.round {
            self.begin_round(round);
        }
    }

    fn begin_round(&mut self, round: u32) {
        self.attempts.retain(Attempt::is_open);
        let succeeded = self
            .outcome
            .is_some_and(|class| class.status() == Status::Success);
        for record in &mut self.steps {
            record.counted = 0;
            record.last = None;
            if succeeded {
                record.touched = Touched::Nothing;
            }
        }
        *self = Self {
            replacements: self.replacements,
            address: self.address.take(),
            attempts: std::mem::take(&mut self.attempts),
            steps: std::mem::take(&mut self.steps),
            ..Self::new(round)
        };
    }

    fn start(&mut self, kind: &EventKind) {
        let EventKind::StepStarted {
            step,
            attempt,
            token,
            place,
            boot,
            machine,
            user,
            site,
            ..
        } = kind
        else {
            return;
        };
        let kind = match (token, boot) {
            (Some(token), _) => Kind::Durable(Box::new(Intent {
                token: *token,
                place: place.clone(),
                user: user.clone(),
                site: site.clone(),
                begun: None,
            })),
            (None, Some(boot)) => Kind::Reboot(boot.clone()),
            (None, None) => Kind::Plain,
        };
        self.waited = false;
        self.undisturbed = true;
        let record = self.record_mut(step.index);
        record.highest = record.highest.max(*attempt);
        // Older programs record an attempt again when they learn its directory, or when they resume it.
        let again = self.attempts.iter_mut().rev().find(|known| {
            (known.step, known.number) == (step.index, *attempt)
                && known.intent().map(|intent| intent.token) == *token
                && known.is_open()
        });
        if let Some(known) = again {
            if let (Kind::Durable(known), Kind::Durable(new)) = (&mut known.kind, kind) {
                let begun = known.begun.take();
                **known = Intent { begun, ..*new };
            }
            return;
        }
        self.attempts.push(Attempt {
            round: self.round,
            step: step.index,
            number: *attempt,
            machine: machine.clone(),
            kind,
            state: State::Intended,
            left: None,
        });
    }

    fn find(&mut self, step: u32, number: u32) -> Result<&mut Attempt, Unfit> {
        self.attempts
            .iter_mut()
            .rev()
            .find(|attempt| (attempt.step, attempt.number) == (step, number) && attempt.is_open())
            .ok_or_else(|| Unfit(format!("attempt {number} of step {} never started", step + 1)))
    }

    fn take(&mut self, step: u32, number: u32) -> Result<Attempt, Unfit> {
        self.find(step, number)?;
        let at = self
            .attempts
            .iter()
            .rposition(|attempt| (attempt.step, attempt.number) == (step, number) && attempt.is_open())
            .unwrap_or_default();
        Ok(self.attempts.remove(at))
    }

    fn finish(&mut self, step: u32, number: u32, class: Class, changed: bool) -> Result<(), Unfit> {
        let attempt = self.take(step, number)?;
        self.ran = true;
        self.waited = false;
        let here = attempt.round == self.round;
        let well = class.status() == Status::Success;
        // An attempt of an earlier round that failed does not count in this round: the step runs again.
        self.recovered |= !here && !well;
        if changed {
            self.touch(&attempt);
        }
        let record = self.record_mut(step);
        record.counted += u32::from(here);
        if here || well {
            record.last = Some(class);
        }
        Ok(())
    }

    /// Remembers that an attempt changed something, or may have.
    fn touch(&mut self, attempt: &Attempt) {
        self.record_mut(attempt.step).touched = match attempt.machine.delegate() {
            Some(_) => Touched::Delegate,
            None => Touched::Own,
        };
    }

    fn lose(&mut self, step: u32, number: u32, loss: Loss) -> Result<(), Unfit> {
        let mut attempt = self.take(step, number)?;
        self.waited = false;
        // The controller died between the intent and the start, which is no failure of the host.
        if loss == Loss::Buried && self.undisturbed && attempt.intent().is_some() {
            return Ok(());
        }
        self.recovered = true;
        let here = attempt.round == self.round;
        if loss != Loss::Buried {
            self.touch(&attempt);
        }
        if loss != Loss::Buried && here {
            self.ran = true;
            attempt.state = State::Lost(loss);
            self.attempts.push(attempt);
        }
        if here {
            let record = self.record_mut(step);
            // A lost connection does not use up an attempt; a command that vanished does.
            record.counted += u32::from(loss == Loss::Gone);
            record.last = Some(loss.class());
        }
        Ok(())
    }

    fn recover(&mut self, rung: Option<Rung>) {
        self.recovered = true;
        let Some(rung) = rung else {
            self.spent += 1;
            self.waited = true;
            return;
        };
        self.rungs.count += 1;
        match rung {
            Rung::Route => {
                self.route += 1;
                let (own, round) = (self.own(), self.round);
                for attempt in &mut self.attempts {
                    if attempt.machine == own && attempt.is_left(round) {
                        attempt.left = None;
                    }
                }
                self.overcome();
                return;
            }
            Rung::Repair(step) => self.rungs.repaired.push(step),
            Rung::Reboot => self.rungs.rebooted = true,
            Rung::Replace => {}
        }
        if let Trouble::Stands(class, step) = self.trouble {
            self.rungs.asked |= rung == Rung::Replace;
            self.trouble = Trouble::Healing(class, step, rung);
        }
    }

    /// Ends the failure: its step starts over.
    fn overcome(&mut self) {
        if let Trouble::Stands(_, Some(step)) | Trouble::Healing(_, Some(step), _) = self.trouble {
            let record = self.record_mut(step);
            if record.last.is_some_and(|last| last.status() != Status::Success) {
                record.last = None;
            }
            record.counted = 0;
        } else {
            // The host became unreachable during a step that had been lost before.
            let lost = |record: &&mut Record| record.last == Some(Class::ConnectionLost);
            for record in self.steps.iter_mut().filter(lost) {
                record.last = None;
                record.counted = 0;
            }
        }
        self.trouble = Trouble::None;
        self.waited = false;
    }

    /// Switches to another machine, on which nothing has run yet.
    fn replace(&mut self, address: &str, port: u16) {
        self.attempts
            .retain(|attempt| attempt.machine.delegate().is_some());
        self.replacements += 1;
        if let Trouble::Healing(class, ..) = self.trouble {
            self.rungs.replaced = Some(class);
        }
        self.address = Some(Box::new((address.to_owned(), port)));
        for record in &mut self.steps {
            record.counted = 0;
            record.last = None;
            if record.touched == Touched::Own {
                record.touched = Touched::Nothing;
            }
        }
        self.trouble = Trouble::None;
        self.waited = false;
    }
}
