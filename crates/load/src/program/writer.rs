//! Output during a test, written by a separate thread, so that a slow reader does not stop the test.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Pieces of output that may wait for their reader; further ones are dropped and counted.
const MOST: usize = 1024;

/// At the end, a reader that reads nothing for this long is not waited for.
const STALLED: Duration = Duration::from_secs(5);

/// The writer's thread and the pieces that wait for it.
pub(crate) struct Writer {
    sender: Sender<String>,
    state: Arc<State>,
    ended: oneshot::Receiver<()>,
}

#[derive(Default)]
struct State {
    waiting: AtomicUsize,
    dropped: AtomicU64,
    error: Mutex<Option<io::Error>>,
}

/// What happened to a piece.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It was or will be written.
    Yes,
    /// Too many pieces wait already. `first` is true for the first dropped piece.
    Dropped { first: bool },
    /// Writing has failed; the error comes once.
    Broken(Option<io::Error>),
}

/// How writing ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Pieces that were not written.
    pub(crate) dropped: u64,
    /// Whether the reader had stopped reading.
    pub(crate) stalled: bool,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn start(mut to: Box<dyn Write + Send>) -> io::Result<Self> {
        let (sender, pieces) = channel::<String>();
        let (end, ended) = oneshot::channel();
        let state = Arc::new(State::default());
        let of_thread = Arc::clone(&state);
        std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                for piece in pieces {
                    let written = to.write_all(piece.as_bytes()).and_then(|()| to.flush());
                    of_thread.waiting.fetch_sub(1, Ordering::SeqCst);
                    if let Err(error) = written {
                        *of_thread.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        break;
                    }
                }
                // The receiver is gone if it has stopped waiting.
                let _ = end.send(());
            })?;
        Ok(Self { sender, state, ended })
    }

    /// Writes a piece if there is room for it, without waiting.
    pub(crate) fn write(&self, piece: String) -> Taken {
        if self.state.waiting.load(Ordering::SeqCst) >= MOST {
            let first = self.state.dropped.fetch_add(1, Ordering::SeqCst) == 0;
            return Taken::Dropped { first };
        }
        self.push(piece)
    }

    fn push(&self, piece: String) -> Taken {
        self.state.waiting.fetch_add(1, Ordering::SeqCst);
        match self.sender.send(piece) {
            Ok(()) => Taken::Yes,
            Err(_) => Taken::Broken(self.state.take_error()),
        }
    }

    /// Writes the last piece and waits until it is written, until the reader stops reading, or until `enough`.
    pub(crate) async fn finish(
        self,
        last: Option<String>,
        enough: impl Future<Output = ()>,
    ) -> io::Result<Finished> {
        if let Some(last) = last {
            self.push(last);
        }
        let Self {
            sender,
            state,
            mut ended,
        } = self;
        drop(sender);
        let mut enough = std::pin::pin!(enough);
        let mut waiting = state.waiting.load(Ordering::SeqCst);
        let stalled = loop {
            tokio::select! {
                _ = &mut ended => break false,
                () = &mut enough => break true,
                () = tokio::time::sleep(STALLED) => {
                    let before = std::mem::replace(&mut waiting, state.waiting.load(Ordering::SeqCst));
                    if waiting >= before {
                        break true;
                    }
                }
            }
        };
        let waiting = state.waiting.load(Ordering::SeqCst) as u64 * u64::from(stalled);
        let dropped = state.dropped.load(Ordering::SeqCst) + waiting;
        let error = state.take_error();
        error.map_or(Ok(Finished { dropped, stalled }), Err)
    }
}

impl State {
    fn take_error(&self) -> Option<io::Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn a_stalled_reader_does_not_block_the_writer_and_dropped_pieces_are_counted() {
        let (_reader, pipe) = std::io::pipe().expect("a pipe");
        let writer = Writer::start(Box::new(pipe)).expect("a thread");
        let piece = "x".repeat(64 << 10);
        let mut dropped = 0;
        for _ in 0..MOST + 100 {
            match writer.write(piece.clone()) {
                Taken::Dropped { first } => {
                    assert_eq!(first, dropped == 0);
                    dropped += 1;
                }
                taken => assert!(matches!(taken, Taken::Yes), "{taken:?}"),
            }
        }
        // The thread holds one piece, and the pipe takes a part of another.
        assert!((98..=100).contains(&dropped), "{dropped}");
        let end = writer.finish(None, async {}).await.expect("no error");
        assert!(end.stalled && end.dropped >= dropped + 1000, "{end:?}");
    }

    #[tokio::test]
    async fn pieces_are_written_in_order_and_a_failure_is_reported_once() {
        let (mut reader, pipe) = std::io::pipe().expect("a pipe");
        let writer = Writer::start(Box::new(pipe)).expect("a thread");
        assert!(matches!(writer.write("a\n".to_owned()), Taken::Yes));
        let end = writer
            .finish(Some("b\n".to_owned()), std::future::pending())
            .await;
        let (dropped, stalled) = (0, false);
        assert_eq!(end.expect("no error"), Finished { dropped, stalled });
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        assert_eq!(text, "a\nb\n");

        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("there");
        let writer = Writer::start(Box::new(full)).expect("a thread");
        assert!(matches!(writer.write("a\n".to_owned()), Taken::Yes));
        assert!(writer.finish(None, std::future::pending()).await.is_err());
    }
}
