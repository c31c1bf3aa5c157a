//! Threads that write while a run goes on, so that a stalled reader does not stop the run.
//!
//! ```text
//!  live view ── lines, outputs, the bar ──► queue, dropped when full ──► thread ──► terminal, standard output
//!  events ───── lines ────────────────────► queue, waits when full ────► thread ──► file, FIFO, standard output
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reveille_account::{HostName, RunId};
use reveille_ledger::Ledger;
use reveille_text::harmless;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::printer::Printer;

/// Pieces that may wait to be shown; later ones are dropped and counted.
const MOST: u64 = 64 * 1024;
/// How long the end of a run waits for a reader that takes nothing.
const STALLED: Duration = Duration::from_secs(5);

/// Counts the pieces that were given to a thread, and those that it has written.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    given: AtomicU64,
    done: AtomicU64,
}

/// A piece of the screen.
#[derive(Debug)]
enum Piece {
    /// A line, above the bar if there is one.
    Line(String),
    /// The output of an attempt. It is read from its file when it is shown.
    Output(Said),
    /// The state of the bar.
    Bar { position: u64, words: String },
}

/// An attempt whose output is to be shown.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) run: RunId,
    pub(crate) host: HostName,
    pub(crate) round: u32,
    pub(crate) step: u32,
    pub(crate) attempt: u32,
}

/// Receives the result of a thread.
type Ended = oneshot::Receiver<Result<(), Failure>>;

/// Sends pieces to the thread that shows them.
#[derive(Debug, Clone)]
pub(crate) struct Display {
    pieces: Sender<Piece>,
    gauge: Arc<Gauge>,
    dropped: Arc<AtomicU64>,
}

/// The end of the thread that shows pieces.
#[derive(Debug)]
pub(crate) struct Shown {
    gauge: Arc<Gauge>,
    dropped: Arc<AtomicU64>,
    ended: Ended,
}

// === impl Gauge ===

impl Gauge {
    pub(crate) fn give(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self) -> u64 {
        let done = self.done.load(Ordering::Relaxed);
        self.given.load(Ordering::Relaxed).saturating_sub(done)
    }

    /// Returns when the reader has taken nothing for five seconds.
    pub(crate) async fn stalled(&self) {
        let mut before = self.done.load(Ordering::Relaxed);
        loop {
            sleep(STALLED).await;
            let now = self.done.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

// === impl Display ===

impl Display {
    /// Starts the thread, with a bar of length `total` if standard error is a terminal.
    pub(crate) fn start(printer: Printer, total: u64, ledger: Ledger) -> Result<(Self, Shown), Failure> {
        let (sender, pieces) = channel();
        let dropped = Arc::<AtomicU64>::default();
        let left_out = Arc::clone(&dropped);
        let (gauge, ended) = on_thread("display", move |gauge| {
            show(&pieces, gauge, &left_out, printer, total, &ledger)
        })?;
        let display = Self {
            pieces: sender,
            gauge: Arc::clone(&gauge),
            dropped: Arc::clone(&dropped),
        };
        let shown = Shown {
            gauge,
            dropped,
            ended,
        };
        Ok((display, shown))
    }

    /// Shows a line. It never waits.
    pub(crate) fn say(&self, line: String) {
        self.give(Piece::Line(line));
    }

    /// Shows the output of an attempt.
    pub(crate) fn output(&self, said: Said) {
        self.give(Piece::Output(said));
    }

    /// Updates the bar, unless other pieces wait; the next update comes soon.
    pub(crate) fn bar(&self, position: u64, words: impl FnOnce() -> String) {
        if self.gauge.waiting() == 0 {
            let words = words();
            self.give(Piece::Bar { position, words });
        }
    }

    fn give(&self, piece: Piece) {
        if self.gauge.waiting() >= MOST {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.gauge.give();
        // If the thread has ended, `Shown::end` returns its failure.
        let _ = self.pieces.send(piece);
    }
}

// === impl Shown ===

impl Shown {
    /// Waits until everything is shown. If the reader stalls, returns a warning instead.
    pub(crate) async fn end(mut self) -> Result<Option<String>, Failure> {
        tokio::select! {
            biased;
            ended = &mut self.ended => ended.unwrap_or(Ok(())).map(|()| None),
            () = self.gauge.stalled() => {
                let missed = self.gauge.waiting() + self.dropped.load(Ordering::Relaxed);
                Ok(Some(format!("{missed} lines and outputs were not shown, because their reader has stalled")))
            }
        }
    }
}

/// Starts a thread that writes. Returns its gauge, and a receiver of its result.
pub(crate) fn on_thread(
    name: &str,
    write: impl FnOnce(&Gauge) -> Result<(), Failure> + Send + 'static,
) -> Result<(Arc<Gauge>, Ended), Failure> {
    let (end, ended) = oneshot::channel();
    let gauge = Arc::<Gauge>::default();
    let of_thread = Arc::clone(&gauge);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // The receiver may have given up.
            let _ = end.send(write(&of_thread));
        })
        .map_err(|error| Failure::System(format!("can't start a thread: {error}")))?;
    Ok((gauge, ended))
}

fn show(
    pieces: &Receiver<Piece>,
    gauge: &Gauge,
    dropped: &AtomicU64,
    printer: Printer,
    total: u64,
    ledger: &Ledger,
) -> Result<(), Failure> {
    let bar = printer.live.then(|| {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{elapsed:>5} {bar:24} {pos}/{len}  {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar
    });
    let note = |line: &str| match &bar {
        Some(bar) => bar.suspend(|| printer.note(line)),
        None => printer.note(line),
    };
    let mut result = Ok(());
    while let (Ok(()), Ok(piece)) = (&result, pieces.recv()) {
        match piece {
            Piece::Line(line) => note(&line),
            Piece::Output(said) => {
                result = lines_of(ledger, &said).and_then(|lines| match &bar {
                    Some(bar) => bar.suspend(|| printer.data_bytes(lines.as_bytes())),
                    None => printer.data_bytes(lines.as_bytes()),
                });
            }
            Piece::Bar { position, words } => {
                if let Some(bar) = &bar {
                    bar.set_position(position);
                    bar.set_message(words);
                }
            }
        }
        gauge.take();
        if gauge.waiting() == 0 {
            let missed = dropped.swap(0, Ordering::Relaxed);
            if missed > 0 {
                note(&format!(
                    "warning: {missed} lines and outputs were not shown, because their reader is too slow"
                ));
            }
        }
    }
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    result
}

/// The output of an attempt, each line with the host's name.
fn lines_of(ledger: &Ledger, said: &Said) -> Result<String, Failure> {
    let mut lines = String::new();
    for frame in ledger.read_output(said.run, &said.host, said.round)? {
        let frame = frame?;
        if (frame.step, frame.attempt) == (said.step, said.attempt) {
            for line in harmless::block_of_bytes(&frame.bytes).lines() {
                lines.push_str(&format!("{}: {line}\n", said.host));
            }
        }
    }
    Ok(lines)
}
