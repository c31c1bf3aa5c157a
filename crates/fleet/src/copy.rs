//! Copies: what is sent is read once for all hosts.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reveille_transport::transfer::{self, Destination, Original, TransferError};
use reveille_transport::{Become, Session};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::attempt::Way;
use crate::work::Source;

/// How often it is looked whether a copy moves.
const GLANCE: Duration = Duration::from_secs(1);
/// Files and directories that are remembered. Templates in a `src` can name one for each host.
const REMEMBERED: usize = 64;

/// What was read of files and directories that go to many hosts.
#[derive(Debug, Default)]
pub(crate) struct Originals(Mutex<Vec<(PathBuf, Arc<Original>)>>);

// === impl Originals ===

impl Originals {
    /// What is at `path`. Whoever asks at the same time waits for one reading.
    async fn at(&self, path: &Path) -> io::Result<Arc<Original>> {
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

/// Reads what is to be sent.
pub(crate) async fn original(way: &Way<'_>, source: &Source) -> Result<Arc<Original>, TransferError> {
    match source {
        Source::Content(content) => Ok(Arc::new(Original::text(content.clone()))),
        Source::Path(path) => way
            .engine
            .originals
            .at(path)
            .await
            .map_err(|error| TransferError::Remote(format!("can't read {}: {error}", path.display()))),
    }
}

/// Sends a file or a directory. Whether the host changed is returned, and what is to be said of it.
pub(crate) async fn upload(
    way: &Way<'_>,
    escalate: Option<&Become>,
    original: &Original,
    destination: &Destination,
) -> Result<(bool, String), TransferError> {
    let sent = transfer::upload(way.session, escalate, original, destination).await?;
    let words = if original.is_directory() {
        format!(
            "{} sent ({}), {} there already\n",
            counted(sent.files),
            Size(sent.bytes),
            sent.had
        )
    } else {
        String::new()
    };
    Ok((sent.changed, words))
}

/// Fetches a file or a directory.
pub(crate) async fn download(
    way: &Way<'_>,
    escalate: Option<&Become>,
    source: &str,
    target: &Path,
) -> Result<(bool, String), TransferError> {
    let limit = way.engine.settings.download_limit;
    let fetched = transfer::download(way.session, escalate, source, target, limit).await?;
    let mut words = String::new();
    if fetched.directory {
        let (files, size, had) = (counted(fetched.files), Size(fetched.bytes), fetched.had);
        let _ = writeln!(words, "{files} fetched ({size}), {had} here already");
    }
    for what in &fetched.left_out {
        let _ = writeln!(words, "left out: {what}");
    }
    Ok((false, words))
}

/// Waits until no byte has moved on the session's commands for `limit`, in either direction; for ever without a limit.
pub(crate) async fn stalled(session: &Session, limit: Option<Duration>) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    let mut seen = session.moved();
    let mut since = Instant::now();
    while since.elapsed() < limit {
        sleep(GLANCE.min(limit / 4)).await;
        let now = session.moved();
        if now != seen {
            seen = now;
            since = Instant::now();
        }
    }
}

fn counted(files: u64) -> String {
    format!("{files} file{}", if files == 1 { "" } else { "s" })
}

/// A number of bytes, to be read by people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
        if self.0 < 1000 {
            return write!(formatter, "{} B", self.0);
        }
        let mut size = self.0 as f64 / 1000.0;
        let mut unit = 0;
        while size >= 999.95 && unit + 1 < UNITS.len() {
            size /= 1000.0;
            unit += 1;
        }
        write!(formatter, "{size:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (999_999, "1.0 MB"),
            (5 << 30, "5.4 GB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
