//! The one decision: what a host does next.

use std::sync::Arc;

use reveille_account::{Class, Loss, MachineRef, Rung, Status};

use crate::attempt::{Forbidden, Permit, may_start};
use crate::gatekeeper::{Case, Ruling};
use crate::host::{HostHistory, Trouble};
use crate::outline::{Outline, Role, StepOutline};
use crate::rule::Rule;
use crate::run::OnceState;

/// What this process alone has; empty after a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The machine that a session stands to.
    pub session: Option<MachineRef>,
    /// The step that is prepared, and the machine that it runs on.
    pub prepared: Option<(u32, MachineRef)>,
}

/// What a host sees of the run.
#[derive(Debug, Clone, Default)]
pub struct RunView {
    /// What became of the steps that run once for all hosts.
    pub once: Arc<[(u32, OnceState)]>,
    /// The class with which many hosts fail alike.
    pub suspected: Option<Class>,
    /// The run is being stopped.
    pub stop: bool,
}

/// What a host does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Connects to a machine.
    Connect(MachineRef),
    /// Asks what became of an open attempt: its step and number.
    Attach(u32, u32),
    /// Asks for facts, fills in the templates of a step, sees whether it is to be skipped.
    Prepare(u32),
    /// Starts an attempt.
    Start(Permit),
    /// Passes a step over.
    Skip(u32, SkipReason),
    /// A step that runs once for all hosts is done: they are told.
    SettleOnce(u32),
    /// Takes a rung of the ladder.
    Heal(Rung),
    /// Reboots the host, to heal it.
    Reboot(Permit),
    /// Has another machine put in the host's place.
    Replace,
    /// A rung worked.
    Healed(Rung),
    /// A rung did not come about.
    RungFailed(Rung),
    /// Waits.
    Wait(For),
    /// The host failed.
    Fail(Failure),
    /// Nothing more is tried to bring it back; the class, and the gatekeeper's sentence.
    GiveUp(Class, String),
    /// The host has its outcome.
    Conclude(End),
    /// Nothing: the run is being stopped, or the outcome is on record.
    Leave,
}

/// Why a step is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It ran once, on the first host.
    OnceDone,
    /// The host could not be reached.
    Unreachable,
    /// Work that was left on the host may still run.
    Left,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The step that runs once for all hosts.
    Once(u32),
    /// The moment of the next attempt of a step, after this failure.
    Again(u32, Class),
}

/// Why a host failed at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Its attempts are used up; the last one ended so.
    Attempts(u32, Class),
    /// It is not known whether it ran, and it may not run twice.
    Unknown(u32, Loss),
    /// Something may still run beside which it may not start.
    Open(u32),
    /// It runs once for all hosts, and failed.
    Once(u32),
}

/// How a host ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All steps did what they should.
    Success(Class),
    /// It failed with this class; the gatekeeper's sentence, unless that was on record already.
    Failure(Class, Option<String>),
}

/// What a host does next.
pub fn decide(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>) -> Next {
    if history.outcome().is_some() {
        return Next::Leave;
    }
    let next = open_attempt(history, held)
        .or_else(|| trouble(history, held, view, outline))
        .or_else(|| main_step(history, held, view, outline))
        .unwrap_or_else(|| Next::Conclude(End::Success(success(history))));
    match next {
        // Once the run is to stop, what is known is still told, and nothing more is done.
        Next::Fail(_)
        | Next::GiveUp(..)
        | Next::Healed(_)
        | Next::RungFailed(_)
        | Next::SettleOnce(_)
        | Next::Conclude(_) => next,
        _ if view.stop => Next::Leave,
        next => next,
    }
}

/// An attempt that may still run is asked for before anything else is done.
fn open_attempt(history: &HostHistory, held: &Held) -> Option<Next> {
    let attempt = history
        .attempts()
        .iter()
        .find(|attempt| Rule::AttachFirst.demands(attempt.is_open() && !attempt.is_left(history.round())))?;
    let machine = if Rule::MachineAsRecorded.holds(false) {
        history.own()
    } else {
        attempt.machine.clone()
    };
    // Of what is not durable there is nothing to ask; what is booted again is looked for over many connections.
    let needs_session = attempt.intent().is_some();
    Some(if needs_session && held.session.as_ref() != Some(&machine) {
        Next::Connect(machine)
    } else {
        Next::Attach(attempt.step, attempt.number)
    })
}

/// What is done about a failure.
fn trouble(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>) -> Option<Next> {
    match history.trouble() {
        Trouble::None => None,
        Trouble::Stands(class, step) => {
            let (class, why) = match Case::of(history, view, outline, class, step).rule(class) {
                Ruling::Recover(rung) => return Some(Next::Heal(rung)),
                Ruling::GiveUp(why) => (class, why),
                Ruling::Quarantine(class, why) => (class, why),
            };
            Some(if outline.job.rescues() {
                Next::GiveUp(class, why)
            } else {
                Next::Conclude(End::Failure(class, Some(why)))
            })
        }
        Trouble::Healing(_, _, rung) => Some(heal(history, held, view, outline, rung)),
        Trouble::GivenUp(class) => Some(rescue(history, held, view, outline, class)),
    }
}

fn heal(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>, rung: Rung) -> Next {
    match rung {
        // It is taken with its event.
        Rung::Route => Next::Healed(rung),
        Rung::Replace => Next::Replace,
        Rung::Repair(index) => match turn(history, held, view, outline, index) {
            Turn::Over(true) => Next::Healed(rung),
            Turn::Over(false) | Turn::Next(Next::Fail(_)) => Next::RungFailed(rung),
            Turn::Next(next) => next,
        },
        Rung::Reboot => {
            let index = outline.job.healing_reboot();
            match history.last(index) {
                Some(class) if class.status() == Status::Success => Next::Healed(rung),
                Some(_) => Next::RungFailed(rung),
                None => match may_start(history, index, &history.own(), false) {
                    Ok(_) if held.session.as_ref() != Some(&history.own()) => Next::Connect(history.own()),
                    Ok(permit) => Next::Reboot(permit),
                    Err(_) => Next::RungFailed(rung),
                },
            }
        }
    }
}

/// What the job does on hosts that failed, as far as that may start; then the outcome.
fn rescue(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>, class: Class) -> Next {
    for (index, step) in outline.job.of_role(|role| *role == Role::OnFailed) {
        if history.last(index).is_none() && !step.elsewhere {
            if history.may_run_still() {
                return Next::Skip(index, SkipReason::Left);
            }
            if class.is_connection() {
                return Next::Skip(index, SkipReason::Unreachable);
            }
        }
        match turn(history, held, view, outline, index) {
            Turn::Over(true) => {}
            Turn::Over(false) | Turn::Next(Next::Fail(_)) => break,
            Turn::Next(next) => return next,
        }
    }
    Next::Conclude(End::Failure(class, None))
}

fn main_step(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>) -> Option<Next> {
    for (index, step) in outline.job.of_role(|role| *role == Role::Main) {
        match turn(history, held, view, outline, index) {
            Turn::Over(_) if step.once && outline.leads && once_of(view, index).is_none() => {
                return Some(Next::SettleOnce(index));
            }
            Turn::Over(_) => {}
            Turn::Next(next) => return Some(next),
        }
    }
    None
}

/// A step's turn.
enum Turn {
    /// It is done, or its failure is not held against the host; or, if false, it failed and that is known.
    Over(bool),
    /// This comes next of it.
    Next(Next),
}

fn turn(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>, index: u32) -> Turn {
    let Some(step) = outline.job.step(index) else {
        return Turn::Over(false);
    };
    let last = history.last(index);
    if last.is_some_and(|class| class.status() == Status::Success) {
        return Turn::Over(true);
    }
    if step.once
        && let Some(next) = once(view, outline, index)
    {
        return Turn::Next(next);
    }
    let known = held.prepared.as_ref().filter(|(prepared, _)| *prepared == index);
    let machine = known.map_or_else(|| history.own(), |(_, machine)| machine.clone());
    if let Some(class) = last
        && let Some(over) = after_failure(history, outline, index, step, class, &machine)
    {
        return over;
    }
    if known.is_none() {
        return Turn::Next(Next::Prepare(index));
    }
    Turn::Next(match may_start(history, index, &machine, step.idempotent) {
        Ok(_) if held.session.as_ref() != Some(&machine) => Next::Connect(machine),
        Ok(permit) => Next::Start(permit),
        Err(Forbidden::Open) => Next::Fail(Failure::Open(index)),
        Err(Forbidden::Unknown(loss)) => Next::Fail(Failure::Unknown(index, loss)),
    })
}

/// What follows an attempt that failed; nothing if another one is due now.
fn after_failure(
    history: &HostHistory,
    outline: &Outline<'_>,
    index: u32,
    step: &StepOutline,
    class: Class,
    machine: &MachineRef,
) -> Option<Turn> {
    if let Err(Forbidden::Unknown(loss)) = may_start(history, index, machine, step.idempotent) {
        return Some(Turn::Next(Next::Fail(Failure::Unknown(index, loss))));
    }
    let attempts = Rule::AttemptsBounded.holds(history.counted(index) < step.attempts.max(1));
    // Who has waited has taken its part of the budget already.
    let waited = history.has_waited();
    let budget = waited || Rule::BudgetBounded.holds(history.spent() < outline.job.budget);
    if class.may_pass() && attempts && budget {
        let next = Turn::Next(Next::Wait(For::Again(index, class)));
        return (!waited).then_some(next);
    }
    if step.ignore_errors {
        return Some(Turn::Over(true));
    }
    Some(match history.trouble() {
        // That it failed is known; what follows is decided above.
        Trouble::Healing(..) | Trouble::GivenUp(_) => Turn::Over(false),
        _ => Turn::Next(Next::Fail(Failure::Attempts(index, class))),
    })
}

/// What comes next of a step that runs once for all hosts; nothing if it is this host that runs it.
fn once(view: &RunView, outline: &Outline<'_>, index: u32) -> Option<Next> {
    let settled = once_of(view, index).filter(|_| Rule::OnceIsOnce.demands(true) || !outline.leads);
    match settled {
        Some(OnceState::Done) => Some(Next::Skip(index, SkipReason::OnceDone)),
        Some(OnceState::Failed) if !outline.leads => Some(Next::Fail(Failure::Once(index))),
        _ if outline.leads => None,
        _ => Some(Next::Wait(For::Once(index))),
    }
}

/// What is known of a step that runs once for all hosts.
pub fn once_of(view: &RunView, index: u32) -> Option<OnceState> {
    view.once
        .iter()
        .find(|(step, state)| *step == index && *state != OnceState::Open)
        .map(|(_, state)| *state)
}

fn success(history: &HostHistory) -> Class {
    if history.is_recovered() {
        Class::OkAfterRecovery
    } else if history.has_run() {
        Class::Ok
    } else {
        Class::NothingToDo
    }
}
