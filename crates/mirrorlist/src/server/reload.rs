//! New snapshots in place of old ones.
//!
//! The new one is read and checked as a whole beside the old one; then one pointer is swapped. Requests under way keep
//! the snapshot they began with. When the last of them is answered the thread that reads frees it: that takes many times
//! as long as an answer.
//!
//! All reading is done by one thread. Another one each time would have the allocator keep what it needed once more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use reveille_text::duration;
use tokio::sync::{Mutex, oneshot, watch as watching};

use super::{Shared, StartError, told};
use crate::error::BadFile;
use crate::snapshot::{Snapshot, Sources, Stamps};
use crate::throttled_read::{Answers, Throttle};

/// Requests hold a snapshot for less than a millisecond; whoever holds one for longer than this frees it.
const HELD: Duration = Duration::from_secs(1);

/// How often it is looked whether a snapshot is still held.
const LOOK: Duration = Duration::from_millis(1);

/// The thread that reads answers always, unless it has come upon a defect.
pub(super) const BROKEN_OFF: &str = "reading the files broke off; this is a defect, please report it";

/// Reloads, one at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    sources: Sources,
    shared: Arc<Shared>,
    reader: Reader,
    /// How the files looked when they were last read, whatever came of it.
    tried: Mutex<Stamps>,
}

/// The thread that reads. It ends with the last of these.
#[derive(Debug)]
pub(crate) struct Reader {
    orders: mpsc::Sender<Order>,
}

/// What the thread does.
#[derive(Debug)]
enum Order {
    Load {
        sources: Sources,
        before: Option<Arc<Snapshot>>,
        answers: Answers,
        done: oneshot::Sender<Result<Snapshot, BadFile>>,
    },
    /// Tells how files look.
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
                            // A panic was told by the panic hook; to whoever waits it is a channel without an answer.
                            if let Ok(loaded) = catch_unwind(AssertUnwindSafe(load)) {
                                // The server may have been stopped meanwhile.
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

    /// Reads the files, beside answers; what looks as it did `before` is not read again.
    pub(crate) fn load(
        &self,
        sources: &Sources,
        before: Option<Arc<Snapshot>>,
        answers: &Answers,
    ) -> oneshot::Receiver<Result<Snapshot, BadFile>> {
        let (done, loaded) = oneshot::channel();
        // The thread is there for as long as this is.
        let _ = self.orders.send(Order::Load {
            sources: sources.clone(),
            before,
            answers: answers.clone(),
            done,
        });
        loaded
    }

    /// How files look now. They may be far away, so that even this takes long.
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
    /// For files that were just read; `tried` is how they looked before that.
    pub(crate) fn new(sources: Sources, shared: Arc<Shared>, reader: Reader, tried: Stamps) -> Self {
        Self {
            sources,
            shared,
            reader,
            tried: Mutex::new(tried),
        }
    }

    /// Reads the files and lets the new snapshot serve; if that fails the old one serves on.
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
                let counts = snapshot.catalog().counts();
                self.shared.metrics.loaded(&snapshot);
                for warning in snapshot.warnings() {
                    tracing::warn!("{warning}");
                }
                self.reader.free(self.shared.snapshot.swap(Arc::new(snapshot)));
                tracing::info!(
                    "reloaded in {}: {} directories, {} hosts",
                    duration::shown(started.elapsed()),
                    counts.directories,
                    counts.hosts
                );
                Ok(())
            }
            Err(error) => {
                tracing::error!("not reloaded, the old data serve on: {error}");
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

/// Frees a snapshot, once no request holds it any more.
#[expect(clippy::disallowed_methods, reason = "nobody tells when a count goes down")]
fn free(snapshot: Arc<Snapshot>) {
    let swapped = Instant::now();
    while Arc::strong_count(&snapshot) > 1 && swapped.elapsed() < HELD {
        std::thread::sleep(LOOK);
    }
    drop(snapshot);
}

/// Reloads when files have changed, until told to stop.
pub(crate) async fn watch(reloader: Arc<Reloader>, every: Duration, mut stopped: watching::Receiver<bool>) {
    tokio::select! {
        () = follow(&reloader, every) => {}
        () = told(&mut stopped) => {}
    }
}

/// Changed files must have stayed as they are for one look: a file that is being written changes from look to look.
async fn follow(reloader: &Reloader, every: Duration) {
    let mut seen = None;
    loop {
        // The thread that reads is there for as long as the reloader is.
        let Ok(now) = reloader.reader.stamps(&reloader.sources).await else {
            return;
        };
        if seen.as_ref() == Some(&now) && *reloader.tried.lock().await != now {
            // The outcome is in the log and the metrics.
            let _ = reloader.reload().await;
        }
        seen = Some(now);
        tokio::time::sleep(every).await;
    }
}
