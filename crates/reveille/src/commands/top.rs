//! `reveille top`: watches a run in the terminal. It only reads, so that leaving it changes nothing.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use data_encoding::BASE64;
use reveille_account::{Exit, RunId, RunState};
use reveille_fleet::RunRecipe;
use reveille_ledger::Ledger;
use reveille_text::harmless;
use reveille_view::{Clock, Effect, Key, Line, Mark, Role, RunView, Top, Wanted, elapsed, words};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Globals, TopArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::{terminal, view};
use crate::runtime::runtime;
use crate::state;

/// How often new events are read.
const LOOK: Duration = Duration::from_millis(500);
/// How long a signal waits for the main thread.
const GONE: Duration = Duration::from_secs(1);
/// Lines that are kept of a host's output.
const LINES: usize = 5000;

pub(crate) fn run(args: &TopArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let run = which(&ledger, args)?;
    let option = state::option(ledger.state_directory());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if is_dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "top needs a terminal that can move its cursor; `reveille show --follow{option} {run}` prints the events of a run as they happen"
        )));
    }
    let mut watch = Watch::new(&ledger, run, option, printer)?;
    let over = ended_by_signal()?;
    let mut screen = Screen::enter(*printer)?;
    let result = watch.run(&mut screen, &over);
    drop(screen);
    result.map(|()| Exit::Success)
}

/// The run that is asked for: without one, the newest in progress, or else the newest.
fn which(ledger: &Ledger, args: &TopArgs) -> Result<RunId, Failure> {
    if let Some(run) = &args.run {
        return Ok(ledger.resolve_run(run)?);
    }
    for record in ledger.runs()? {
        if record.state == RunState::Open && ledger.holder(record.run)?.is_some() {
            return Ok(record.run);
        }
    }
    Ok(ledger.resolve_run("last")?)
}

/// Set when a signal asks the program to end.
fn ended_by_signal() -> Result<Arc<AtomicBool>, Failure> {
    let over = Arc::new(AtomicBool::new(false));
    let of_thread = Arc::clone(&over);
    let runtime = runtime(1)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let kinds = [
                    SignalKind::terminate(),
                    SignalKind::hangup(),
                    SignalKind::interrupt(),
                ];
                let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = kinds.map(signal) else {
                    return;
                };
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                    _ = interrupt.recv() => {}
                }
                of_thread.store(true, Ordering::Relaxed);
                // The reader of keys never returns from a terminal that is gone.
                tokio::time::sleep(GONE).await;
                leave();
                #[expect(clippy::disallowed_methods, reason = "the main thread does not return")]
                std::process::exit(i32::from(Exit::Success.code()));
            });
        })
        .map_err(|error| Failure::System(format!("can't start a thread: {error}")))?;
    Ok(over)
}

/// The alternate screen, which is left in any case.
struct Screen {
    printer: Printer,
    /// The lines on it.
    shown: Vec<String>,
}

// === impl Screen ===

impl Screen {
    fn enter(printer: Printer) -> Result<Self, Failure> {
        enable_raw_mode().map_err(failed)?;
        // From here on, dropping it leaves.
        let screen = Self {
            printer,
            shown: Vec::new(),
        };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(failed)?;
        Ok(screen)
    }

    /// Draws the lines that have changed, in one write.
    fn draw(&mut self, lines: &[Line]) -> Result<(), Failure> {
        let lines: Vec<String> = lines.iter().map(|line| self.printer.painted_out(line)).collect();
        let mut text = String::from("\u{1b}[?2026h");
        for (row, line) in lines.iter().enumerate() {
            if self.shown.get(row) != Some(line) {
                text.push_str(&format!("\u{1b}[{};1H{line}\u{1b}[K", row + 1));
            }
        }
        text.push_str("\u{1b}[?2026l");
        if lines != self.shown {
            self.shown = lines;
            let mut stdout = io::stdout();
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush())
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Stops the program as the shell's Ctrl-Z does, until it is continued.
    fn suspend(&mut self) -> Result<(), Failure> {
        leave();
        // If it can't be sent, the program just continues.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
        enable_raw_mode().map_err(failed)?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(failed)?;
        self.shown.clear();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Restores the terminal. Errors there can't be reported anywhere.
fn leave() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn failed(error: io::Error) -> Failure {
    Failure::System(format!("can't use the terminal: {error}"))
}

/// A run that is watched.
struct Watch<'a> {
    ledger: &'a Ledger,
    run: RunId,
    recipe: RunRecipe,
    /// The round that is shown.
    round: u32,
    view: RunView,
    top: Top,
    clock: Clock,
    /// The newest event that was taken.
    seen: u64,
    steps: Vec<String>,
    verbose: bool,
    /// The host whose lines were given, and its newest event and output then.
    given: Option<(Wanted, u64)>,
}

impl<'a> Watch<'a> {
    fn new(ledger: &'a Ledger, run: RunId, option: String, printer: &Printer) -> Result<Self, Failure> {
        let record = ledger.run(run)?;
        let recipe = RunRecipe::restore(&record)?;
        let planned = ledger.account(run)?.planned;
        let (view, seen) = view::begin(ledger, run, planned, &recipe)?;
        Ok(Self {
            ledger,
            run,
            round: record.round,
            view,
            top: Top::new(option),
            clock: Clock::here(),
            seen,
            steps: recipe.job.steps.iter().map(|step| step.name.clone()).collect(),
            recipe,
            verbose: printer.verbose > 0,
            given: None,
        })
    }

    fn run(&mut self, screen: &mut Screen, over: &AtomicBool) -> Result<(), Failure> {
        let mut looked: Option<Instant> = None;
        while !over.load(Ordering::Relaxed) {
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) && !self.top.paused {
                looked = Some(Instant::now());
                self.look()?;
            }
            self.give()?;
            screen.draw(
                &self
                    .top
                    .screen(&self.view, self.now(), terminal::size_of_output(), &self.clock),
            )?;
            if !poll(LOOK).map_err(failed)? {
                continue;
            }
            let Input::Key(key) = read().map_err(failed)? else {
                // A new size: everything is drawn again.
                screen.shown.clear();
                execute!(
                    io::stdout(),
                    crossterm::terminal::Clear(crossterm::terminal::ClearType::All)
                )
                .map_err(failed)?;
                continue;
            };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            if key.modifiers.contains(KeyModifiers::CONTROL) {
                match key.code {
                    KeyCode::Char('c') => return Ok(()),
                    KeyCode::Char('z') => screen.suspend()?,
                    _ => {}
                }
                continue;
            }
            let Some(key) = translated(key) else { continue };
            match self.top.key(key, &self.view) {
                Effect::Draw => {}
                Effect::Quit => return Ok(()),
                Effect::Copy(text) => {
                    // The terminal's clipboard (OSC 52), also over SSH.
                    let code = BASE64.encode(text.as_bytes());
                    let mut stdout = io::stdout();
                    write!(stdout, "\u{1b}]52;c;{code}\u{7}")
                        .and_then(|()| stdout.flush())
                        .map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// The present time; the end of a run that has ended.
    fn now(&self) -> u64 {
        if self.top.is_over() {
            return self.view.newest_ms;
        }
        u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
    }

    /// Takes the events that are new.
    fn look(&mut self) -> Result<(), Failure> {
        let record = self.ledger.run(self.run)?;
        let (state, held) = (record.state, self.ledger.holder(self.run)?.is_some());
        if record.round != self.round {
            // Outcomes of the round before count only for hosts that are not on the new roll.
            let planned = self.ledger.account(self.run)?.planned;
            (self.view, self.seen) = view::begin(self.ledger, self.run, planned, &self.recipe)?;
            self.round = record.round;
            self.top.begin();
        }
        loop {
            let events = self.ledger.events_after(self.run, self.seen, None)?;
            let Some(last) = events.last() else { break };
            self.seen = last.seq;
            for event in &events {
                self.view.take(event);
                self.top.take(event, &self.view, &self.clock);
            }
        }
        self.top.state(state, held);
        Ok(())
    }

    /// Gives the lines of the host that is open, if there may be new ones.
    fn give(&mut self) -> Result<(), Failure> {
        let Some(wanted) = self.top.wants().cloned() else {
            self.given = None;
            return Ok(());
        };
        let is_running = self.view.host(&wanted.host).is_some();
        let now = (wanted, self.seen);
        // The output of a running step grows without events.
        if self.given.as_ref() == Some(&now) && !(is_running && now.0.output) {
            return Ok(());
        }
        let lines = if now.0.output {
            self.output(&now.0)?
        } else {
            self.events(&now.0)?
        };
        self.top.give(lines);
        self.given = Some(now);
        Ok(())
    }

    fn events(&self, wanted: &Wanted) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        let mut begin = None;
        for event in self.ledger.events(self.run, Some(&wanted.host)) {
            let event = event?;
            let begin = *begin.get_or_insert(event.wall_ms);
            if let Some(words) = words::of(&event.kind, self.verbose) {
                let ms = event.wall_ms.saturating_sub(begin);
                let time = format!("{}.{}  ", elapsed(ms), ms % 1000 / 100);
                lines.push(
                    Line::new()
                        .with(time, Role::Faint)
                        .with(harmless::line(&words), Role::Plain),
                );
            }
        }
        Ok(lines)
    }

    fn output(&self, wanted: &Wanted) -> Result<Vec<Line>, Failure> {
        let round = self.ledger.run(self.run)?.round;
        let mut lines: Vec<Line> = Vec::new();
        let mut heading = None;
        let mut said = reveille_view::Lines::new(false);
        let mut whole = Vec::new();
        for frame in self.ledger.read_output(self.run, &wanted.host, round)? {
            let frame = frame?;
            if heading != Some((frame.step, frame.attempt)) {
                said.end(&wanted.host, &mut whole);
                lines.extend(whole.drain(..).map(line_of));
                heading = Some((frame.step, frame.attempt));
                let name = self.steps.get(frame.step as usize).map_or("", String::as_str);
                let head = format!("── {}, attempt {}", harmless::line(name), frame.attempt);
                lines.push(Line::new().with(head, Role::Strong));
            }
            said.take(&wanted.host, frame.stream, &frame.bytes, 0, &mut whole);
            lines.extend(whole.drain(..).map(line_of));
            if lines.len() > 2 * LINES {
                lines.drain(..LINES);
            }
        }
        said.end(&wanted.host, &mut whole);
        lines.extend(whole.drain(..).map(line_of));
        if lines.is_empty() {
            lines.push(Line::new().with("no output", Role::Faint));
        }
        Ok(lines)
    }
}

/// A line of output.
#[expect(clippy::needless_pass_by_value, reason = "it is given to `map`")]
fn line_of(said: reveille_view::Said) -> Line {
    let role = if said.mark == Mark::Stderr {
        Role::Odd
    } else {
        Role::Plain
    };
    Line::new().with(
        format!("{} {}", said.mark.as_str(), said.text.replace('\t', " ")),
        role,
    )
}

/// A key of the terminal as one that `top` knows.
fn translated(key: KeyEvent) -> Option<Key> {
    let page = isize::try_from(terminal::size_of_output().rows).unwrap_or(24) - 8;
    Some(match key.code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Move(-1),
        KeyCode::Down => Key::Move(1),
        KeyCode::PageUp => Key::Move(-page.max(1)),
        KeyCode::PageDown => Key::Move(page.max(1)),
        KeyCode::Home => Key::Move(isize::MIN),
        KeyCode::End => Key::Move(isize::MAX),
        _ => return None,
    })
}
