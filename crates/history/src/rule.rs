//! The rules by name.
//!
//! Each rule is the condition of one check, such as `if Rule::X.holds(condition)`. With the feature `mutants`, a rule
//! can be switched off, which allows what it forbids: the simulation must notice.

/// A rule that keeps one of the program's promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Re-attach to an open attempt before doing anything else.
    AttachFirst,
    /// Start nothing beside what may still run, and nothing twice that may have run.
    Permit,
    /// Take an absent directory as proof that nothing ran only if mark, boot and machine match the intent.
    AbsenceNeedsProof,
    /// Never treat an attempt that began as one that never started.
    BegunIsNeverBuried,
    /// Look for earlier work on the machine that it started on.
    MachineAsRecorded,
    /// Commit all earlier events before an action that can't be undone.
    CommitFirst,
    /// Start nothing on a machine that reports another identity than the intent recorded.
    HelloAgrees,
    /// The ledger accepts writes from its latest owner only.
    EpochAtLedger,
    /// A host obeys only the latest owner that it knows.
    EpochAtHost,
    /// Use an attempt number once.
    NumbersOnce,
    /// Bound the attempts of a step.
    AttemptsBounded,
    /// Bound the retries of a host.
    BudgetBounded,
    /// Recover a host at most three times.
    ThreeRecoveries,
    /// Take each rung once.
    RungOnce,
    /// Dispatch nothing after a halt.
    HaltBeforeDispatch,
    /// Derive a host's batch from its position on the roll.
    BatchByRoll,
    /// Run a `once` step once.
    OnceIsOnce,
    /// No host waits for a `once` step that will never finish.
    OnceIsSettled,
    /// A password refused while resuming a run ends no host.
    PasswordByEpoch,
    /// Remove output from the host only after the local copy survives a power cut.
    SyncBeforeClean,
    /// Judge every byte of output exactly once.
    JudgedOnce,
}

#[cfg(feature = "mutants")]
static OFF: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(u8::MAX);

/// Switches off one rule for this process, or switches all on again.
#[cfg(feature = "mutants")]
pub fn switch_off(rule: Option<Rule>) {
    let number = rule.map_or(u8::MAX, |rule| rule as u8);
    OFF.store(number, std::sync::atomic::Ordering::Relaxed);
}

// === impl Rule ===

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 21] = [
        Rule::AttachFirst,
        Rule::Permit,
        Rule::AbsenceNeedsProof,
        Rule::BegunIsNeverBuried,
        Rule::MachineAsRecorded,
        Rule::CommitFirst,
        Rule::HelloAgrees,
        Rule::EpochAtLedger,
        Rule::EpochAtHost,
        Rule::NumbersOnce,
        Rule::AttemptsBounded,
        Rule::BudgetBounded,
        Rule::ThreeRecoveries,
        Rule::RungOnce,
        Rule::HaltBeforeDispatch,
        Rule::BatchByRoll,
        Rule::OnceIsOnce,
        Rule::OnceIsSettled,
        Rule::PasswordByEpoch,
        Rule::SyncBeforeClean,
        Rule::JudgedOnce,
    ];

    /// Whether the rule permits something: `condition`, or always if switched off.
    #[inline]
    pub fn holds(self, condition: bool) -> bool {
        condition || self.is_off()
    }

    /// Whether the rule requires something: `condition`, or never if switched off.
    #[inline]
    pub fn demands(self, condition: bool) -> bool {
        condition && !self.is_off()
    }

    /// Whether it is switched off. The ledger and the hosts enforce the epoch rules, so the simulation reads this
    /// and tells them.
    #[cfg(feature = "mutants")]
    pub fn is_off(self) -> bool {
        OFF.load(std::sync::atomic::Ordering::Relaxed) == self as u8
    }

    #[cfg(not(feature = "mutants"))]
    #[inline]
    #[expect(clippy::unused_self, reason = "the variant with `mutants` needs it")]
    fn is_off(self) -> bool {
        false
    }
}
