//! The screen while a run goes on: a bar on a terminal, a few lines elsewhere.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use reveille_account::{Account, Class, Event, EventKind, HostName, Outcome, Status};
use reveille_ledger::Follow;
use reveille_text::duration;
use reveille_text::harmless::{self, shortened};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::failure::Failure;
use crate::printer::{Printer, Tone};
use crate::render::outlet::{Display, Said, Shown};

/// How often the bar is redrawn.
const REDRAW: Duration = Duration::from_millis(250);
/// How often progress is printed if standard error is not a terminal.
const PROGRESS: Duration = Duration::from_mins(1);

/// The live view of a run.
pub(crate) struct View {
    printer: Printer,
    display: Display,
    total: u64,
    ended: u64,
    ok: u64,
    failed: u64,
    recovering: HashSet<HostName>,
    /// Running hosts, with the time of their last event.
    running: HashMap<HostName, Instant>,
    classes: HashSet<Class>,
    /// Steps for which a stuck host was reported.
    stuck: HashSet<u32>,
    told: Instant,
    /// Show each host's output when its step ends.
    stream: bool,
}

// === impl View ===

impl View {
    /// A view of a run of `total` hosts, of which some had an outcome `before`.
    pub(crate) fn new(
        total: u64,
        before: &Account,
        printer: Printer,
        stream: bool,
        display: Display,
    ) -> Self {
        Self {
            printer,
            display,
            total,
            ended: before.ended(),
            ok: before.success,
            failed: before.ended() - before.success,
            recovering: HashSet::new(),
            running: HashMap::new(),
            classes: HashSet::new(),
            stuck: HashSet::new(),
            told: Instant::now(),
            stream,
        }
    }

    fn take(&mut self, event: &Event) {
        let Some(host) = &event.host else {
            return self.take_run(&event.kind);
        };
        match &event.kind {
            EventKind::Looked {
                step,
                evidence,
                stuck,
                ..
            } if *stuck => {
                // Reported once for each step, not for each check of each host.
                if self.stuck.insert(step.index) {
                    let line = format!(
                        "first stuck host: {host} in `{}`: {}",
                        harmless::block(&step.name),
                        shortened(&harmless::line(evidence), 160)
                    );
                    self.say(&line);
                }
            }
            EventKind::OutcomeReached { outcome } => {
                self.running.remove(host);
                self.recovering.remove(host);
                self.ended += 1;
                self.take_outcome(host, outcome);
            }
            EventKind::Cleaned => {}
            kind => {
                match kind {
                    EventKind::Recovering { .. } | EventKind::ConnectionLost { .. } => {
                        self.recovering.insert(host.clone());
                    }
                    EventKind::StepFinished { class, .. } if class.status() == Status::Success => {
                        self.recovering.remove(host);
                    }
                    _ => {}
                }
                self.running.insert(host.clone(), Instant::now());
            }
        }
    }

    fn take_run(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Warning { message } => self.warn(message),
            EventKind::SessionsLimited {
                reason: Some(reason), ..
            } => self.say(reason),
            EventKind::ControllerStalled { late_ms } => self.warn(&format!(
                "the controller stalled for {}; all deadlines were moved by that time",
                duration::shown(Duration::from_millis(*late_ms))
            )),
            _ => {}
        }
    }

    fn take_outcome(&mut self, host: &HostName, outcome: &Outcome) {
        if outcome.status() == Status::Success {
            self.ok += 1;
            return;
        }
        self.failed += 1;
        if self.classes.insert(outcome.class) {
            let line = format!(
                "first {}: {host}: {}",
                self.printer.tone_err(outcome.class.as_str(), Tone::Bad),
                shortened(&harmless::line(&outcome.message), 160)
            );
            self.say(&line);
        }
    }

    /// Shows a line, even with `--quiet`.
    fn say(&self, line: &str) {
        self.display.say(line.to_owned());
    }

    fn warn(&self, message: &str) {
        self.say(&format!(
            "{} {message}",
            self.printer.tone_err("warning:", Tone::Odd)
        ));
    }

    fn redraw(&mut self) {
        if self.printer.live {
            self.display.bar(self.ended, || self.words());
        } else if !self.printer.quiet && self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            self.say(&format!("{}/{} done: {}", self.ended, self.total, self.words()));
        }
    }

    fn words(&self) -> String {
        let mut words = vec![format!("ok {}", self.ok)];
        if self.failed > 0 {
            let failed = format!("failed {}", self.failed);
            words.push(self.printer.tone_err(&failed, Tone::Bad));
        }
        if !self.running.is_empty() {
            words.push(format!("running {}", self.running.len()));
        }
        if !self.recovering.is_empty() {
            words.push(format!("recovering {}", self.recovering.len()));
        }
        let oldest = self.running.iter().min_by_key(|(_, since)| **since);
        if let Some((host, since)) = oldest.filter(|(_, since)| since.elapsed() > Duration::from_secs(2)) {
            let host = shortened(host.as_str(), 24);
            let silence = duration::shown(since.elapsed());
            words.push(format!("longest silent {host} {silence}"));
        }
        words.join("  ")
    }

    /// Shows the output of a step that has ended.
    fn show_output(&self, event: &Event) {
        if let (Some(host), EventKind::StepFinished { step, attempt, .. }) = (&event.host, &event.kind) {
            self.display.output(Said {
                run: event.run,
                host: host.clone(),
                round: event.round,
                step: step.index,
                attempt: *attempt,
            });
        }
    }
}

/// Follows a run until it is released, and waits until everything is shown. Returns a warning if something was not.
pub(crate) async fn watch(
    mut events: Follow,
    mut view: View,
    shown: Shown,
) -> Result<Option<String>, Failure> {
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let followed = loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(Some(event)) => {
                    view.take(&event);
                    if view.stream {
                        view.show_output(&event);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            },
            _ = ticks.tick() => view.redraw(),
        }
    };
    drop(view);
    let shown = shown.end().await;
    followed.and(shown)
}
