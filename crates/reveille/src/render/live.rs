//! The screen while a run goes on: a block on a terminal, lines elsewhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reveille_account::{Event, EventKind, Status};
use reveille_ledger::Follow;
use reveille_view::{Clock, Mark, Note, Notes, RunView, block, lines, percent, step_ended};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::Shown as Kind;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::outlet::{Display, Shown};
use crate::render::terminal::{self, Progress};

/// How often the block is drawn.
const REDRAW: Duration = Duration::from_millis(250);
/// How often progress is printed if it is not drawn.
const PROGRESS: Duration = Duration::from_mins(1);

/// The live view of a run.
pub(crate) struct Live {
    view: RunView,
    notes: Notes,
    printer: Printer,
    display: Display,
    clock: Clock,
    /// The newest event before this process.
    after: u64,
    /// Output is shown as it comes.
    stream: bool,
    told: Instant,
}

// === impl Live ===

impl Live {
    /// Shows what comes after the event `after`; earlier events only count.
    pub(crate) fn new(view: RunView, after: u64, printer: Printer, display: Display, stream: bool) -> Self {
        Self {
            notes: Notes::new(printer.detail),
            view,
            printer,
            display,
            clock: Clock::here(),
            after,
            stream,
            told: Instant::now(),
        }
    }

    fn take(&mut self, event: &Event) {
        self.view.take(event);
        if event.seq <= self.after {
            return;
        }
        let notes = self.notes.take(event, &self.view);
        self.tell(&notes);
        if self.stream {
            self.mark(event);
        }
    }

    /// Shows where a step begins and ends among the output.
    fn mark(&self, event: &Event) {
        let Some(host) = &event.host else { return };
        let several = self.view.head.steps.len() > 1;
        match &event.kind {
            EventKind::StepStarted { step, .. } => {
                let name = if several {
                    self.view.step_name(step.index)
                } else {
                    String::new()
                };
                self.display.step(host, Mark::Starts, name);
            }
            EventKind::StepFinished { class, .. } => {
                let words = step_ended(&event.kind).map_or_else(String::new, |(step, words)| {
                    if several {
                        format!("{}: {words}", self.view.step_name(step))
                    } else {
                        words
                    }
                });
                // The end of a single command that succeeded says nothing.
                let is_worth = several || class.status() != Status::Success;
                self.display
                    .step(host, Mark::Ended, if is_worth { words } else { String::new() });
            }
            _ => {}
        }
    }

    fn tell(&self, notes: &[Note]) {
        if notes.is_empty() {
            return;
        }
        let live = self.printer.progress == Kind::Live;
        let columns = terminal::size().columns;
        let told = notes.iter().flat_map(|note| {
            if live {
                lines::on_terminal(note, columns, &self.clock)
            } else {
                vec![lines::in_log(note, &self.clock)]
            }
        });
        self.display
            .lines(told.map(|line| self.printer.painted(&line)).collect());
    }

    /// Draws the block, or prints progress now and then.
    fn tick(&mut self) {
        let now = now_ms();
        let due = self.notes.due(now, false);
        self.tell(&due);
        match self.printer.progress {
            Kind::Live => self.display.block(|| {
                let size = terminal::size();
                let block = block(&self.view, now, size, &self.clock, self.stream);
                (block, self.progress())
            }),
            Kind::Auto | Kind::Lines if self.told.elapsed() >= PROGRESS => {
                self.told = Instant::now();
                let line = lines::progress(&self.view, now, &self.clock);
                self.display.lines(vec![self.printer.painted(&line)]);
            }
            Kind::Auto | Kind::Lines | Kind::Off => {}
        }
    }

    fn progress(&self) -> Progress {
        let ended = &self.view.ended;
        let state = match () {
            () if self.view.stopping_ms.is_some() => 4,
            () if ended.failed + ended.quarantined > 0 => 2,
            () => 1,
        };
        Progress {
            state,
            percent: percent(&self.view),
        }
    }

    /// Shows who runs what.
    fn ask(&mut self, typed: usize) {
        (0..typed).for_each(|_| self.display.typed());
        let columns = terminal::size().columns;
        let answer = lines::who_runs_what(&self.view, now_ms(), columns, &self.clock);
        let answer = answer.iter().map(|line| self.printer.painted(line));
        self.display.lines(answer.collect());
    }
}

/// Follows a run until it is released, and waits until everything is shown. Returns the view at the end, and a warning if
/// something was not shown. Each message of `asked` asks who runs what, with
/// the number of lines that were typed for it.
pub(crate) async fn watch(
    mut events: Follow,
    mut live: Live,
    shown: Shown,
    mut asked: tokio::sync::mpsc::Receiver<usize>,
) -> Result<(RunView, Option<String>), Failure> {
    let mut ticks = interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut may_ask = true;
    let followed = loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(Some(event)) => live.take(&event),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            _ = ticks.tick() => live.tick(),
            question = asked.recv(), if may_ask => match question {
                Some(typed) => live.ask(typed),
                None => may_ask = false,
            },
        }
    };
    // Hosts that are not told yet are in the groups of the end.
    let Live { view, display, .. } = live;
    drop(display);
    let shown = shown.end().await;
    followed?;
    Ok((view, shown?))
}

/// Unix milliseconds.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
