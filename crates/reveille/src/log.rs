//! The program's log. A thread of its own writes it to standard error, so that a stalled reader stops nothing else.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Lines that may wait; later ones are dropped and counted.
const WAITING: usize = 4096;
/// How long the end of the program waits until the last lines are written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    lines: SyncSender<Vec<u8>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Mutex<usize>,
    written: Condvar,
    dropped: AtomicUsize,
}

// === impl Log ===

impl Log {
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, queue) = sync_channel(WAITING);
        let state = Arc::<State>::default();
        let of_thread = Arc::clone(&state);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || pour(&queue, &of_thread))?;
        Ok(Self { lines, state })
    }

    /// Waits until the last lines are written, but not for a stalled reader.
    pub(crate) fn finish(&self) {
        let waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // The program ends in either case.
        let _ = self
            .state
            .written
            .wait_timeout_while(waiting, LAST_LINES, |waiting| *waiting > 0);
    }
}

fn pour(queue: &Receiver<Vec<u8>>, state: &State) {
    for line in queue {
        let dropped = state.dropped.swap(0, Ordering::Relaxed);
        let mut stderr = io::stderr();
        if dropped > 0 {
            let _ = writeln!(
                stderr,
                "warning: {dropped} lines of the log were dropped, because their reader is too slow"
            );
        }
        // An error on standard error can't be reported anywhere.
        let _ = stderr.write_all(&line);
        *state.waiting.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        state.written.notify_all();
    }
}

/// Each event is written with one call.
impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut waiting = self.state.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.lines.try_send(bytes.to_vec()) {
            Ok(()) => *waiting += 1,
            Err(_) => {
                self.state.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
