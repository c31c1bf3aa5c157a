//! The permit to start an attempt. [`may_start`] alone makes one.

use reveille_account::{Loss, MachineRef};

use crate::attempt::State;
use crate::host::HostHistory;
use crate::rule::Rule;

/// The right to start a step; only [`may_start`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    step: u32,
    number: u32,
    machine: MachineRef,
}

/// Why a step may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// Something may still run on the machine.
    Open,
    /// It is unknown whether the step ran, and it may not run twice.
    Unknown(Loss),
}

// === impl Permit ===

impl Permit {
    /// The position of the step.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// The number that the attempt gets.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where it starts.
    pub fn machine(&self) -> &MachineRef {
        &self.machine
    }
}

/// Whether a step may start on a machine in the current round. No earlier attempt of this host may be open there, and
/// each earlier attempt of the step in this round must be settled, or the step is idempotent and the attempt no longer
/// runs for certain.
pub fn may_start(
    history: &HostHistory,
    step: u32,
    machine: &MachineRef,
    idempotent: bool,
) -> Result<Permit, Forbidden> {
    for attempt in history
        .attempts()
        .iter()
        .filter(|attempt| attempt.machine == *machine)
    {
        if Rule::Permit.demands(attempt.is_open()) {
            return Err(Forbidden::Open);
        }
        if let State::Lost(loss) = attempt.state
            && Rule::Permit.demands((attempt.step, attempt.round) == (step, history.round()))
            // A wiped attempt may still run.
            && Rule::Permit.demands(!idempotent || loss == Loss::Wiped)
        {
            return Err(Forbidden::Unknown(loss));
        }
    }
    Ok(Permit {
        step,
        number: history.next_number(step),
        machine: machine.clone(),
    })
}
