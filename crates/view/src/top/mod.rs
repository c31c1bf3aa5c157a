//! `top`: a view of one run that fills the terminal, driven by keys.
//!
//! [`Top`] is what the operator has chosen; it lays out lines and knows nothing of terminals. Events reach it as they
//! reach the [`RunView`]; what it needs besides (a host's events and output) the program reads when [`Top::wants`] it.

mod layout;

use std::collections::BTreeMap;

use reveille_account::{Class, Event, EventKind, HostName, RunState, Status};
use reveille_text::harmless;

use crate::clock::Clock;
use crate::paint::{Line, Role};
use crate::run::RunView;
use crate::story::told;
use crate::words;

/// Events that are kept for the list of events.
const EVENTS: usize = 1000;

/// A key that the operator pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// By this many lines down, or up if negative; `isize::MIN` is the first line, `isize::MAX` the last.
    Move(isize),
}

/// What the program has to do after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but drawing.
    Draw,
    /// Leave.
    Quit,
    /// Copy this text to the clipboard.
    Copy(String),
}

/// What the operator looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Hosts,
    Failures,
    Steps,
    Events,
}

/// How hosts are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Attention,
    Name,
    Time,
}

/// A host whose events and output are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The host.
    pub host: HostName,
    /// Its output is shown, not its events.
    pub output: bool,
}

/// The state of `top`.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the operator's")]
pub struct Top {
    tab: Tab,
    sort: Sort,
    reverse: bool,
    failed_only: bool,
    filter: String,
    /// The operator types the filter.
    filtering: bool,
    /// The chosen row, and the first one on the screen.
    chosen: usize,
    first: usize,
    /// The host that is open.
    open: Option<Wanted>,
    /// Lines of the open host, given by the program.
    details: Vec<Line>,
    help: bool,
    explained: bool,
    /// Nothing new is shown.
    pub paused: bool,
    /// A word about what the last key did.
    said: String,
    /// Hosts that have an outcome.
    ended: BTreeMap<HostName, Ended>,
    events: Vec<Line>,
    /// The state of the run, and whether a controller works on it.
    state: (RunState, bool),
    /// The option with which commands find the run.
    option: String,
    /// The hosts on the screen.
    rows: Vec<HostName>,
}

/// A host with its outcome.
#[derive(Debug, Clone)]
struct Ended {
    class: Class,
    step: String,
    words: String,
    took_ms: u64,
    attempts: u32,
}

// === impl Top ===

impl Top {
    /// Nothing is chosen. `option` is the option with which suggested commands find the run.
    pub fn new(option: String) -> Self {
        Self {
            tab: Tab::Hosts,
            sort: Sort::Attention,
            reverse: false,
            failed_only: false,
            filter: String::new(),
            filtering: false,
            chosen: 0,
            first: 0,
            open: None,
            details: Vec::new(),
            help: false,
            explained: false,
            paused: false,
            said: String::new(),
            ended: BTreeMap::new(),
            events: Vec::new(),
            state: (RunState::Open, true),
            option,
            rows: Vec::new(),
        }
    }

    /// Another round begins, with a view of its own.
    pub fn begin(&mut self) {
        self.ended.clear();
        self.events.clear();
    }

    /// The run is in this state, and a controller works on it or not.
    pub fn state(&mut self, state: RunState, held: bool) {
        self.state = (state, held);
    }

    /// Whether nothing more happens in the run until somebody resumes it.
    pub fn is_over(&self) -> bool {
        !matches!(self.state, (RunState::Open, true))
    }

    /// Takes an event that the view has taken.
    pub fn take(&mut self, event: &Event, view: &RunView, clock: &Clock) {
        if let Some(words) = words::of(&event.kind, false) {
            let host = event
                .host
                .as_ref()
                .map_or(String::new(), |host| format!("{host}  "));
            let time = clock.time(event.wall_ms);
            if self.events.len() >= 2 * EVENTS {
                self.events.drain(..EVENTS);
            }
            let line = Line::new()
                .with(format!("{time}  "), Role::Faint)
                .with(host, Role::Strong);
            self.events.push(line.with(harmless::line(&words), Role::Plain));
        }
        match (&event.host, &event.kind) {
            (Some(host), EventKind::OutcomeReached { outcome }) => {
                let story = told(
                    outcome.class,
                    &outcome.message,
                    &outcome.stdout_tail,
                    &outcome.stderr_tail,
                );
                let step = outcome.step.as_ref();
                let ended = Ended {
                    class: outcome.class,
                    step: step.map_or_else(String::new, |step| view.step_name(step.index)),
                    words: harmless::line_up_to(&story, 300),
                    took_ms: outcome.duration_ms,
                    attempts: outcome.attempts,
                };
                self.ended.insert(host.clone(), ended);
            }
            (Some(host), EventKind::Dispatched) => {
                self.ended.remove(host);
            }
            _ => {}
        }
    }

    /// The host whose events or output are to be given.
    pub fn wants(&self) -> Option<&Wanted> {
        self.open.as_ref()
    }

    /// The lines of the host that is wanted.
    pub fn give(&mut self, lines: Vec<Line>) {
        self.details = lines;
    }

    /// Handles a key.
    pub fn key(&mut self, key: Key, view: &RunView) -> Effect {
        self.said.clear();
        if self.filtering {
            match key {
                Key::Char(character) if !character.is_control() => self.filter.push(character),
                Key::Backspace => {
                    self.filter.pop();
                }
                Key::Escape => {
                    self.filter.clear();
                    self.filtering = false;
                }
                Key::Enter => self.filtering = false,
                _ => {}
            }
            (self.chosen, self.first) = (0, 0);
            return Effect::Draw;
        }
        if self.help || self.explained {
            (self.help, self.explained) = (false, false);
            return if key == Key::Char('q') {
                Effect::Quit
            } else {
                Effect::Draw
            };
        }
        match key {
            Key::Char('q') => return Effect::Quit,
            Key::Char('?') => self.help = true,
            Key::Char(' ') => self.paused = !self.paused,
            Key::Char('1') => self.show(Tab::Hosts),
            Key::Char('2') => self.show(Tab::Failures),
            Key::Char('3') => self.show(Tab::Steps),
            Key::Char('4') => self.show(Tab::Events),
            Key::Char('/') => {
                self.filtering = true;
                self.filter.clear();
            }
            Key::Char('s') => {
                self.sort = match self.sort {
                    Sort::Attention => Sort::Name,
                    Sort::Name => Sort::Time,
                    Sort::Time => Sort::Attention,
                };
            }
            Key::Char('S') => self.reverse = !self.reverse,
            Key::Char('f') => {
                self.failed_only = !self.failed_only;
                (self.chosen, self.first) = (0, 0);
            }
            Key::Char('j') => self.go(1),
            Key::Char('k') => self.go(-1),
            Key::Char('g') => self.go(isize::MIN),
            Key::Char('G') => self.go(isize::MAX),
            Key::Move(by) => self.go(by),
            Key::Enter => self.open(false),
            Key::Char('l') => match &mut self.open {
                Some(wanted) => {
                    wanted.output = !wanted.output;
                    (self.first, self.details) = (0, Vec::new());
                }
                None => self.open(true),
            },
            Key::Char('n') => self.neighbour(1),
            Key::Char('p') => self.neighbour(-1),
            Key::Char('e') => {
                self.explained = self.class().is_some();
                if !self.explained {
                    "only hosts that failed can be explained".clone_into(&mut self.said);
                }
            }
            Key::Char('y') => {
                if let Some(host) = self.host() {
                    let command = format!("reveille logs{} {} {host}", self.option, view.head.run);
                    self.said = format!("copied: {command}");
                    return Effect::Copy(command);
                }
            }
            Key::Escape | Key::Backspace => {
                if self.open.take().is_some() {
                    (self.first, self.details) = (0, Vec::new());
                } else {
                    self.filter.clear();
                    self.failed_only = false;
                }
            }
            Key::Char(_) => {}
        }
        Effect::Draw
    }

    fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.open = None;
        (self.chosen, self.first) = (0, 0);
    }

    /// Moves the choice, or what is shown of lines.
    fn go(&mut self, by: isize) {
        let is_list = self.open.is_none() && matches!(self.tab, Tab::Hosts | Tab::Failures);
        let place = if is_list {
            &mut self.chosen
        } else {
            &mut self.first
        };
        *place = place.saturating_add_signed(by);
        if by == isize::MIN {
            *place = 0;
        }
    }

    fn host(&self) -> Option<HostName> {
        match &self.open {
            Some(wanted) => Some(wanted.host.clone()),
            None => self.rows.get(self.chosen).cloned(),
        }
    }

    fn open(&mut self, output: bool) {
        if let Some(host) = self.host() {
            self.open = Some(Wanted { host, output });
            (self.first, self.details) = (0, Vec::new());
        }
    }

    /// Opens the next or the previous host.
    fn neighbour(&mut self, by: isize) {
        let Some(output) = self.open.as_ref().map(|wanted| wanted.output) else {
            return;
        };
        let most = self.rows.len().saturating_sub(1);
        self.chosen = self.chosen.saturating_add_signed(by).min(most);
        self.open = None;
        self.open(output);
    }

    /// The class of the chosen host.
    fn class(&self) -> Option<Class> {
        let class = self.ended.get(&self.host()?)?.class;
        (class.status() != Status::Success).then_some(class)
    }
}
