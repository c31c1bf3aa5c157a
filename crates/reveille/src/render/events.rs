//! Events as NDJSON.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reveille_ledger::Follow;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::failure::Failure;
use crate::render::outlet::{Gauge, on_thread};

/// Pieces that may wait for the file. For a slow reader, further events wait in the ledger, not in memory.
const WAITING: usize = 16;
/// Bytes after which a piece is sent. The events of a commit are sent together, because waking the thread for each event
/// costs more than writing it.
const PIECE: usize = 16 * 1024;

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    #[serde(flatten)]
    event: &'a reveille_account::Event,
}

/// Writes each event as a line, as soon as it is committed, until the run is released. Once the run is `over`, waits for
/// the reader as long as it takes anything; if it stalls, returns a warning.
pub(crate) async fn write(
    mut events: Follow,
    path: PathBuf,
    mut over: watch::Receiver<bool>,
) -> Result<Option<String>, Failure> {
    let (pieces, queue) = mpsc::channel(WAITING);
    let (to, left) = (path.clone(), Arc::<AtomicBool>::default());
    let reader_left = Arc::clone(&left);
    let (gauge, mut ended) = on_thread("events", move |gauge| pour(queue, &to, gauge, &reader_left))?;
    let unread = |why: &str| {
        Some(format!(
            "the last events were not written to {}, because its reader {why}; `reveille export` writes all of them",
            path.display()
        ))
    };
    let stalled = || Ok(unread("has stalled"));
    while let Some(event) = events.next().await? {
        let mut piece = Vec::new();
        push(&mut piece, &event)?;
        while piece.len() < PIECE
            && let Some(event) = events.ready()
        {
            push(&mut piece, &event)?;
        }
        let given_up = async {
            // The sender lives as long as the run.
            let _ = over.wait_for(|over| *over).await;
            gauge.stalled().await;
        };
        tokio::select! {
            biased;
            sent = pieces.send(piece) => {
                if sent.is_err() {
                    break;
                }
            }
            () = given_up => return stalled(),
        }
    }
    drop(pieces);
    tokio::select! {
        biased;
        ended = &mut ended => ended.unwrap_or(Ok(())).map(|()| {
            // Whoever closes standard output wants no more.
            let is_file = path.as_os_str() != "-";
            unread("has left").filter(|_| is_file && left.load(Ordering::Relaxed))
        }),
        () = gauge.stalled() => stalled(),
    }
}

/// An event as a line of JSON.
pub(crate) fn line(event: &reveille_account::Event) -> Result<String, Failure> {
    let mut line = Vec::new();
    push(&mut line, event)?;
    line.pop();
    String::from_utf8(line).map_err(|error| Failure::System(error.to_string()))
}

/// Adds an event's line.
fn push(piece: &mut Vec<u8>, event: &reveille_account::Event) -> Result<(), Failure> {
    serde_json::to_writer(&mut *piece, &Line { schema: 1, event })
        .map_err(|error| Failure::System(format!("an event can't be written as JSON: {error}")))?;
    piece.push(b'\n');
    Ok(())
}

/// Writes the pieces. Opening a FIFO blocks until somebody reads it.
fn pour(
    mut pieces: mpsc::Receiver<Vec<u8>>,
    path: &Path,
    gauge: &Gauge,
    left: &AtomicBool,
) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::System(format!("can't write events to {}: {error}", path.display()));
    let mut target: Box<dyn Write + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(path).map_err(failed)?)
    };
    while let Some(piece) = pieces.blocking_recv() {
        // One write for each piece, so that readers get whole lines.
        let written = target.write_all(&piece).and_then(|()| target.flush());
        gauge.take();
        match written {
            Ok(()) => {}
            // The reader needs no more; the run goes on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                left.store(true, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
