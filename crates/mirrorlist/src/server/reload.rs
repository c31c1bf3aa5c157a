//! Reloads: new snapshots replace old ones.
//!
//! The new snapshot is read and checked as a whole beside the old one; then one pointer is swapped. Requests in
//! progress keep the snapshot with which they began. After the last of them, the reading thread frees the old snapshot,
//! because that takes much longer than an answer.
//!
//! One thread does all reading. With a new thread for each reload, the allocator would keep memory for each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use reveille_text::duration;
use tokio::sync::{Mutex, oneshot, watch as watching};

use super::shared::{Shared, stop_requested};
use super::start_error::StartError;
use crate::error::BadFile;
use crate::snapshot::{Snapshot, Sources, Stamps};
use crate::throttled_read::{Answers, Throttle};

/// How long the reading thread waits for requests, which hold a snapshot for less than a millisecond. A request that
/// takes longer than this frees the snapshot itself.
const HELD: Duration = Duration::from_secs(1);

/// How often the reading thread checks whether requests still hold a snapshot.
const LOOK: Duration = Duration::from_millis(1);

/// The message if the reading thread does not answer, which only a panic causes.
pub(super) const BROKEN_OFF: &str = "the thread that reads the files failed; this is a bug, please report it";

/// Reloads, one at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    sources: Sources,
    shared: Arc<Shared>,
    reader: Reader,
    /// The stamps of the files when they were last read, with success or not.
    tried: Mutex<Stamps>,
}

/// A handle of the reading thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Reader {
    orders: mpsc::Sender<Order>,
}

/// An order for the thread.
#[derive(Debug)]
enum Order {
    Load {
        sources: Sources,
        before: Option<Arc<Snapshot>>,
        answers: Answers,
        done: oneshot::Sender<Result<Snapshot, BadFile>>,
    },
    /// Reports the stamps of files.
    Look {
        sources: Sources,
        done: oneshot::Sender<Stamps>,
    },
    Free(Arc<Snapshot>),
}

// === impl Reader ===

impl Reader {
    pub(crate) fn start() -> Result<Self, StartError> {
        let (orders, taken) = mpsc::channel();
        std::thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                for order in taken {
                    match order {
                        Order::Load {
                            sources,
                            before,
                            answers,
                            done,
                        } => {
                            let load = || {
                                Snapshot::load_with(&Throttle::beside(answers), &sources, before.as_deref())
                            };
                            // The panic hook has reported a panic; the waiting task gets no answer.
                            if let Ok(loaded) = catch_unwind(AssertUnwindSafe(load)) {
                                // The server may have been stopped in the meantime.
                                let _ = done.send(loaded);
                            }
                        }
                        Order::Look { sources, done } => {
                            let _ = done.send(sources.stamps());
                        }
                        Order::Free(snapshot) => free(snapshot),
                    }
                }
            })?;
        Ok(Self { orders })
    }

    /// Reads the files with pauses for answers, except those that have not changed since `before`.
    pub(crate) fn load(
        &self,
        sources: &Sources,
        before: Option<Arc<Snapshot>>,
        answers: &Answers,
    ) -> oneshot::Receiver<Result<Snapshot, BadFile>> {
        let (done, loaded) = oneshot::channel();
        // The thread lives as long as its handle.
        let _ = self.orders.send(Order::Load {
            sources: sources.clone(),
            before,
            answers: answers.clone(),
            done,
        });
        loaded
    }

    /// The current stamps of files. On a network file system even this may take long.
    pub(crate) fn stamps(&self, sources: &Sources) -> oneshot::Receiver<Stamps> {
        let (done, stamps) = oneshot::channel();
        let _ = self.orders.send(Order::Look {
            sources: sources.clone(),
            done,
        });
        stamps
    }

    fn free(&self, snapshot: Arc<Snapshot>) {
        let _ = self.orders.send(Order::Free(snapshot));
    }
}

// === impl Reloader ===

impl Reloader {
    /// For files that were just read; `tried` are their stamps before that.
    pub(crate) fn new(sources: Sources, shared: Arc<Shared>, reader: Reader, tried: Stamps) -> Self {
        Self {
            sources,
            shared,
            reader,
            tried: Mutex::new(tried),
        }
    }

    /// Reads the files and replaces the snapshot; if that fails, the old one stays.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let mut tried = self.tried.lock().await;
        let started = Instant::now();
        let loaded = match self.reader.stamps(&self.sources).await {
            Ok(stamps) => {
                *tried = stamps;
                self.load().await
            }
            Err(_) => Err(BROKEN_OFF.to_owned()),
        };
        self.shared.metrics.reloaded(loaded.is_ok());
        match loaded {
            Ok(snapshot) => {
                let summary = snapshot.summary();
                self.shared.metrics.loaded(&snapshot);
                for warning in snapshot.warnings() {
                    tracing::warn!("{warning}");
                }
                self.reader.free(self.shared.snapshot.swap(Arc::new(snapshot)));
                tracing::info!("reloaded in {}: {summary}", duration::shown(started.elapsed()));
                Ok(())
            }
            Err(error) => {
                tracing::error!("not reloaded, the old data stay in use: {error}");
                Err(error)
            }
        }
    }

    async fn load(&self) -> Result<Snapshot, String> {
        let before = self.shared.snapshot.load_full();
        match self
            .reader
            .load(&self.sources, Some(before), &self.shared.answers)
            .await
        {
            Ok(loaded) => loaded.map_err(|error| error.to_string()),
            Err(_) => Err(BROKEN_OFF.to_owned()),
        }
    }
}

/// Frees a snapshot after the last request that holds it.
#[expect(clippy::disallowed_methods, reason = "a reference count has no notification")]
fn free(snapshot: Arc<Snapshot>) {
    let swapped = Instant::now();
    while Arc::strong_count(&snapshot) > 1 && swapped.elapsed() < HELD {
        std::thread::sleep(LOOK);
    }
    drop(snapshot);
}

/// Reloads when files have changed, until the server stops.
pub(crate) async fn watch(reloader: Arc<Reloader>, every: Duration, mut stopped: watching::Receiver<bool>) {
    tokio::select! {
        () = follow(&reloader, every) => {}
        () = stop_requested(&mut stopped) => {}
    }
}

/// Reloads changed files once they are equal in two checks, because a file that is being written still changes.
async fn follow(reloader: &Reloader, every: Duration) {
    let mut seen = None;
    loop {
        // The reading thread lives as long as the reloader.
        let Ok(now) = reloader.reader.stamps(&reloader.sources).await else {
            return;
        };
        if seen.as_ref() == Some(&now) && *reloader.tried.lock().await != now {
            // The result is in the log and the metrics.
            let _ = reloader.reload().await;
        }
        seen = Some(now);
        tokio::time::sleep(every).await;
    }
}
