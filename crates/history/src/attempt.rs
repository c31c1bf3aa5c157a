//! Attempts without a recorded end.
//!
//! ```text
//!  intended ──► begun ──► ended      its result is on record; dropped from here
//!     │           ├─────► lost       it no longer runs, or nothing is known about it
//!     │           └─────► left       it may still run; the next round re-attaches
//!     └─────────────────► buried     it never ran and never will; dropped from here
//! ```

use reveille_account::{Loss, MachineRef, Site, Token};

use crate::rule::Rule;

/// An attempt that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The round that started it.
    pub round: u32,
    /// The position of its step.
    pub step: u32,
    /// Its number, unique among the attempts of the host's step.
    pub number: u32,
    /// Where it runs.
    pub machine: MachineRef,
    /// What remains of it there.
    pub kind: Kind,
    /// How far it got.
    pub state: State,
    /// The round in which it was left.
    pub left: Option<u32>,
}

/// What remains of an attempt after its connection or its controller is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that could be asked about.
    Plain,
    /// A reboot; it is done once the boot id differs from this one.
    Reboot(Box<str>),
    /// A directory on the machine.
    Durable(Box<Intent>),
}

/// What is recorded before durable work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The key of the work.
    pub token: Token,
    /// The directory that holds it.
    pub place: Option<String>,
    /// The user that it runs as, if not the login user.
    pub user: Option<String>,
    /// What the machine reported about itself; `None` in records of older programs.
    pub site: Option<Box<Site>>,
    /// The supervisor's process id and start time, once it has begun.
    pub begun: Option<(u32, String)>,
}

/// How far an attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was about to start, and may have begun.
    Intended,
    /// It has begun.
    Begun,
    /// It no longer runs, or nothing is known about it.
    Lost(Loss),
}

// === impl Attempt ===

impl Attempt {
    /// Whether it may still run.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Intended | State::Begun)
    }

    /// Whether it was left in this round.
    pub fn is_left(&self, round: u32) -> bool {
        self.left == Some(round)
    }

    /// The intent of durable work.
    pub fn intent(&self) -> Option<&Intent> {
        match &self.kind {
            Kind::Durable(intent) => Some(intent),
            Kind::Plain | Kind::Reboot(_) => None,
        }
    }
}

/// What it means that a machine has no directory for an attempt, given what it reports now. `None` if it is another
/// machine, which proves nothing.
pub fn absence(intent: &Intent, now: &Site) -> Option<Loss> {
    let Some(then) = &intent.site else {
        // Older programs recorded too little to tell.
        return Some(Loss::Wiped);
    };
    let same_machine = then.machine == now.machine;
    if Rule::AbsenceNeedsProof.demands(!same_machine) {
        return None;
    }
    if Rule::AbsenceNeedsProof.demands(then.boot != now.boot) {
        return Some(Loss::Rebooted);
    }
    let untouched = Rule::AbsenceNeedsProof.holds(then.mark == now.mark);
    let never_begun = Rule::BegunIsNeverBuried.holds(intent.begun.is_none());
    Some(if untouched && never_begun {
        Loss::Buried
    } else {
        Loss::Wiped
    })
}
