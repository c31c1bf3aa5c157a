//! New snapshots in place of old ones.
//!
//! The thread that reads has the weight of any other, but gives way at each piece. With less weight a reload would take
//! minutes on a machine that is busy with answers, when new data are wanted most.
//!
//! The new one is read and checked as a whole beside the old one; then one pointer is swapped. Requests under way keep
//! the snapshot they began with, and the last of them frees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot, watch as watching};

use super::{Shared, told};
use crate::snapshot::{Snapshot, Sources, Stamps};

/// Reloads, one at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    sources: Sources,
    shared: Arc<Shared>,
    /// How the files looked when they were last read, whatever came of it.
    tried: Mutex<Stamps>,
}

// === impl Reloader ===

impl Reloader {
    /// For files that were just read.
    pub(crate) fn new(sources: Sources, shared: Arc<Shared>) -> Self {
        let tried = Mutex::new(sources.stamps());
        Self {
            sources,
            shared,
            tried,
        }
    }

    /// Reads the files and lets the new snapshot serve; if that fails the old one serves on.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let mut tried = self.tried.lock().await;
        *tried = self.sources.stamps();
        let started = Instant::now();
        let loaded = self.load().await;
        self.shared.metrics.reloaded(loaded.is_ok());
        match loaded {
            Ok(snapshot) => {
                let counts = snapshot.catalog().counts();
                self.shared.metrics.loaded(&snapshot);
                for warning in snapshot.catalog().warnings() {
                    tracing::warn!("{warning}");
                }
                self.shared.snapshot.store(Arc::new(snapshot));
                tracing::info!(
                    "reloaded in {:.1} s: {} directories, {} hosts",
                    started.elapsed().as_secs_f64(),
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
        let (sources, before) = (self.sources.clone(), self.shared.snapshot.load_full());
        let (done, loaded) = oneshot::channel();
        let reader = move || {
            let snapshot = Snapshot::load(&sources, Some(&before)).map_err(|error| error.to_string());
            // The server may have been stopped meanwhile.
            let _ = done.send(snapshot);
        };
        std::thread::Builder::new()
            .name("reload".to_owned())
            .spawn(reader)
            .map_err(|error| format!("no thread to read the files: {error}"))?;
        loaded.await.unwrap_or_else(|_| {
            Err("reading the files broke off; this is a defect, please report it".to_owned())
        })
    }
}

/// Reloads when files have changed and then stayed as they are for one look: a file that is being written changes from
/// look to look.
pub(crate) async fn watch(reloader: Arc<Reloader>, every: Duration, mut stopped: watching::Receiver<bool>) {
    let mut seen = reloader.sources.stamps();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = told(&mut stopped) => return,
        }
        let now = reloader.sources.stamps();
        if now == seen && *reloader.tried.lock().await != now {
            // The outcome is in the log and the metrics.
            let _ = reloader.reload().await;
        }
        seen = now;
    }
}
