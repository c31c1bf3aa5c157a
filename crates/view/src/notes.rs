//! Lines that stay on the screen while a run goes on: what an operator wants to know at once.
//!
//! Hosts to which the same thing happens are one story: its first host is told at once, the others are counted and told
//! now and then. However much happens, at most ten lines a second come of it.

use std::collections::HashMap;

use reveille_account::{Event, EventKind, HostName, PhaseTimings, Status};
use reveille_text::duration::shown_millis;
use reveille_text::{counted, harmless};

use crate::names;
use crate::run::RunView;
use crate::story::{masked, told};

/// Lines a second, without those that `-v` adds.
pub(crate) const A_SECOND: u32 = 10;
/// How often a story's further hosts are told, in milliseconds.
const AGAIN_MS: u64 = 10_000;
/// Stories that are kept apart; what happens beyond is one more story.
const STORIES: usize = 500;
/// Cells of a list of further hosts.
const HOSTS: usize = 60;

/// What kind of line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// A host failed.
    Fail,
    /// The watchdog checked a host.
    Look,
    /// A connection was lost.
    Lost,
    /// A host came back.
    Back,
    /// Something has to wait.
    Wait,
    /// The run stops, or dispatches no more hosts.
    Stop,
    /// Something an operator should know.
    Note,
    /// A step ended (`-v`).
    Step,
    /// A connection (`-vvv`).
    Link,
}

/// A line that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When it happened, Unix milliseconds.
    pub at_ms: u64,
    /// Its kind; none for the progress of the run itself.
    pub tag: Option<Tag>,
    /// The host, if it is about one.
    pub host: Option<HostName>,
    /// What happened, in one line.
    pub words: String,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Failures, stops and warnings.
    Quiet,
    /// What needs attention.
    Usual,
    /// Each step of each host (`-v`).
    Steps,
    /// Connections too (`-vvv`).
    Connections,
}

/// Chooses the lines that stay.
#[derive(Debug)]
pub struct Notes {
    detail: Detail,
    stories: HashMap<Key, Story>,
    /// The stories with hosts that are not told yet, oldest first.
    untold: Vec<Key>,
    /// The present second, and the lines told in it.
    second: (u64, u32),
}

/// What makes hosts' stories the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tag: Tag,
    step: Option<u32>,
    status: String,
    words: String,
}

#[derive(Debug)]
struct Story {
    /// The first host, if it has been told.
    first: Option<HostName>,
    /// The first host's words, and those whose turn has not come.
    words: String,
    hosts: Vec<HostName>,
    told_ms: u64,
}

// === impl Tag ===

impl Tag {
    /// The word on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Tag::Fail => "FAIL",
            Tag::Look => "LOOK",
            Tag::Lost => "LOST",
            Tag::Back => "BACK",
            Tag::Wait => "WAIT",
            Tag::Stop => "STOP",
            Tag::Note => "NOTE",
            Tag::Step => "STEP",
            Tag::Link => "LINK",
        }
    }
}

// === impl Note ===

impl Note {
    /// A line about the run itself.
    pub fn of_run(at_ms: u64, words: String) -> Self {
        Self {
            at_ms,
            tag: None,
            host: None,
            words,
        }
    }
}

// === impl Notes ===

impl Notes {
    /// Tells that much.
    pub fn new(detail: Detail) -> Self {
        Self {
            detail,
            stories: HashMap::new(),
            untold: Vec::new(),
            second: (0, 0),
        }
    }

    /// The lines that an event gives at once. The view has taken the event already.
    pub fn take(&mut self, event: &Event, view: &RunView) -> Vec<Note> {
        let at_ms = event.wall_ms;
        let Some((tag, step, words)) = self.chosen(event, view) else {
            return Vec::new();
        };
        let note = |tag, words| Note {
            at_ms,
            tag,
            host: event.host.clone(),
            words,
        };
        let (Some(tag), Some(host)) = (tag, &event.host) else {
            return vec![note(tag, words)];
        };
        if matches!(tag, Tag::Step | Tag::Link) {
            return vec![note(Some(tag), words)];
        }
        let status = match &event.kind {
            EventKind::OutcomeReached { outcome } => {
                format!("{} {:?} {:?}", outcome.class, outcome.exit_status, outcome.signal)
            }
            _ => String::new(),
        };
        let mut key = Key {
            tag,
            step,
            status,
            words: masked(&words),
        };
        if self.stories.len() >= STORIES && !self.stories.contains_key(&key) {
            key.status.clear();
            key.words.clear();
        }
        if !self.stories.contains_key(&key) {
            let may_tell = self.spend(at_ms);
            let story = Story {
                first: may_tell.then(|| host.clone()),
                words: words.clone(),
                hosts: Vec::new(),
                told_ms: at_ms,
            };
            self.stories.insert(key.clone(), story);
            if may_tell {
                return vec![note(Some(tag), words)];
            }
        }
        if let Some(story) = self.stories.get_mut(&key) {
            if story.hosts.is_empty() {
                self.untold.push(key);
            }
            story.hosts.push(host.clone());
        }
        Vec::new()
    }

    /// The lines that have become due: further hosts of stories. With `all`, also those that would wait.
    pub fn due(&mut self, now_ms: u64, all: bool) -> Vec<Note> {
        let mut notes = Vec::new();
        for key in std::mem::take(&mut self.untold) {
            let Some(story) = self.stories.get(&key) else {
                continue;
            };
            let wait = if story.first.is_some() { AGAIN_MS } else { 0 };
            let is_due = all || now_ms >= story.told_ms + wait;
            if !is_due || !(self.spend(now_ms) || all) {
                self.untold.push(key);
                continue;
            }
            let Some(story) = self.stories.get_mut(&key) else {
                continue;
            };
            let mut hosts = std::mem::take(&mut story.hosts);
            story.told_ms = now_ms;
            let (host, words) = if let Some(first) = &story.first {
                let list = names::fold_up_to(hosts.iter().map(HostName::as_str), HOSTS);
                (None, format!("{} more like {first}: {list}", hosts.len()))
            } else {
                let first = hosts.remove(0);
                story.first = Some(first.clone());
                if !hosts.is_empty() {
                    story.hosts = hosts;
                    self.untold.push(key.clone());
                }
                (Some(first), story.words.clone())
            };
            notes.push(Note {
                at_ms: now_ms,
                tag: Some(key.tag),
                host,
                words,
            });
        }
        notes
    }

    /// Whether one more line may be told in this second; counts it.
    fn spend(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        let may = self.second.1 < A_SECOND;
        self.second.1 += u32::from(may);
        may
    }

    /// What an event is worth: its tag, its step, and its words.
    fn chosen(&self, event: &Event, view: &RunView) -> Option<(Option<Tag>, Option<u32>, String)> {
        let several = view.head.steps.len() > 1;
        let of_step = |step: u32, words: &str| {
            let words = harmless::line(words);
            match several {
                true if words.is_empty() => view.step_name(step),
                true => format!("{}: {words}", view.step_name(step)),
                false => words,
            }
        };
        let (tag, step, words) = match &event.kind {
            EventKind::OutcomeReached { outcome } => match outcome.status() {
                Status::Failed | Status::Quarantined | Status::Ghost => {
                    let story = told(
                        outcome.class,
                        &outcome.message,
                        &outcome.stdout_tail,
                        &outcome.stderr_tail,
                    );
                    let story = if story.is_empty() {
                        outcome.class.as_str().to_owned()
                    } else {
                        story
                    };
                    let step = outcome.step.as_ref().map(|step| step.index);
                    let words = match step {
                        Some(step) => of_step(step, &story),
                        None => harmless::line(&story),
                    };
                    (Tag::Fail, step, words)
                }
                // A line of the run says why hosts are cancelled.
                Status::Success | Status::Cancelled => return None,
            },
            EventKind::Looked {
                step,
                evidence,
                decision,
                ..
            } => {
                let words = of_step(step.index, &format!("{evidence}; {decision}"));
                (Tag::Look, Some(step.index), words)
            }
            EventKind::ConnectionLost { step, message } => {
                let words = of_step(step.index, &format!("{message}; reconnects"));
                (Tag::Lost, Some(step.index), words)
            }
            EventKind::Reattached { step, found, .. } => {
                let found = match found.as_str() {
                    "running" => "re-attached, still running",
                    "finished" => "re-attached, it has finished",
                    "never_started" => "it had never started",
                    "rebooted" => "the host has rebooted",
                    _ => "its process is gone",
                };
                (Tag::Back, Some(step.index), of_step(step.index, found))
            }
            EventKind::Recovering {
                class,
                reason,
                rung: Some(_),
                ..
            } => (Tag::Note, None, format!("recovers from {class}: {reason}")),
            EventKind::Recovering { class, reason, .. } if self.detail >= Detail::Steps => {
                (Tag::Note, None, format!("{class}: {reason}"))
            }
            EventKind::Replaced { address, port } => (
                Tag::Note,
                None,
                format!("replaced by another machine: {address}:{port}"),
            ),
            EventKind::SessionsLimited {
                reason: Some(reason), ..
            } => (Tag::Wait, None, reason.clone()),
            EventKind::HandshakesLimited { endpoint, limit } if self.detail >= Detail::Steps => {
                let handshakes = counted(*limit, "handshake");
                (Tag::Wait, None, format!("{handshakes} at once with {endpoint}"))
            }
            EventKind::Halted { reason } => (Tag::Stop, None, format!("no more hosts start: {reason}")),
            EventKind::OnceSettled {
                step,
                failed: Some(why),
                ..
            } => (Tag::Stop, None, of_step(step.index, why)),
            EventKind::Stopping { grace_ms } => {
                let running = view.running() + view.recovering();
                let mut words = "No new hosts start".to_owned();
                if running > 0 {
                    let hosts = counted(running, "running host");
                    let verb = if running == 1 { "has" } else { "have" };
                    words = format!("{words}; {hosts} {verb} {} to finish", shown_millis(*grace_ms));
                }
                let continues = if view.head.durable {
                    "; remote commands continue"
                } else {
                    ""
                };
                let words = format!("{words}. Press Ctrl-C again to detach{continues}.");
                (Tag::Stop, None, words)
            }
            EventKind::Warning { message } => (Tag::Note, None, message.clone()),
            EventKind::ControllerStalled { late_ms } => {
                let late = shown_millis(*late_ms);
                let words =
                    format!("the controller stalled for {late}; all deadlines were moved by that time");
                (Tag::Note, None, words)
            }
            EventKind::BatchOpened { batch, of, hosts } if self.detail >= Detail::Usual => {
                let words = format!("batch {batch} of {of}: {}", counted(*hosts, "host"));
                return Some((None, None, words));
            }
            EventKind::StepFinished { .. } | EventKind::StepSkipped { .. }
                if self.detail >= Detail::Steps =>
            {
                let (step, words) = step_ended(&event.kind)?;
                (
                    Tag::Step,
                    Some(step),
                    format!("{}: {words}", view.step_name(step)),
                )
            }
            EventKind::Connecting { tries, address, .. } if self.detail >= Detail::Connections => {
                (Tag::Link, None, format!("connecting to {address}, try {tries}"))
            }
            EventKind::ConnectFailed {
                phase,
                class,
                message,
                ..
            } if self.detail >= Detail::Connections => (
                Tag::Link,
                None,
                format!("{} failed, {class}: {message}", phase.as_str()),
            ),
            EventKind::Connected { phases, .. } if self.detail >= Detail::Connections => {
                (Tag::Link, None, connected(*phases))
            }
            _ => return None,
        };
        let is_told = match tag {
            Tag::Fail | Tag::Stop | Tag::Note => true,
            Tag::Look => {
                self.detail > Detail::Quiet || matches!(event.kind, EventKind::Looked { stuck: true, .. })
            }
            _ => self.detail > Detail::Quiet,
        };
        is_told.then(|| (Some(tag), step, harmless::line(&words)))
    }
}

/// The step, and how an attempt of it ended: `ok, changed, 24 s`.
pub fn step_ended(kind: &EventKind) -> Option<(u32, String)> {
    match kind {
        EventKind::StepSkipped { step, reason } => Some((step.index, format!("skipped: {reason}"))),
        EventKind::StepFinished {
            step,
            class,
            exit_status,
            signal,
            duration_ms,
            changed,
            ..
        } => {
            let mut words = vec![class.as_str().to_owned()];
            if class.status() == Status::Success {
                words.extend(changed.then(|| "changed".to_owned()));
            } else {
                words.extend(exit_status.map(|status| format!("exit status {status}")));
            }
            words.extend(signal.as_ref().map(|signal| format!("signal {signal}")));
            words.push(shown_millis(*duration_ms));
            Some((step.index, words.join(", ")))
        }
        _ => None,
    }
}

/// `connected: TCP 1 ms, banner 40 ms, key exchange 58 ms, authentication 61 ms`
pub fn connected(phases: PhaseTimings) -> String {
    if phases == PhaseTimings::default() {
        return "connected".to_owned();
    }
    format!(
        "connected: TCP {}, banner {}, key exchange {}, authentication {}",
        shown_millis(phases.tcp_ms),
        shown_millis(phases.banner_ms),
        shown_millis(phases.key_exchange_ms),
        shown_millis(phases.authentication_ms)
    )
}
