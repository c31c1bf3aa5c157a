//! What decisions need to know about a job.

use reveille_account::Class;

/// The parts of a job that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutline {
    /// Its steps, in order.
    pub steps: Vec<StepOutline>,
    /// A host may be rebooted to recover it.
    pub reboot: bool,
    /// A host's machine may be replaced.
    pub replace: bool,
    /// Retries of a host in a round: connection tries and step attempts together.
    pub budget: u32,
}

/// The parts of a step that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the job file")]
pub struct StepOutline {
    /// When it runs.
    pub role: Role,
    /// The number of attempts that may fail before the step fails.
    pub attempts: u32,
    /// It may run again if it is unknown whether it ran.
    pub idempotent: bool,
    /// Its failure does not fail the host.
    pub ignore_errors: bool,
    /// It runs on the first ready host only, for all hosts.
    pub once: bool,
    /// It runs on another host.
    pub elsewhere: bool,
}

/// When a step runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// In the order of the job.
    #[default]
    Main,
    /// On a host that failed, before its outcome is recorded.
    OnFailed,
    /// Before a retry of a host that failed with one of these classes.
    Repair(Vec<Class>),
}

/// The job as seen by one host.
#[derive(Debug, Clone, Copy)]
pub struct Outline<'a> {
    /// The job.
    pub job: &'a JobOutline,
    /// Alternative routes to the host.
    pub routes: u32,
    /// This host runs the `once` steps.
    pub leads: bool,
    /// The steps that this host lacks, in order: repetitions of a loop beyond its own items.
    pub absent: &'a [u32],
}

// === impl JobOutline ===

impl JobOutline {
    /// Retries of a host in a round: enough for five connection tries and three attempts.
    pub const BUDGET: u32 = 8;

    /// A job of these steps, without reboots and replacements.
    pub fn of(steps: Vec<StepOutline>) -> Self {
        Self {
            steps,
            reboot: false,
            replace: false,
            budget: Self::BUDGET,
        }
    }

    /// The step number under which a recovery reboot is recorded: one past the last step.
    pub fn healing_reboot(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn step(&self, index: u32) -> Option<&StepOutline> {
        self.steps.get(index as usize)
    }

    /// The positions of the steps whose role `wanted` accepts.
    pub(crate) fn of_role(
        &self,
        wanted: impl Fn(&Role) -> bool,
    ) -> impl Iterator<Item = (u32, &StepOutline)> {
        (0..).zip(&self.steps).filter(move |(_, step)| wanted(&step.role))
    }

    /// Whether the job has steps for hosts that failed.
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
    /// The outline for a host with one route that runs no `once` steps.
    pub fn new(job: &'a JobOutline) -> Self {
        Self {
            job,
            routes: 0,
            leads: false,
            absent: &[],
        }
    }
}
