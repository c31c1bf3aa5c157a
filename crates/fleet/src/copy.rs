//! Copies files; each original is read once for all hosts.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille_text::{Bytes, counted};
use reveille_transport::transfer::{self, Destination, Original, TransferError};
use reveille_transport::{Become, Session};
use tokio::time::{Instant, sleep};

use crate::diff;
use crate::way::Way;
use crate::work::Source;

/// How often to check whether a copy makes progress.
const GLANCE: Duration = Duration::from_secs(1);

/// Reads the file or directory to send.
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

/// Sends a file or a directory. Returns whether the host changed, and a message. With `--check` it only compares.
pub(crate) async fn upload(
    way: &Way<'_>,
    escalate: Option<&Become>,
    original: &Original,
    destination: &Destination,
    secret: bool,
) -> Result<(bool, String), TransferError> {
    let mut preview = way.engine.settings.preview;
    preview.diff &= !original.is_directory();
    let mut difference = String::new();
    if !preview.is_none() {
        let found = transfer::compare(way.session, escalate, original, destination).await?;
        difference = diff::words(&found, preview, secret);
        if preview.check {
            return Ok((!found.changes.is_empty(), difference));
        }
    }
    let sent = transfer::upload(way.session, escalate, original, destination).await?;
    let words = if original.is_directory() {
        format!(
            "{} sent ({}), {} there already\n",
            counted(sent.files, "file"),
            Bytes(sent.bytes),
            sent.had
        )
    } else {
        difference
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
        let (files, size, had) = (counted(fetched.files, "file"), Bytes(fetched.bytes), fetched.had);
        let _ = writeln!(words, "{files} fetched ({size}), {had} here already");
    }
    for what in &fetched.left_out {
        let _ = writeln!(words, "left out: {what}");
    }
    Ok((false, words))
}

/// Waits until no byte has moved in either direction for `limit` on the session's commands; forever without a limit.
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
