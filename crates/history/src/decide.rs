//! Decides what a host does next.

use reveille_account::{Class, Loss, MachineRef, Rung, Status};

use crate::gatekeeper::{Case, Ruling};
use crate::host::{HostHistory, Trouble};
use crate::outline::{Outline, Role, StepOutline};
use crate::permit::{Forbidden, Permit, may_start};
use crate::rule::Rule;
use crate::run::OnceState;
use crate::view::RunView;

/// The state that only this process has; empty after a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The machine that the open session leads to.
    pub session: Option<MachineRef>,
    /// The prepared step, and the machine that it runs on.
    pub prepared: Option<(u32, MachineRef)>,
}

/// What a host does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Connects to a machine.
    Connect(MachineRef),
    /// Asks what became of an open attempt, given by step and number.
    Attach(u32, u32),
    /// Gathers facts, renders the step's templates and checks its condition.
    Prepare(u32),
    /// Starts an attempt.
    Start(Permit),
    /// Skips a step.
    Skip(u32, SkipReason),
    /// Reports that a `once` step is done, to release the other hosts.
    SettleOnce(u32),
    /// Takes a rung of the ladder.
    Heal(Rung),
    /// Reboots the host to recover it.
    Reboot(Permit),
    /// Asks for another machine in the host's place.
    Replace,
    /// A rung worked.
    Healed(Rung),
    /// A rung failed.
    RungFailed(Rung),
    /// Waits.
    Wait(For),
    /// The host failed.
    Fail(Failure),
    /// No further recovery is tried; the class and the gatekeeper's reason.
    GiveUp(Class, String),
    /// Records the host's outcome.
    Conclude(End),
    /// Does nothing: the run is being stopped, or the outcome is on record.
    Leave,
}

/// Why a step is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It ran once, on the first host.
    OnceDone,
    /// The host could not be reached.
    Unreachable,
    /// Work left on the host may still run.
    Left,
}

/// What a host waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A `once` step that another host runs.
    Once(u32),
    /// The delay before the next attempt of a step, which failed with this class.
    Again(u32, Class),
}

/// Why a host failed at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Its attempts are used up; the last one failed with this class.
    Attempts(u32, Class),
    /// It is unknown whether it ran, and it may not run twice.
    Unknown(u32, Loss),
    /// An attempt may still run, and the step may not start beside it.
    Open(u32),
    /// It is a `once` step and failed.
    Once(u32),
}

/// How a host ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every step succeeded.
    Success(Class),
    /// It failed with this class; the gatekeeper's reason, unless it is on record already.
    Failure(Class, Option<String>),
}

/// Decides what a host does next.
pub fn decide(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>) -> Next {
    if history.outcome().is_some() {
        return Next::Leave;
    }
    let next = open_attempt(history, held)
        .or_else(|| trouble(history, held, view, outline))
        .or_else(|| main_step(history, held, view, outline))
        .unwrap_or_else(|| Next::Conclude(End::Success(success(history))));
    match next {
        // A stopping run still records what is known, and starts nothing.
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

/// Asks about an attempt that may still run before anything else happens.
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
    // Plain attempts leave nothing to ask about; for a reboot, attaching makes its own connections.
    let needs_session = attempt.intent().is_some();
    Some(if needs_session && held.session.as_ref() != Some(&machine) {
        Next::Connect(machine)
    } else {
        Next::Attach(attempt.step, attempt.number)
    })
}

/// Decides how to handle a failure.
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
        // Recording the rung already switches the route.
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

/// Runs the job's `on_failed` steps as far as they may start, then concludes.
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

/// The state of a step.
enum Turn {
    /// It is done or its failure is ignored (true), or it failed and the failure is recorded (false).
    Over(bool),
    /// It needs this next.
    Next(Next),
}

fn turn(history: &HostHistory, held: &Held, view: &RunView, outline: &Outline<'_>, index: u32) -> Turn {
    let Some(step) = outline.job.step(index) else {
        return Turn::Over(false);
    };
    if outline.absent.binary_search(&index).is_ok() {
        return Turn::Over(true);
    }
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

/// Decides what follows a failed attempt; `None` if the next one is due now.
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
    // A host that has waited has already paid for the retry.
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
        // The failure is recorded; the caller decides what follows.
        Trouble::Healing(..) | Trouble::GivenUp(_) => Turn::Over(false),
        _ => Turn::Next(Next::Fail(Failure::Attempts(index, class))),
    })
}

/// Decides what a `once` step needs next; `None` if this host is the one to run it.
fn once(view: &RunView, outline: &Outline<'_>, index: u32) -> Option<Next> {
    let settled = once_of(view, index).filter(|_| Rule::OnceIsOnce.demands(true) || !outline.leads);
    match settled {
        Some(OnceState::Done) => Some(Next::Skip(index, SkipReason::OnceDone)),
        Some(OnceState::Failed) if !outline.leads => Some(Next::Fail(Failure::Once(index))),
        _ if outline.leads => None,
        _ => Some(Next::Wait(For::Once(index))),
    }
}

/// The result of a `once` step, if it is known.
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
