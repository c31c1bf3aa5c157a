//! Parts of events.

use std::time::Duration;

use reveille_account::StepRef;
use reveille_job::Step;

/// The position and name of a step.
pub(crate) fn step_ref(index: u32, step: &Step) -> StepRef {
    StepRef {
        index,
        name: step.name.clone(),
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
