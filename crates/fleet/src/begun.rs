//! What earlier controllers and rounds began of a step: the attempt that is taken up, and the numbers that are taken.

use reveille_account::{Chosen, Status, Token};
use reveille_job::{Role, Step};

use crate::host::{Halt, HostTask};
use crate::step::failed;

/// An attempt that is under way, or was when an earlier controller died.
pub(crate) struct Current {
    pub(crate) attempt: u32,
    pub(crate) token: Option<Token>,
    pub(crate) place: Option<String>,
    /// Its intent is on record.
    pub(crate) intended: bool,
    /// It was an earlier controller that began it.
    pub(crate) inherited: bool,
    /// It is of an earlier round: if it did not succeed, it uses up no attempt of this one.
    pub(crate) orphan: bool,
    /// The deadlines that were chosen for it, until they are on record.
    pub(crate) chosen: Option<Box<Chosen>>,
}

impl HostTask {
    /// The attempt that an earlier controller had begun, if its end is not on record.
    pub(crate) fn resumed(&self, index: usize) -> Option<Current> {
        let intent = self.plan.before.as_ref()?.intent.as_ref()?;
        (intent.step.index as usize == index && !intent.finished).then(|| Current {
            // A command that is not durable runs anew, and its output is not to be mixed with what came before.
            attempt: intent.attempt + u32::from(intent.token.is_none()),
            token: intent.token,
            place: intent.place.clone(),
            intended: true,
            inherited: true,
            orphan: false,
            chosen: None,
        })
    }

    /// Durable work of an earlier round whose end nobody saw. It is attached to, wherever it stands by now: a second
    /// run of the same step beside it is what must not happen.
    pub(crate) fn orphaned(&self, index: usize) -> Option<Current> {
        let before = self.plan.before.as_ref()?;
        let intent = before.orphan.as_ref()?;
        let fresh = before
            .intent
            .as_ref()
            .is_none_or(|intent| (intent.step.index as usize) < index);
        (intent.step.index as usize == index && fresh).then(|| Current {
            attempt: 1,
            token: intent.token,
            place: intent.place.clone(),
            intended: false,
            inherited: true,
            orphan: true,
            chosen: None,
        })
    }

    /// The failure that an earlier controller had come to, if it used up all attempts and died over what follows one.
    pub(crate) fn given_up_before(&self, index: usize, step: &Step, attempts: u32) -> Option<Halt> {
        if step.role != Role::Main || attempts < step.attempts {
            return None;
        }
        let results = &self.plan.before.as_ref()?.results;
        let last = results
            .iter()
            .rev()
            .find(|result| result.step.index as usize == index && result.attempt > 0)?;
        (last.class.status() == Status::Failed).then(|| {
            let message = format!("the last of {attempts} attempts failed before the controller ended");
            failed(&last.step, last.class, message)
        })
    }

    /// How many attempts of a step have a result, and the highest number that one began with.
    pub(crate) fn attempts_before(&self, index: usize) -> (u32, u32) {
        let Some(before) = &self.plan.before else {
            return (0, 0);
        };
        let of_step = before
            .results
            .iter()
            .filter(|result| result.step.index as usize == index && result.attempt > 0);
        let finished = u32::try_from(of_step.clone().count()).unwrap_or(u32::MAX);
        let begun = before
            .intent
            .iter()
            .filter(|intent| intent.step.index as usize == index)
            .map(|intent| intent.attempt + u32::from(intent.token.is_none() && !intent.finished));
        (
            finished,
            of_step
                .map(|result| result.attempt)
                .chain(begun)
                .max()
                .unwrap_or(0),
        )
    }

    /// The number of the next attempt of a step.
    pub(crate) fn next_attempt(&self, index: usize) -> u32 {
        let begun = self.begun.get(&index).copied().unwrap_or_default();
        self.attempts_before(index).1.max(begun) + 1
    }
}
