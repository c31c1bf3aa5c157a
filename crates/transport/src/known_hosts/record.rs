//! The file for new keys: lines are appended durably.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The shortest time between appends; keys that arrive in between share the next one.
const APPEND_INTERVAL: Duration = Duration::from_millis(40);

/// The file, and the lines to append to it.
#[derive(Debug, Default)]
pub(super) struct Record {
    path: Option<PathBuf>,
    pending: Mutex<Vec<Pending>>,
    /// Held while appending; the time of the last append.
    writing: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Pending {
    line: String,
    done: tokio::sync::oneshot::Sender<Result<(), Arc<io::Error>>>,
}

// === impl Record ===

impl Record {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Appends a line durably; lines that wait at the same time share the write and the sync.
    pub(super) async fn append(&self, line: String) -> Result<(), Arc<io::Error>> {
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        let (done, mut waiting) = tokio::sync::oneshot::channel();
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Pending { line, done });
        let mut turn = self.writing.lock().await;
        if let Ok(result) = waiting.try_recv() {
            return result;
        }
        if let Some(last) = *turn {
            sleep_until(last + APPEND_INTERVAL).await;
        }
        *turn = Some(Instant::now());
        let batch = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let text: String = batch.iter().map(|pending| pending.line.as_str()).collect();
        let result = tokio::task::spawn_blocking(move || append_durably(&path, text.as_bytes()))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(Arc::new);
        for pending in batch {
            // The receiver may be gone.
            let _ = pending.done.send(result.clone());
        }
        result
    }
}

fn append_durably(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    file.write_all(text)?;
    file.sync_data()
}
