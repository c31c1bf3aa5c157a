//! Threads that write while a run goes on, so that a stalled reader does not stop the run.
//!
//! ```text
//!  live view ── lines, the block ─► queue, dropped when full ──► thread ──► terminal, standard output
//!  engine ───── output ───────────►
//!  events ───── lines ────────────► queue, waits when full ────► thread ──► file, FIFO, standard output
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{HostName, Stream};
use reveille_text::counted;
use reveille_view::{Line, Mark};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::cli::Shown as Kind;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::stream::StreamOut;
use crate::render::terminal::{Progress, Terminal};

/// Pieces that may wait to be shown; later ones are dropped and counted.
const MOST: u64 = 64 * 1024;
/// Bytes of output that may wait to be shown; later ones are left out and counted.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// Pieces that are written together.
const TOGETHER: usize = 1024;
/// How many lines of output are laid out together, so that short lines need no more memory than long ones.
const LINES_TOGETHER: usize = 4096;
/// How often parts of lines are looked through.
const LOOK: Duration = Duration::from_millis(200);
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
    /// Lines, above the block if there is one.
    Lines(Vec<String>),
    /// The block.
    Block(Vec<Line>, Progress),
    /// Output of a host. `gap` if some before it was left out.
    Heard {
        host: HostName,
        stream: Stream,
        bytes: Bytes,
        gap: bool,
    },
    /// A step of a host starts or has ended.
    Step {
        host: HostName,
        mark: Mark,
        words: String,
    },
    /// The operator has pressed Enter.
    Typed,
    /// The program goes on after it was stopped.
    Resumed,
}

/// Receives the result of a thread.
type Ended = oneshot::Receiver<Result<(), Failure>>;

/// Sends pieces to the thread that shows them.
#[derive(Debug, Clone)]
pub(crate) struct Display {
    pieces: Sender<Piece>,
    gauge: Arc<Gauge>,
    left_out: Arc<LeftOut>,
}

/// What was not shown, because it came faster than it could be written.
#[derive(Debug, Default)]
struct LeftOut {
    /// Bytes of output that wait.
    waiting: AtomicU64,
    /// Whether anything was left out since the last look.
    count: AtomicU64,
    lines: Mutex<OfHosts>,
}

/// What was left out of the output of hosts.
#[derive(Debug, Default)]
struct OfHosts {
    /// Lines by host, since they were last reported.
    lines: HashMap<HostName, u64>,
    /// Hosts whose next output does not follow what was shown of them.
    torn: HashSet<HostName>,
}

/// The end of the thread that shows pieces.
#[derive(Debug)]
pub(crate) struct Shown {
    gauge: Arc<Gauge>,
    left_out: Arc<LeftOut>,
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

// === impl LeftOut ===

impl LeftOut {
    fn piece(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn output(&self, host: &HostName, bytes: &[u8]) {
        let lines = bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
        let mut of_hosts = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        *of_hosts.lines.entry(host.clone()).or_default() += lines.max(1);
        of_hosts.torn.insert(host.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn is_torn(&self, host: &HostName) -> bool {
        let mut of_hosts = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        of_hosts.torn.remove(host)
    }

    /// What to say about it, if anything was left out since the last time.
    fn words(&self, logs: &str) -> Option<String> {
        let pieces = self.count.swap(0, Ordering::Relaxed);
        if pieces == 0 {
            return None;
        }
        let mut of_hosts = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = std::mem::take(&mut of_hosts.lines);
        if hosts.is_empty() {
            let lines = counted(pieces, "line");
            return Some(format!(
                "… {lines} not shown, because they came faster than they could be written"
            ));
        }
        let lines = counted(hosts.values().sum::<u64>(), "line");
        let hosts = counted(hosts.len(), "host");
        Some(format!(
            "… {lines} of {hosts} not shown, because they came faster than they could be written; the logs have them:\n  {logs}"
        ))
    }
}

// === impl Display ===

impl Display {
    /// Starts the thread. `logs` is the command that prints the output of a host; with `stream`, output is shown as it
    /// comes.
    pub(crate) fn start(
        printer: Printer,
        logs: String,
        stream: Option<StreamOut>,
    ) -> Result<(Self, Shown), Failure> {
        let (sender, pieces) = channel();
        let left_out = Arc::<LeftOut>::default();
        let of_thread = Arc::clone(&left_out);
        let (gauge, ended) = on_thread("display", move |gauge| {
            let screen = Screen {
                terminal: (printer.progress == Kind::Live).then(|| Terminal::new(printer)),
                printer,
                stream,
                left_out: of_thread,
                logs,
            };
            screen.show(&pieces, gauge)
        })?;
        let display = Self {
            pieces: sender,
            gauge: Arc::clone(&gauge),
            left_out: Arc::clone(&left_out),
        };
        let shown = Shown {
            gauge,
            left_out,
            ended,
        };
        Ok((display, shown))
    }

    /// Shows lines. It never waits.
    pub(crate) fn lines(&self, lines: Vec<String>) {
        self.give(Piece::Lines(lines));
    }

    /// Replaces the block, unless other pieces wait; the next update comes soon.
    pub(crate) fn block(&self, block: impl FnOnce() -> (Vec<Line>, Progress)) {
        if self.gauge.waiting() == 0 {
            let (block, progress) = block();
            self.give(Piece::Block(block, progress));
        }
    }

    /// Shows a host's output.
    pub(crate) fn hear(&self, host: &HostName, stream: Stream, bytes: &Bytes) {
        let size = bytes.len() as u64;
        let waiting = &self.left_out.waiting;
        if waiting.load(Ordering::Relaxed) + size > MOST_BYTES || self.gauge.waiting() >= MOST {
            self.left_out.output(host, bytes);
            return;
        }
        waiting.fetch_add(size, Ordering::Relaxed);
        let gap = self.left_out.is_torn(host);
        self.give(Piece::Heard {
            host: host.clone(),
            stream,
            bytes: bytes.clone(),
            gap,
        });
    }

    /// Shows that a step of a host starts or has ended.
    pub(crate) fn step(&self, host: &HostName, mark: Mark, words: String) {
        let host = host.clone();
        self.give(Piece::Step { host, mark, words });
    }

    /// The operator has pressed Enter.
    pub(crate) fn typed(&self) {
        self.give(Piece::Typed);
    }

    /// The program goes on after it was stopped (Ctrl-Z).
    pub(crate) fn resumed(&self) {
        self.give(Piece::Resumed);
    }

    fn give(&self, piece: Piece) {
        if self.gauge.waiting() >= MOST {
            self.left_out.piece();
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
                let missed = self.gauge.waiting() + self.left_out.count.load(Ordering::Relaxed);
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

/// The thread's side of the screen.
struct Screen {
    printer: Printer,
    terminal: Option<Terminal>,
    stream: Option<StreamOut>,
    left_out: Arc<LeftOut>,
    logs: String,
}

impl Screen {
    fn show(mut self, pieces: &Receiver<Piece>, gauge: &Gauge) -> Result<(), Failure> {
        let mut result = Ok(());
        loop {
            let piece = match &self.stream {
                Some(_) => pieces.recv_timeout(LOOK),
                None => pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut batch = Batch::default();
            let mut taken = 0;
            match piece {
                Ok(piece) => {
                    self.take(piece, &mut batch);
                    taken += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while taken < TOGETHER
                && batch.said.len() < LINES_TOGETHER
                && let Ok(piece) = pieces.try_recv()
            {
                self.take(piece, &mut batch);
                taken += 1;
            }
            if let Some(stream) = &mut self.stream {
                stream.due(&mut batch.said);
            }
            let written = self.write(batch);
            for _ in 0..taken {
                gauge.take();
            }
            if gauge.waiting() == 0
                && let Some(words) = self.left_out.words(&self.logs)
            {
                self.note(&words.lines().map(str::to_owned).collect::<Vec<_>>());
            }
            if written.is_err() {
                result = written;
                break;
            }
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.clear();
        }
        result
    }

    fn take(&mut self, piece: Piece, batch: &mut Batch) {
        match piece {
            Piece::Lines(lines) => batch.notes.extend(lines),
            Piece::Block(block, progress) => batch.block = Some((block, progress)),
            Piece::Typed => {
                if let Some(terminal) = &mut self.terminal {
                    terminal.typed();
                }
            }
            Piece::Resumed => {
                if let Some(terminal) = &mut self.terminal {
                    terminal.resumed();
                }
            }
            Piece::Heard {
                host,
                stream,
                bytes,
                gap,
            } => {
                self.left_out
                    .waiting
                    .fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                if let Some(out) = &mut self.stream {
                    out.take(&host, stream, &bytes, gap, &mut batch.said);
                }
            }
            Piece::Step { host, mark, words } => {
                if let Some(out) = &mut self.stream {
                    out.step(&host, mark, &words, &mut batch.said);
                }
            }
        }
    }

    /// Writes what has come together: output first, then lines, then the block.
    fn write(&mut self, batch: Batch) -> Result<(), Failure> {
        let Batch { said, notes, block } = batch;
        let mut above = notes;
        let mut result = Ok(());
        if let Some(out) = self.stream.as_mut().filter(|_| !said.is_empty()) {
            let (data, errors) = out.laid_out(said);
            above = errors.into_iter().chain(above).collect();
            if out.shares_the_terminal() && self.terminal.is_some() {
                // One write for all of it: the block is drawn again below.
                above = data.into_iter().chain(above).collect();
            } else if !data.is_empty() {
                result = self.printer.data(&data.join("\n"));
            }
        }
        match (&mut self.terminal, block) {
            (Some(terminal), Some((block, progress))) => terminal.draw(&above, block, Some(progress)),
            _ if above.is_empty() => {}
            _ => self.note(&above),
        }
        result
    }

    fn note(&mut self, lines: &[String]) {
        match &mut self.terminal {
            Some(terminal) => terminal.above(lines),
            None => self.printer.note(&lines.join("\n")),
        }
    }
}

/// Pieces that are written together.
#[derive(Default)]
struct Batch {
    said: Vec<reveille_view::Said>,
    notes: Vec<String>,
    block: Option<(Vec<Line>, Progress)>,
}
