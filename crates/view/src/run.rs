//! [`RunView`]: the fold of a round's events that every screen is drawn from.

use std::collections::{BTreeSet, HashMap};

use reveille_account::{
    Account, Class, Event, EventKind, HostName, Outcome, RunId, Status, UNDECIDED, WOULD,
};
use reveille_text::duration::shown_millis;
use reveille_text::harmless;

use crate::step::StepView;

/// The number of slowest hosts that are kept.
const SLOWEST: usize = 3;
/// A running step is worth showing if it takes this many times the 95th percentile of its step.
const LATE: u64 = 3;

/// What a run is, before any of its events.
#[derive(Debug, Clone)]
pub struct Head {
    /// The run.
    pub run: RunId,
    /// The job's name, or the command.
    pub name: String,
    /// Whether its commands survive the loss of their connection.
    pub durable: bool,
    /// The names of the job's steps.
    pub steps: Vec<String>,
    /// The hosts of the run.
    pub planned: u64,
    /// Outcomes of earlier rounds that still count: those of hosts that are not on the newest roll.
    pub before: Account,
}

/// A run as its screens show it: a fold of the events of its newest round. Each event costs constant time.
#[derive(Debug)]
pub struct RunView {
    /// What the run is.
    pub head: Head,
    /// When the round was opened, Unix milliseconds; `None` before its first event.
    pub opened_ms: Option<u64>,
    /// When the newest event happened.
    pub newest_ms: u64,
    /// Outcomes by status, with those of earlier rounds that still count.
    pub ended: Account,
    /// Hosts of this round that have an outcome.
    pub ended_here: u64,
    /// Hosts of this round that some step has changed.
    pub changed: u64,
    /// Hosts of this round on which a check left out a step that a run would execute.
    pub would: u64,
    /// Hosts of this round on which a check can't tell whether a run would execute some step.
    pub undecided: u64,
    /// Hosts of this round on which nothing was to do.
    pub nothing_to_do: u64,
    /// Hosts of this round that succeeded after a failure.
    pub recovered: u64,
    /// The steps, in order.
    pub steps: Vec<StepView>,
    /// The batch that was opened last, if the round has several.
    pub batch: Option<Batch>,
    /// The limit on sessions, and the reason if it was lowered.
    pub sessions: Option<u64>,
    /// When the grace period of a stop ends, Unix milliseconds.
    pub stopping_ms: Option<u64>,
    /// The slowest hosts of this round, the slowest first, in milliseconds.
    pub slowest: Vec<(u64, HostName)>,
    /// The hosts that were dispatched and have no outcome.
    hosts: HashMap<HostName, HostView>,
    /// They, by the time since which they do what they do.
    since: BTreeSet<(u64, HostName)>,
    /// Those that something happened to: most urgent first.
    odd: BTreeSet<(Oddity, u64, HostName)>,
    recovering: u64,
    connecting: u64,
}

/// A batch of the roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Which, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// The hosts in it.
    pub hosts: u64,
}

/// A host that was dispatched and has no outcome.
#[derive(Debug, Clone)]
pub struct HostView {
    /// What it does.
    pub doing: Doing,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Its address and port, once known.
    pub address: Option<String>,
    /// The connection try or the attempt, from 1.
    pub attempt: u32,
    /// What happened to it, if that needs an operator's attention.
    pub note: Option<(Oddity, String)>,
    /// A failure was seen, and it is not yet known to be overcome.
    pub recovering: bool,
    /// What each step came to.
    results: Vec<Done>,
}

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// A connection is being made.
    Connecting,
    /// Between steps.
    Between,
    /// It runs a step.
    Step(u32),
    /// Its connection was lost in a step, which may still run.
    Reconnecting(u32),
}

/// Why a host is worth a look, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    /// The watchdog checked it.
    Checked,
    /// Its connection was lost.
    Lost,
    /// Connection tries fail.
    FailingTries,
    /// A failure is being recovered from.
    Recovering,
}

/// What the indexes know of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Indexed {
    doing: Doing,
    since_ms: u64,
    oddity: Option<Oddity>,
    recovering: bool,
}

/// What a step came to on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Done {
    #[default]
    Not,
    Started,
    Ok,
    Changed,
    Skipped,
    Would,
    Undecided,
    Failed,
}

/// A host as a row of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The host.
    pub host: HostName,
    /// Its address.
    pub address: String,
    /// `running`, `connecting`, `reconnects`, `checked`, `recovering`.
    pub state: &'static str,
    /// The name of its step.
    pub step: String,
    /// The try or attempt.
    pub attempt: u32,
    /// How long it has done that, milliseconds.
    pub for_ms: u64,
    /// What there is to know about it.
    pub words: String,
}

// === impl Doing ===

impl Doing {
    /// Whether the other is the same activity: a step goes on while its connection is lost.
    fn is_part_of(self, other: Self) -> bool {
        match (self, other) {
            (
                Doing::Step(one) | Doing::Reconnecting(one),
                Doing::Step(other) | Doing::Reconnecting(other),
            ) => one == other,
            (one, other) => one == other,
        }
    }
}

// === impl Indexed ===

impl Indexed {
    fn of(view: &HostView) -> Self {
        Self {
            doing: view.doing,
            since_ms: view.since_ms,
            oddity: view.note.as_ref().map(|(oddity, _)| *oddity),
            recovering: view.recovering,
        }
    }
}

// === impl RunView ===

impl RunView {
    /// The view of a round before its first event.
    pub fn new(head: Head) -> Self {
        Self {
            opened_ms: None,
            newest_ms: 0,
            ended: Account {
                planned: head.planned,
                ..head.before
            },
            ended_here: 0,
            changed: 0,
            would: 0,
            undecided: 0,
            nothing_to_do: 0,
            recovered: 0,
            steps: head.steps.iter().map(|name| StepView::new(name)).collect(),
            batch: None,
            sessions: None,
            stopping_ms: None,
            slowest: Vec::new(),
            hosts: HashMap::new(),
            since: BTreeSet::new(),
            odd: BTreeSet::new(),
            recovering: 0,
            connecting: 0,
            head,
        }
    }

    /// Hosts that run something, without those that are recovering.
    pub fn running(&self) -> u64 {
        self.hosts.len() as u64 - self.recovering
    }

    /// Hosts on which a failure was seen that may yet be overcome.
    pub fn recovering(&self) -> u64 {
        self.recovering
    }

    /// Hosts that are being connected to for the first time.
    pub fn connecting(&self) -> u64 {
        self.connecting
    }

    /// Hosts that have not been dispatched.
    pub fn waiting(&self) -> u64 {
        let done = self.ended.ended() + self.hosts.len() as u64;
        self.head.planned.saturating_sub(done)
    }

    /// A host that has no outcome yet.
    pub fn host(&self, host: &HostName) -> Option<&HostView> {
        self.hosts.get(host)
    }

    /// Running hosts that have not come to a step.
    pub fn before_step(&self, step: u32) -> u64 {
        let is_before = |host: &&HostView| host.results.get(step as usize) == Some(&Done::Not);
        self.hosts.values().filter(is_before).count() as u64
    }

    /// The hosts that need attention first, then those that have done the same thing for the longest time.
    pub fn rows(&self, now_ms: u64) -> impl Iterator<Item = Row> {
        let odd = self.odd.iter().map(|(_, _, host)| host);
        let late = self.since.iter().map(|(_, host)| host);
        let late = late.filter(|host| self.hosts[*host].note.is_none());
        odd.chain(late).map(move |host| self.row(host, now_ms))
    }

    /// The three hosts most worth a look: odd ones, late ones, then the oldest.
    pub fn three(&self, now_ms: u64) -> Vec<Row> {
        let mut three: Vec<Row> = self
            .odd
            .iter()
            .take(3)
            .map(|(_, _, host)| self.row(host, now_ms))
            .collect();
        if three.len() < 3 {
            // The oldest are looked through for late ones, not all.
            let oldest = self.since.iter().map(|(_, host)| host);
            let oldest = oldest.filter(|host| self.hosts[*host].note.is_none()).take(16);
            let mut rest: Vec<Row> = oldest.map(|host| self.row(host, now_ms)).collect();
            rest.sort_by_key(|row| row.words.is_empty());
            rest.truncate(3 - three.len());
            three.extend(rest);
        }
        three
    }

    fn row(&self, host: &HostName, now_ms: u64) -> Row {
        let view = &self.hosts[host];
        let for_ms = now_ms.saturating_sub(view.since_ms);
        let step = match view.doing {
            Doing::Step(step) | Doing::Reconnecting(step) => self.step_name(step),
            Doing::Connecting | Doing::Between => String::new(),
        };
        let state = match (view.doing, &view.note) {
            (_, Some((Oddity::Checked, _))) => "checked",
            (Doing::Reconnecting(_), _) => "reconnects",
            (Doing::Connecting, _) => "connecting",
            _ if view.recovering => "recovering",
            _ => "running",
        };
        let words = match &view.note {
            Some((_, words)) => words.clone(),
            None => self.late(view, for_ms).unwrap_or_default(),
        };
        Row {
            host: host.clone(),
            address: view.address.clone().unwrap_or_default(),
            state,
            step,
            attempt: view.attempt,
            for_ms,
            words,
        }
    }

    /// How late a host is in its step, if it is.
    fn late(&self, view: &HostView, for_ms: u64) -> Option<String> {
        let Doing::Step(step) = view.doing else {
            return None;
        };
        let usual = self.steps.get(step as usize)?.usual_ms()?;
        (for_ms > LATE * usual.max(1000)).then(|| {
            format!(
                "{} × the p95 of its step ({})",
                for_ms / usual.max(1),
                shown_millis(usual)
            )
        })
    }

    /// The name of a step, in one line.
    pub fn step_name(&self, step: u32) -> String {
        let name = self.head.steps.get(step as usize);
        harmless::line(name.map_or("", String::as_str))
    }

    /// Takes the next event of the round.
    pub fn take(&mut self, event: &Event) {
        self.newest_ms = self.newest_ms.max(event.wall_ms);
        match &event.host {
            Some(host) => self.take_host(host, event),
            None => self.take_run(event),
        }
    }

    fn take_run(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunOpened { .. } => self.opened_ms = Some(event.wall_ms),
            EventKind::RunResumed { .. } => {
                self.stopping_ms = None;
                self.leave_all(event.wall_ms);
            }
            EventKind::SessionsLimited { sessions, .. } => self.sessions = Some(*sessions),
            EventKind::BatchOpened { batch, of, hosts } => {
                self.batch = Some(Batch {
                    number: *batch,
                    of: *of,
                    hosts: *hosts,
                });
            }
            EventKind::Stopping { grace_ms } => self.stopping_ms = Some(event.wall_ms + grace_ms),
            _ => {}
        }
    }

    /// Another controller takes over: it connects to every host afresh.
    fn leave_all(&mut self, now_ms: u64) {
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for host in hosts {
            self.change(&host, now_ms, |view| {
                view.doing = Doing::Connecting;
                view.attempt = 0;
                view.note = None;
            });
        }
    }

    fn take_host(&mut self, host: &HostName, event: &Event) {
        let now = event.wall_ms;
        match &event.kind {
            EventKind::Dispatched => {
                self.insert(host, now);
                return;
            }
            EventKind::OutcomeReached { outcome } => {
                self.end(host, outcome);
                return;
            }
            // Comes after the outcome.
            EventKind::Cleaned => return,
            _ => {}
        }
        if !self.hosts.contains_key(host) {
            // An earlier controller dispatched it, or the screen began to look later.
            self.insert(host, now);
        }
        match &event.kind {
            EventKind::Connecting { tries, address, .. } => self.change(host, now, |view| {
                view.address = Some(address.clone());
                if !matches!(view.doing, Doing::Reconnecting(_)) {
                    view.doing = Doing::Connecting;
                    view.attempt = *tries;
                }
            }),
            EventKind::ConnectFailed {
                tries,
                message,
                retry_in_ms,
                ..
            } => {
                let next = match retry_in_ms {
                    Some(ms) => format!("; try {} in {}", tries + 1, shown_millis(*ms)),
                    None => String::new(),
                };
                let words = format!("{}{next}", harmless::line(message));
                self.change(host, now, |view| {
                    let oddity = match view.doing {
                        Doing::Reconnecting(_) => Oddity::Lost,
                        _ => Oddity::FailingTries,
                    };
                    view.note = Some((oddity, words));
                });
            }
            EventKind::Connected { .. } => self.change(host, now, |view| {
                if view.doing == Doing::Connecting {
                    view.doing = Doing::Between;
                }
                let failing = |(oddity, _): &(Oddity, String)| *oddity != Oddity::FailingTries;
                view.note = view.note.take().filter(failing);
            }),
            EventKind::StepStarted { step, attempt, .. } => {
                self.undo(host, step.index);
                self.settle(host, step.index, Done::Started, None);
                self.change(host, now, |view| {
                    view.doing = Doing::Step(step.index);
                    view.attempt = *attempt;
                    view.note = None;
                });
            }
            EventKind::StepFinished {
                step,
                class,
                changed,
                duration_ms,
                ..
            } => {
                let done = match class.status() {
                    Status::Success if *changed => Done::Changed,
                    Status::Success => Done::Ok,
                    _ => Done::Failed,
                };
                self.undo(host, step.index);
                self.settle(host, step.index, done, Some(*duration_ms));
                self.change(host, now, |view| {
                    view.doing = Doing::Between;
                    view.note = None;
                    view.recovering &= done == Done::Failed;
                });
            }
            EventKind::StepSkipped { step, reason } => {
                let done = if reason.starts_with(WOULD) {
                    Done::Would
                } else if reason.starts_with(UNDECIDED) {
                    Done::Undecided
                } else {
                    Done::Skipped
                };
                self.undo(host, step.index);
                self.settle(host, step.index, done, None);
            }
            EventKind::StepLost { .. } | EventKind::StepLeft { .. } => self.change(host, now, |view| {
                view.doing = Doing::Between;
            }),
            EventKind::ConnectionLost { step, message } => {
                let words = format!("connection lost: {}", harmless::line(message));
                self.change(host, now, |view| {
                    view.doing = Doing::Reconnecting(step.index);
                    view.note = Some((Oddity::Lost, words));
                    view.recovering = true;
                });
            }
            EventKind::Reattached { step, found, .. } => self.change(host, now, |view| {
                view.note = None;
                if found == "running" {
                    view.doing = Doing::Step(step.index);
                    view.recovering = false;
                }
            }),
            EventKind::Looked {
                step,
                evidence,
                decision,
                ..
            } => {
                let words = format!(
                    "checked: {}; {}",
                    harmless::line(evidence),
                    harmless::line(decision)
                );
                self.change(host, now, |view| {
                    view.doing = Doing::Step(step.index);
                    view.note = Some((Oddity::Checked, words));
                });
            }
            EventKind::Recovering { class, reason, .. } => {
                let words = format!("recovers from {class}: {}", harmless::line(reason));
                self.change(host, now, |view| {
                    view.recovering = true;
                    view.note = Some((Oddity::Recovering, words));
                });
            }
            // Another machine begins with the first step.
            EventKind::Replaced { .. } => {
                for step in 0..u32::try_from(self.steps.len()).unwrap_or(0) {
                    self.undo(host, step);
                }
            }
            _ => {}
        }
    }

    fn insert(&mut self, host: &HostName, now_ms: u64) {
        self.remove(host);
        let view = HostView {
            doing: Doing::Connecting,
            since_ms: now_ms,
            address: None,
            attempt: 0,
            note: None,
            recovering: false,
            results: vec![Done::Not; self.steps.len()],
        };
        self.add(host, view);
    }

    /// Changes a host, and all that is counted of it. What it does lasts from now, if it does something else.
    fn change(&mut self, host: &HostName, now_ms: u64, change: impl FnOnce(&mut HostView)) {
        let Some(view) = self.hosts.get_mut(host) else {
            return;
        };
        let before = Indexed::of(view);
        change(view);
        if !before.doing.is_part_of(view.doing) {
            view.since_ms = now_ms;
        }
        let after = Indexed::of(view);
        // Most events change nothing here, and the indexes are what costs.
        if before != after {
            self.index(host, before, false);
            self.index(host, after, true);
        }
    }

    fn add(&mut self, host: &HostName, view: HostView) {
        self.index(host, Indexed::of(&view), true);
        self.hosts.insert(host.clone(), view);
    }

    fn remove(&mut self, host: &HostName) -> Option<HostView> {
        let view = self.hosts.remove(host)?;
        self.index(host, Indexed::of(&view), false);
        Some(view)
    }

    /// Adds a host to what is counted and ordered, or takes it out.
    fn index(&mut self, host: &HostName, of: Indexed, is_there: bool) {
        let since = (of.since_ms, host.clone());
        let odd = of.oddity.map(|oddity| (oddity, of.since_ms, host.clone()));
        if is_there {
            self.since.insert(since);
            self.odd.extend(odd);
        } else {
            self.since.remove(&since);
            if let Some(odd) = odd {
                self.odd.remove(&odd);
            }
        }
        let by = if is_there { 1 } else { -1 };
        let add = |number: &mut u64| *number = number.saturating_add_signed(by);
        if of.recovering {
            add(&mut self.recovering);
        }
        match of.doing {
            Doing::Connecting => add(&mut self.connecting),
            Doing::Step(step) | Doing::Reconnecting(step) => {
                if let Some(step) = self.steps.get_mut(step as usize) {
                    add(&mut step.running);
                }
            }
            Doing::Between => {}
        }
    }

    /// Takes back what a step came to, because it runs again.
    fn undo(&mut self, host: &HostName, step: u32) {
        let Some(result) = self.result(host, step) else {
            return;
        };
        let before = std::mem::take(result);
        self.tally(step, before, -1);
    }

    fn settle(&mut self, host: &HostName, step: u32, done: Done, duration_ms: Option<u64>) {
        let Some(result) = self.result(host, step) else {
            return;
        };
        *result = done;
        self.tally(step, done, 1);
        if let (Some(step), Some(ms)) = (self.steps.get_mut(step as usize), duration_ms) {
            step.took(ms);
        }
    }

    fn result(&mut self, host: &HostName, step: u32) -> Option<&mut Done> {
        self.hosts.get_mut(host)?.results.get_mut(step as usize)
    }

    fn tally(&mut self, step: u32, done: Done, by: i64) {
        let Some(step) = self.steps.get_mut(step as usize) else {
            return;
        };
        let number = match done {
            Done::Not | Done::Started => return,
            Done::Ok => &mut step.ok,
            Done::Changed => &mut step.changed,
            Done::Skipped => &mut step.skipped,
            Done::Would => &mut step.would,
            Done::Undecided => &mut step.undecided,
            Done::Failed => &mut step.failed,
        };
        *number = number.saturating_add_signed(by);
    }

    fn end(&mut self, host: &HostName, outcome: &Outcome) {
        let failed = matches!(outcome.status(), Status::Failed | Status::Quarantined);
        if let Some(step) = outcome.step.as_ref().filter(|_| failed) {
            // An attempt that was lost has no result of its own, and some steps fail before they start.
            let before = self.result(host, step.index).copied();
            if matches!(before, Some(Done::Not | Done::Started)) {
                self.settle(host, step.index, Done::Failed, None);
                if let Some(step) = self.steps.get_mut(step.index as usize) {
                    step.not_started += u64::from(before == Some(Done::Not));
                }
            }
        }
        let view = self.remove(host);
        self.ended.add(outcome.status());
        self.ended_here += 1;
        let any = |done| view.as_ref().is_some_and(|view| view.results.contains(&done));
        self.changed += u64::from(any(Done::Changed));
        self.would += u64::from(any(Done::Would));
        self.undecided += u64::from(any(Done::Undecided));
        self.nothing_to_do += u64::from(outcome.class == Class::NothingToDo);
        self.recovered += u64::from(outcome.class == Class::OkAfterRecovery);
        if outcome.status() != Status::Cancelled {
            let at = self.slowest.partition_point(|(ms, _)| *ms >= outcome.duration_ms);
            if at < SLOWEST {
                self.slowest.insert(at, (outcome.duration_ms, host.clone()));
                self.slowest.truncate(SLOWEST);
            }
        }
    }
}
