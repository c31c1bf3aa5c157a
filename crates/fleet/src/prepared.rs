//! A step that is ready to start.

use std::time::Duration;

use reveille_account::{MachineRef, StepRef};
use reveille_transport::Become;

use crate::work::Work;

/// A step with its templates filled in.
pub(crate) struct Prepared {
    pub(crate) index: u32,
    pub(crate) at: StepRef,
    /// Where it runs.
    pub(crate) machine: MachineRef,
    /// Whom its commands become.
    pub(crate) escalate: Option<Become>,
    pub(crate) what: What,
}

/// What a step does.
pub(crate) enum What {
    /// Commands and copies.
    Work(Work),
    /// A reboot, until it is another boot.
    Reboot { within: Duration },
}
