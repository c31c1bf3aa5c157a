//! A run's history, and what its dispatcher does next.

use reveille_account::{HaltReason, Status};

use crate::rule::Rule;

/// How far a host got, from the run's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum HostState {
    /// It waits to be dispatched.
    Waiting,
    /// It will not be dispatched: the inventory marks it as not ready.
    NotReady,
    /// It was dispatched and has no outcome.
    Dispatched,
    /// It succeeded.
    Succeeded,
    /// It failed or was quarantined.
    Failed,
    /// It has another outcome.
    Cancelled,
}

/// The result of a `once` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnceState {
    /// Not known yet.
    Open,
    /// It is done.
    Done,
    /// It failed, or its host failed before it ran.
    Failed,
}

/// What the dispatcher needs to know about a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOutline {
    /// The batches, in order.
    pub batches: Vec<Batch>,
    /// The round halts if more hosts than this fail.
    pub most_failed: Option<u64>,
    /// The first batch is a canary.
    pub canary: bool,
    /// The round halts if every host of a batch fails; false for a run without batches.
    pub serial: bool,
}

/// A batch of the round's roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Hosts in it.
    pub size: u64,
    /// The round halts if more of its hosts than this fail.
    pub most_failed: Option<u64>,
}

/// What is known about a round of a run, from its events alone.
#[derive(Debug, Clone)]
pub struct RunHistory {
    outline: RunOutline,
    hosts: Vec<HostState>,
    /// The first host of each batch.
    starts: Vec<usize>,
    counts: Vec<Counts>,
    failed: u64,
    halted: Option<HaltReason>,
    once: Vec<(u32, OnceState)>,
    /// The host that runs the `once` steps.
    leader: Option<usize>,
    not_ready: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    waiting: u64,
    running: u64,
    failed: u64,
    /// Hosts that were or will be dispatched.
    counting: u64,
}

/// What the dispatcher does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Halt the round: dispatch no more hosts.
    Halt(HaltReason),
    /// Record this `once` step as failed, so that no host waits for it.
    FailOnce(u32),
    /// Cancel the waiting hosts.
    CancelWaiting,
    /// Cancel the hosts that are not ready.
    CancelNotReady,
    /// Dispatch waiting hosts of this batch while there is room.
    Dispatch(usize),
    /// No host waits.
    Nothing,
}

// === impl RunHistory ===

impl RunHistory {
    /// The history of a round with these hosts, in the order of the roll. `leader` is the first host that is ready,
    /// `once` the positions of the `once` steps.
    pub fn new(outline: RunOutline, hosts: Vec<HostState>, leader: Option<usize>, once: &[u32]) -> Self {
        let total = hosts.len();
        let mut starts = Vec::new();
        let mut at = 0;
        for batch in &outline.batches {
            if at >= total {
                break;
            }
            starts.push(at);
            at = at
                .saturating_add(usize::try_from(batch.size).unwrap_or(usize::MAX))
                .min(total);
        }
        if starts.is_empty() {
            starts.push(0);
        }
        let mut history = Self {
            counts: vec![Counts::default(); starts.len()],
            starts,
            failed: 0,
            halted: None,
            once: once.iter().map(|step| (*step, OnceState::Open)).collect(),
            leader,
            not_ready: 0,
            hosts: Vec::new(),
            outline,
        };
        for (index, state) in hosts.into_iter().enumerate() {
            history.hosts.push(state);
            history.count(index, state, 1);
        }
        history
    }

    /// The number of batches, at least 1.
    pub fn batches(&self) -> usize {
        self.starts.len()
    }

    /// The number of hosts in a batch, counted from 0.
    pub fn hosts_of_batch(&self, batch: usize) -> usize {
        let start = |batch: usize| self.starts.get(batch).copied().unwrap_or(self.hosts.len());
        start(batch + 1) - start(batch)
    }

    /// The state of the host at this position of the roll.
    pub fn host(&self, index: usize) -> Option<HostState> {
        self.hosts.get(index).copied()
    }

    /// Why the round was halted.
    pub fn halted(&self) -> Option<HaltReason> {
        self.halted
    }

    /// The `once` steps and their results.
    pub fn once(&self) -> &[(u32, OnceState)] {
        &self.once
    }

    /// The host that runs the `once` steps: the first on the roll that is ready.
    pub fn leader(&self) -> Option<usize> {
        self.leader
    }

    /// The batch of a host, by its position on the roll.
    pub fn batch_of(&self, index: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= index)
            .saturating_sub(1)
    }

    /// Records that a host was dispatched.
    pub fn dispatched(&mut self, index: usize) {
        self.change(index, HostState::Dispatched);
    }

    /// Records that a host has its outcome.
    pub fn ended(&mut self, index: usize, status: Status) {
        self.change(index, state_of(status));
    }

    /// Records that the round was halted.
    pub fn halt(&mut self, reason: HaltReason) {
        self.halted.get_or_insert(reason);
    }

    /// Records the result of a `once` step. A step that is done stays done.
    pub fn settle_once(&mut self, step: u32, state: OnceState) {
        if let Some((_, known)) = self.once.iter_mut().find(|(known, _)| *known == step)
            && *known != OnceState::Done
        {
            *known = state;
        }
    }

    fn change(&mut self, index: usize, state: HostState) {
        let Some(before) = self.host(index) else { return };
        self.count(index, before, -1);
        self.hosts[index] = state;
        self.count(index, state, 1);
    }

    fn count(&mut self, index: usize, state: HostState, by: i64) {
        let batch = self.batch_of(index);
        let counts = &mut self.counts[batch];
        let add = |number: &mut u64| *number = number.saturating_add_signed(by);
        match state {
            HostState::Waiting => add(&mut counts.waiting),
            HostState::Dispatched => add(&mut counts.running),
            HostState::Failed => {
                add(&mut counts.failed);
                add(&mut self.failed);
            }
            HostState::NotReady => add(&mut self.not_ready),
            HostState::Succeeded | HostState::Cancelled => {}
        }
        if matches!(
            state,
            HostState::Waiting | HostState::Dispatched | HostState::Succeeded | HostState::Failed
        ) {
            add(&mut counts.counting);
        }
    }

    /// Why the round must halt now, judging from the record.
    fn due_halt(&self) -> Option<HaltReason> {
        if self.once.iter().any(|(_, state)| *state == OnceState::Failed) {
            return Some(HaltReason::Once);
        }
        if self.outline.most_failed.is_some_and(|most| self.failed > most) {
            return Some(HaltReason::MaxFail);
        }
        if self.outline.canary && self.counts.first().is_some_and(|first| first.failed > 0) {
            return Some(HaltReason::Canary);
        }
        let due = |(counts, batch): (&Counts, &Batch)| {
            let all = self.outline.serial && counts.counting > 0 && counts.failed == counts.counting;
            let over = batch.most_failed.is_some_and(|most| counts.failed > most);
            let most = over.then_some(HaltReason::MaxFailBatch);
            all.then_some(HaltReason::WholeBatch).or(most)
        };
        self.counts.iter().zip(&self.outline.batches).find_map(due)
    }

    /// The first unfinished batch, if hosts of it wait; the next one starts only after it.
    fn present_batch(&self) -> Option<usize> {
        let open = |counts: &Counts| counts.waiting + counts.running > 0;
        let waiting = |counts: &Counts| counts.waiting > 0;
        if Rule::BatchByRoll.holds(false) {
            return self.counts.iter().position(waiting);
        }
        self.counts
            .iter()
            .position(open)
            .filter(|batch| waiting(&self.counts[*batch]))
    }
}

/// The state of a host with this status.
fn state_of(status: Status) -> HostState {
    match status {
        Status::Success => HostState::Succeeded,
        Status::Failed | Status::Quarantined => HostState::Failed,
        Status::Cancelled | Status::Ghost => HostState::Cancelled,
    }
}

impl From<Status> for HostState {
    fn from(status: Status) -> Self {
        state_of(status)
    }
}

/// Decides what the dispatcher does next.
pub fn direct(history: &RunHistory) -> Order {
    let gone = history.leader.is_none_or(|leader| {
        !matches!(
            history.host(leader),
            Some(HostState::Waiting | HostState::Dispatched)
        )
    });
    let open = history.once.iter().find(|(_, state)| *state == OnceState::Open);
    if let Some((step, _)) = open.filter(|_| Rule::OnceIsSettled.demands(gone)) {
        return Order::FailOnce(*step);
    }
    if history.halted.is_none()
        && let Some(reason) = history.due_halt()
    {
        return Order::Halt(reason);
    }
    if history.not_ready > 0 {
        return Order::CancelNotReady;
    }
    let waiting = history.counts.iter().any(|counts| counts.waiting > 0);
    if Rule::HaltBeforeDispatch.demands(history.halted.is_some() && waiting) {
        return Order::CancelWaiting;
    }
    history.present_batch().map_or(Order::Nothing, Order::Dispatch)
}
