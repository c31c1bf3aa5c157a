//! Reads files that go to many hosts only once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reveille_transport::transfer::Original;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// The number of originals (files and directories) kept in memory. Templates in `src` may name one for each host.
const REMEMBERED: usize = 64;

/// The contents of files and directories that go to many hosts.
#[derive(Debug, Default)]
pub(crate) struct Originals(Mutex<Vec<(PathBuf, Arc<Original>)>>);

// === impl Originals ===

impl Originals {
    /// Returns the contents of `path`. Concurrent callers share one read.
    pub(crate) async fn at(&self, path: &Path) -> io::Result<Arc<Original>> {
        let mut known = self.0.lock().await;
        if let Some(at) = known.iter().position(|(other, _)| other == path) {
            let (path, original) = known.remove(at);
            if original.is_current() {
                known.push((path, Arc::clone(&original)));
                return Ok(original);
            }
        }
        let wanted = path.to_owned();
        let read = spawn_blocking(move || Original::at(&wanted));
        let original = Arc::new(read.await.map_err(io::Error::other)??);
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push((path.to_owned(), Arc::clone(&original)));
        Ok(original)
    }
}
