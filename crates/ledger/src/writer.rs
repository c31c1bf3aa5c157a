//! The stage: the thread that writes a run.
//!
//! ```text
//! callers ──batch──▶ bounded queue ──▶ one transaction ──COMMIT──▶ published, callers answered
//!                                           │
//!                                           ├─ disk full: release the reserve, try again
//!                                           ├─ a batch breaks a rule: refuse it, commit the others
//!                                           └─ the epoch is no longer ours: stop
//! ```
//!
//! A batch that arrives while the stage is idle is committed at once. Otherwise at most one transaction starts in each
//! [`COMMIT_INTERVAL`] ([`BUSY_INTERVAL`] if many callers write), with everything queued meanwhile.

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reveille_account::{Event, RunId, WorkerId};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot};

use crate::disk::Disk;
use crate::project::{Place, Statements};
use crate::sql::transaction;
use crate::{Entry, Error, Result, RollEntry};

/// The shortest time between the starts of two transactions of a run.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(20);

/// The same after a transaction with [`BUSY_BATCHES`] or more. With that many hosts a slightly longer wait slows none
/// of them noticeably, and each commit saved saves a sync of the disk.
pub const BUSY_INTERVAL: Duration = Duration::from_millis(60);

/// Batches per transaction from which a run counts as busy.
const BUSY_BATCHES: usize = 4;

/// The number of batches in the writer's queue; further callers wait before they queue.
pub const QUEUE_BATCHES: usize = 4096;

/// The limit on entries per transaction, which bounds its memory.
const TRANSACTION_ENTRIES: usize = 20_000;

/// How many published events a reader may lag behind before it reads from the ledger again.
pub(crate) const PUBLISHED_EVENTS: usize = 1024;

/// Entries that are committed together or not at all.
pub(crate) struct Batch {
    pub(crate) round: u32,
    /// The roll of a round that this batch opens.
    pub(crate) roll: Vec<RollEntry>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) done: oneshot::Sender<Result<u64>>,
    /// Kept while the caller waits for the answer.
    #[expect(dead_code, reason = "held")]
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// The parts that the writer's thread owns. They are dropped in this order: another controller may take over the run
/// only when the connection is closed.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) queue: mpsc::UnboundedReceiver<Batch>,
    pub(crate) stage: Stage,
    #[expect(dead_code, reason = "held until the last commit")]
    pub(crate) lock: File,
}

/// The run being written, and its subscribers.
pub(crate) struct Stage {
    pub(crate) run: RunId,
    pub(crate) key: i64,
    pub(crate) epoch: u64,
    pub(crate) worker: WorkerId,
    /// The number of the last event.
    pub(crate) seq: u64,
    pub(crate) disk: Arc<Disk>,
    pub(crate) published: broadcast::Sender<Arc<Event>>,
}

/// Why a transaction was not committed.
enum Refusal {
    /// This batch can't be committed; those before it can.
    Batch(usize, Error),
    /// The run can no longer be written.
    Run(Error),
    /// This transaction can't be committed; a later one may.
    Transaction(Error),
    /// The disk is full.
    Full,
}

// === impl Writer ===

impl Writer {
    /// Writes until all handles are gone or the run can no longer be written.
    pub(crate) fn work(mut self) {
        let Writer {
            connection,
            queue,
            stage,
            ..
        } = &mut self;
        if let Err(error) = stage.write_all(connection, queue) {
            tracing::error!(run = %stage.run, %error, "the ledger stops writing this run");
            queue.close();
            while let Some(batch) = queue.blocking_recv() {
                let _ = batch.done.send(Err(error.clone()));
            }
        }
    }
}

// === impl Stage ===

impl Stage {
    fn write_all(
        &mut self,
        connection: &Connection,
        queue: &mut mpsc::UnboundedReceiver<Batch>,
    ) -> Result<()> {
        let mut statements = Statements::prepare(connection).map_err(Error::write)?;
        let mut next: Option<Instant> = None;
        while let Some(first) = queue.blocking_recv() {
            if let Some(rest) = next.and_then(|at| at.checked_duration_since(Instant::now())) {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a dedicated thread, which waits for nothing else"
                )]
                thread::sleep(rest);
            }
            let started = Instant::now();
            let mut entries = first.entries.len();
            let mut batches = vec![first];
            while entries < TRANSACTION_ENTRIES
                && let Ok(batch) = queue.try_recv()
            {
                entries += batch.entries.len();
                batches.push(batch);
            }
            let interval = if batches.len() < BUSY_BATCHES {
                COMMIT_INTERVAL
            } else {
                BUSY_INTERVAL
            };
            next = Some(started + interval);
            self.write(connection, &mut statements, batches)?;
        }
        Ok(())
    }

    /// Commits the batches and answers their callers. An error ends the run.
    fn write(
        &mut self,
        connection: &Connection,
        statements: &mut Statements<'_>,
        mut batches: Vec<Batch>,
    ) -> Result<()> {
        #[cfg(test)]
        faults::before_commit(connection);
        let mut released = false;
        let result = loop {
            match self.commit(connection, statements, &batches) {
                // A broken rule concerns one host: the other batches go on.
                Err(Refusal::Batch(index, error)) => answer(vec![batches.remove(index)], &error),
                Err(Refusal::Full) if !released => {
                    self.disk.release();
                    released = true;
                    #[cfg(test)]
                    faults::after_release(connection);
                }
                result => break result,
            }
        };
        match result {
            Ok(()) => self.publish(batches),
            // The run can continue once the operator has freed space.
            Err(Refusal::Full) => answer(batches, &self.disk.full()),
            // The arm above refuses single batches.
            Err(Refusal::Transaction(error) | Refusal::Batch(_, error)) => answer(batches, &error),
            Err(Refusal::Run(error)) => {
                answer(batches, &error);
                return Err(error);
            }
        }
        Ok(())
    }

    fn commit(
        &self,
        connection: &Connection,
        statements: &mut Statements<'_>,
        batches: &[Batch],
    ) -> Result<(), Refusal> {
        transaction(connection, refusal, || {
            if statements.epoch(self.key).map_err(refusal)? != self.epoch {
                return Err(Refusal::Run(Error::Fenced {
                    run: self.run,
                    epoch: self.epoch,
                }));
            }
            let mut seq = self.seq;
            for (index, batch) in batches.iter().enumerate() {
                let place = Place {
                    run: self.key,
                    epoch: self.epoch,
                    round: batch.round,
                };
                let mut write = || {
                    if !batch.roll.is_empty() {
                        statements.write_roll(place, &batch.roll)?;
                    }
                    batch.entries.iter().try_for_each(|entry| {
                        seq += 1;
                        statements.write_entry(place, seq, entry)
                    })
                };
                write().map_err(|error| refused(index, error))?;
            }
            Ok(())
        })
    }

    /// Sends the events of committed batches to the readers and the numbers to the callers.
    fn publish(&mut self, batches: Vec<Batch>) {
        let heard = self.published.receiver_count() > 0;
        for batch in batches {
            if !heard {
                self.seq += batch.entries.len() as u64;
            }
            for entry in batch.entries.into_iter().filter(|_| heard) {
                self.seq += 1;
                let event = Event {
                    seq: self.seq,
                    run: self.run,
                    round: batch.round,
                    host: entry.host,
                    worker: self.worker.clone(),
                    epoch: self.epoch,
                    wall_ms: entry.wall_ms,
                    mono_ms: entry.mono_ms,
                    kind: entry.kind,
                };
                // Fails if the last reader has gone.
                let _ = self.published.send(Arc::new(event));
            }
            let _ = batch.done.send(Ok(self.seq));
        }
    }
}

fn answer(batches: Vec<Batch>, error: &Error) {
    for batch in batches {
        // Fails if the caller no longer waits.
        let _ = batch.done.send(Err(error.clone()));
    }
}

fn refused(index: usize, error: Error) -> Refusal {
    match error {
        Error::Sqlite { source, .. } if is_full(&source) => Refusal::Full,
        Error::Sqlite { .. } => Refusal::Transaction(error),
        _ => Refusal::Batch(index, error),
    }
}

fn refusal(error: rusqlite::Error) -> Refusal {
    if is_full(&error) {
        Refusal::Full
    } else {
        Refusal::Transaction(Error::write(error))
    }
}

/// Whether SQLite, or the system below it, has no space left. A write that fails for another reason looks the same as
/// an exhausted quota, so every failed write counts.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            failure.code == ErrorCode::DiskFull
                || matches!(
                    failure.extended_code,
                    rusqlite::ffi::SQLITE_IOERR_WRITE | rusqlite::ffi::SQLITE_IOERR_SHMSIZE
                )
        }
        _ => false,
    }
}

/// Injects a full disk into tests: a database that may not grow.
#[cfg(test)]
pub(crate) mod faults {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex};

    use rusqlite::Connection;

    use crate::RunHandle;

    /// The pages permitted now, and after the reserve was released.
    type Limits = (i64, Option<i64>);

    static LIMITS: LazyLock<Mutex<HashMap<PathBuf, Limits>>> = LazyLock::new(Mutex::default);

    /// Limits the run's database to its current size plus `spare` pages; releasing the reserve adds `released`.
    pub(crate) fn fill(handle: &RunHandle, spare: i64, released: Option<i64>) {
        let connection = handle.ledger().connect().unwrap();
        let pages: i64 = connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        let limits = (pages + spare, released.map(|released| pages + spare + released));
        LIMITS
            .lock()
            .unwrap()
            .insert(connection.path().unwrap().into(), limits);
    }

    pub(super) fn before_commit(connection: &Connection) {
        apply(connection, |limits| limits.0);
    }

    pub(super) fn after_release(connection: &Connection) {
        apply(connection, |limits| {
            limits.0 = limits.1.take().unwrap_or(limits.0);
            limits.0
        });
    }

    fn apply(connection: &Connection, choose: impl FnOnce(&mut Limits) -> i64) {
        let path = PathBuf::from(connection.path().unwrap());
        if let Some(limits) = LIMITS.lock().unwrap().get_mut(&path) {
            let pages = choose(limits);
            connection
                .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .unwrap();
        }
    }
}
