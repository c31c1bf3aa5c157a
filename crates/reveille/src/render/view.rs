//! Makes the view of a run, which its screens are drawn from.

use reveille_account::RunId;
use reveille_fleet::RunRecipe;
use reveille_job::Step;
use reveille_ledger::Ledger;
use reveille_view::{Head, RunView};

use crate::failure::Failure;

/// The view of a run's newest round before its first event, and the number of the event before that.
pub(crate) fn begin(
    ledger: &Ledger,
    run: RunId,
    planned: u64,
    recipe: &RunRecipe,
) -> Result<(RunView, u64), Failure> {
    let (before, after) = ledger.before_newest_round(run)?;
    let survives = |step: &Step| step.durable || !matches!(step.kind(), "run" | "script");
    let head = Head {
        run,
        name: recipe.name(),
        durable: recipe.job.steps.iter().all(survives),
        steps: recipe.job.steps.iter().map(|step| step.name.clone()).collect(),
        planned,
        before,
    };
    Ok((RunView::new(head), after))
}

/// The view of a run as the ledger has it.
pub(crate) fn of(ledger: &Ledger, run: RunId, recipe: &RunRecipe) -> Result<RunView, Failure> {
    let planned = ledger.account(run)?.planned;
    let (mut view, mut seen) = begin(ledger, run, planned, recipe)?;
    loop {
        let events = ledger.events_after(run, seen, None)?;
        let Some(last) = events.last() else {
            return Ok(view);
        };
        seen = last.seq;
        for event in &events {
            view.take(event);
        }
    }
}
