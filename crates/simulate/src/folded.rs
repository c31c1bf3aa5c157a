//! Folds the committed events at each commit: what a new controller would know.

use std::collections::{BTreeMap, BTreeSet};

use reveille_account::{Event, EventKind, HostName, Loss};
use reveille_history::{HostHistory, Kind, State, may_start};
use reveille_job::Job;

/// The state of an attempt, and the event that occurred in it.
pub type Met = (&'static str, &'static str);

/// The histories of all hosts, from the record.
#[derive(Debug)]
pub(crate) struct Folded {
    hosts: BTreeMap<String, HostHistory>,
    idempotent: Vec<bool>,
    pub(crate) met: BTreeSet<Met>,
}

// === impl Folded ===

impl Folded {
    pub(crate) fn new(job: &Job) -> Self {
        Self {
            hosts: BTreeMap::new(),
            idempotent: job.steps.iter().map(|step| step.idempotent).collect(),
            met: BTreeSet::new(),
        }
    }

    /// Applies a committed event. Returns an error if it contradicts earlier ones.
    pub(crate) fn committed(&mut self, event: &Event) -> Option<String> {
        let host = event.host.as_ref().map(HostName::as_str)?;
        let history = self
            .hosts
            .entry(host.to_owned())
            .or_insert_with(|| HostHistory::new(event.round));
        self.met.extend(met(history, &event.kind));
        let unfit = history.apply(event.round, &event.kind).err()?;
        Some(format!("{host}: {unfit}"))
    }

    /// Compares a task's view of its host's history with the record.
    pub(crate) fn differs(&self, host: &HostName, live: &HostHistory) -> Option<String> {
        let mut known = self
            .hosts
            .get(host.as_str())
            .cloned()
            .unwrap_or_else(|| HostHistory::new(live.round()));
        known.begin(live.round());
        (known != *live).then(|| format!("{host}: on record is {known:?}, and its task has {live:?}"))
    }

    /// The step of an attempt that may still run and was neither asked about nor left in this round.
    pub(crate) fn unasked(&self, host: &str) -> Option<u32> {
        let history = self.hosts.get(host)?;
        let open = history
            .attempts()
            .iter()
            .find(|attempt| attempt.is_open() && !attempt.is_left(history.round()));
        open.map(|attempt| attempt.step)
    }

    /// A step that a new controller might start on the host's own machine.
    pub(crate) fn may_start(&self, host: &str) -> Option<u32> {
        let history = self.hosts.get(host)?;
        (0u32..)
            .zip(&self.idempotent)
            .find(|(index, idempotent)| may_start(history, *index, &history.own(), **idempotent).is_ok())
            .map(|(index, _)| index)
    }
}

/// The state of an attempt when an event occurred.
fn met(history: &HostHistory, event: &EventKind) -> Option<Met> {
    let (step, attempt, what) = match event {
        EventKind::StepStarted { .. } => return Some(("none", "started")),
        EventKind::StepBegan { step, attempt, .. } => (step, attempt, "began"),
        EventKind::StepFinished { step, attempt, .. } => (step, attempt, "finished"),
        EventKind::StepLeft { step, attempt, .. } => (step, attempt, "left"),
        EventKind::StepLost {
            step, attempt, loss, ..
        } => {
            let what = match loss {
                Loss::Buried => "buried",
                Loss::Rebooted => "rebooted",
                Loss::Gone => "gone",
                Loss::Wiped => "wiped",
                Loss::Plain => "plain",
            };
            (step, attempt, what)
        }
        _ => return None,
    };
    let attempt = history.attempt(step.index, *attempt)?;
    let state = match (&attempt.kind, attempt.state, attempt.left.is_some()) {
        (Kind::Plain, ..) => "intended, plain",
        (Kind::Reboot(_), ..) => "intended, reboot",
        (Kind::Durable(_), State::Intended, false) => "intended",
        (Kind::Durable(_), State::Intended, true) => "left, intended",
        (Kind::Durable(_), State::Begun, false) => "begun",
        (Kind::Durable(_), State::Begun, true) => "left, begun",
        (Kind::Durable(_), State::Lost(_), _) => "lost",
    };
    Some((state, what))
}
