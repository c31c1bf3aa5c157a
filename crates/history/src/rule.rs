//! The rules by name.
//!
//! A rule stands in one place, `if Rule::X.holds(condition)`, and is the condition itself. Under the feature `mutants`
//! each can be switched off, to see that a simulation misses it: then what it forbids is allowed.

/// A rule that keeps a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// An open attempt is attached to before anything else is done.
    AttachFirst,
    /// Nothing starts beside what may still run, and nothing twice that may have run.
    Permit,
    /// An absent directory means that nothing ran only with the mark, boot and machine of the intent.
    AbsenceNeedsProof,
    /// What has begun is never taken for what never started.
    BegunIsNeverBuried,
    /// Old work is looked for on the machine where it was begun.
    MachineAsRecorded,
    /// What can't be taken back waits until all that led to it is committed.
    CommitFirst,
    /// Nothing starts on a machine that says something else of itself than the intent does.
    HelloAgrees,
    /// A ledger lets only its latest owner write.
    EpochAtLedger,
    /// A host obeys only the latest owner that it has heard of.
    EpochAtHost,
    /// The number of an attempt is used once.
    NumbersOnce,
    /// Attempts are bounded.
    AttemptsBounded,
    /// A host's budget of tries is bounded.
    BudgetBounded,
    /// Three recoveries of a host at most.
    ThreeRecoveries,
    /// Each rung is taken once.
    RungOnce,
    /// Nothing is dispatched after a halt.
    HaltBeforeDispatch,
    /// A host's batch follows from its place on the roll.
    BatchByRoll,
    /// What is done once for all hosts is done once.
    OnceIsOnce,
    /// Nobody waits for a step that will not come.
    OnceIsSettled,
    /// A password that is refused when a run is resumed gives nobody an outcome.
    PasswordByEpoch,
    /// The host forgets its output only when ours survives a power cut.
    SyncBeforeClean,
    /// Every byte of output is judged, once.
    JudgedOnce,
}

#[cfg(feature = "mutants")]
static OFF: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(u8::MAX);

/// Switches a rule off for this process, or all on again.
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

    /// The condition under which the rule lets something happen; switched off, it always does.
    #[inline]
    pub fn holds(self, condition: bool) -> bool {
        condition || self.is_off()
    }

    /// The condition under which the rule demands something; switched off, it never does.
    #[inline]
    pub fn demands(self, condition: bool) -> bool {
        condition && !self.is_off()
    }

    /// Whether it is switched off. The rules about epochs are kept by the ledger and by the hosts, which a simulation asks
    /// to leave them.
    #[cfg(feature = "mutants")]
    pub fn is_off(self) -> bool {
        OFF.load(std::sync::atomic::Ordering::Relaxed) == self as u8
    }

    #[cfg(not(feature = "mutants"))]
    #[inline]
    #[expect(clippy::unused_self, reason = "the other form needs it")]
    fn is_off(self) -> bool {
        false
    }
}
