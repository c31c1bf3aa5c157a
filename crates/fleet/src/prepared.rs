//! A step that is ready to start.

use std::time::Duration;

use reveille_account::{MachineRef, StepRef};
use reveille_transport::Become;

use crate::work::Work;

/// A step with its templates rendered.
pub(crate) struct Prepared {
    pub(crate) index: u32,
    pub(crate) at: StepRef,
    /// Where it runs.
    pub(crate) machine: MachineRef,
    /// The user that its commands run as, if not the login user.
    pub(crate) escalate: Option<Become>,
    pub(crate) what: What,
}

/// What a step does.
pub(crate) enum What {
    /// Commands and copies.
    Work(Work),
    /// A reboot, until the boot id changes.
    Reboot { within: Duration },
}
