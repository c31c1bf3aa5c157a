//! What decisions need to know of a job.

use reveille_account::Class;

/// The job, as far as decisions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutline {
    /// Its steps, in its order.
    pub steps: Vec<StepOutline>,
    /// A host may be rebooted to bring it back.
    pub reboot: bool,
    /// Another machine may take a host's place.
    pub replace: bool,
    /// Further connection tries and attempts of a host in a round, all together.
    pub budget: u32,
}

/// A step, as far as decisions go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the job file by its own name"
)]
pub struct StepOutline {
    /// When it has its turn.
    pub role: Role,
    /// Finished attempts that it may take.
    pub attempts: u32,
    /// It may be run again when it is not known whether it ran.
    pub idempotent: bool,
    /// Its failure does not fail the host.
    pub ignore_errors: bool,
    /// It runs on the first ready host only, for all.
    pub once: bool,
    /// It runs on another host.
    pub elsewhere: bool,
}

/// When a step has its turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// In the order of the job.
    #[default]
    Main,
    /// On a host that failed, before it has its outcome.
    OnFailed,
    /// Before a host that failed with one of these classes is tried again.
    Repair(Vec<Class>),
}

/// The job as one host has it.
#[derive(Debug, Clone, Copy)]
pub struct Outline<'a> {
    /// The job.
    pub job: &'a JobOutline,
    /// Further ways to the host.
    pub routes: u32,
    /// Steps that run once run on this host.
    pub leads: bool,
}

// === impl JobOutline ===

impl JobOutline {
    /// Retries of a host in a round: enough for five connection tries and three attempts.
    pub const BUDGET: u32 = 8;

    /// A job of these steps that allows no healing.
    pub fn of(steps: Vec<StepOutline>) -> Self {
        Self {
            steps,
            reboot: false,
            replace: false,
            budget: Self::BUDGET,
        }
    }

    /// The number under which a reboot that is to heal a host is recorded: the one after the last step.
    pub fn healing_reboot(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn step(&self, index: u32) -> Option<&StepOutline> {
        self.steps.get(index as usize)
    }

    /// The positions of the steps whose role is asked for.
    pub(crate) fn of_role(
        &self,
        wanted: impl Fn(&Role) -> bool,
    ) -> impl Iterator<Item = (u32, &StepOutline)> {
        (0..).zip(&self.steps).filter(move |(_, step)| wanted(&step.role))
    }

    /// Whether something is done for hosts that failed, besides telling it.
    pub fn rescues(&self) -> bool {
        self.steps.iter().any(|step| step.role == Role::OnFailed)
    }

    pub(crate) fn repairs(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.role, Role::Repair(_)))
    }
}

// === impl StepOutline ===

impl Default for StepOutline {
    fn default() -> Self {
        Self {
            role: Role::Main,
            attempts: 1,
            idempotent: false,
            ignore_errors: false,
            once: false,
            elsewhere: false,
        }
    }
}

// === impl Outline ===

impl<'a> Outline<'a> {
    /// Of a host with one way to it, on which no step runs for others.
    pub fn new(job: &'a JobOutline) -> Self {
        Self {
            job,
            routes: 0,
            leads: false,
        }
    }
}
