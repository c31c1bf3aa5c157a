//! The ledger as a whole: opens it, creates runs, takes them over, deletes them.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use reveille_account::{EventKind, RunId, RunState, WorkerId};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::time::Instant;

use crate::disk::{self, Disk};
use crate::handle::{self, Shared};
use crate::output::OutputShare;
use crate::project::{Place, Statements};
use crate::spec::unix_ms;
use crate::writer::{PUBLISHED_EVENTS, QUEUE_BATCHES, Stage, Writer};
use crate::{Entry, Error, LedgerState, Result, RollEntry, RunHandle, RunSpec, schema};

/// A query such as [`Ledger::holder`] locks the run for a moment; a new owner waits for it.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The durable record of all runs of one state directory. Clones share it.
///
/// Its methods read or write files and so block, usually for milliseconds.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<Disk>,
    connection: Mutex<Connection>,
    #[cfg(feature = "memory")]
    memory: Option<crate::memory::Memory>,
}

// === impl Ledger ===

impl Ledger {
    /// Opens the ledger of a state directory, and creates both if necessary.
    pub fn open(state_directory: &Path) -> Result<Self> {
        Self::open_at(state_directory, true)
    }

    /// Opens an existing ledger, for commands that only read.
    pub fn open_existing(state_directory: &Path) -> Result<Self> {
        if !state_directory.join("ledger.db").exists() {
            return Err(Error::NoLedger {
                path: state_directory.to_owned(),
            });
        }
        Self::open_at(state_directory, false)
    }

    fn open_at(state_directory: &Path, create: bool) -> Result<Self> {
        let disk = Disk::open(state_directory, create)?;
        let connection = schema::open(&state_directory.join("ledger.db"), create)?;
        Ok(Self {
            shared: Arc::new(Inner {
                disk: Arc::new(disk),
                connection: Mutex::new(connection),
                #[cfg(feature = "memory")]
                memory: None,
            }),
        })
    }

    /// A ledger whose only run is in memory.
    #[cfg(feature = "memory")]
    pub(crate) fn over(directory: &Path, memory: crate::memory::Memory) -> Result<Self> {
        Ok(Self {
            shared: Arc::new(Inner {
                disk: Arc::new(Disk::at(directory)),
                connection: Mutex::new(Connection::open_in_memory().map_err(Error::write)?),
                memory: Some(memory),
            }),
        })
    }

    #[cfg(feature = "memory")]
    pub(crate) fn memory(&self) -> Option<&crate::memory::Memory> {
        self.shared.memory.as_ref()
    }

    /// The state directory.
    pub fn state_directory(&self) -> &Path {
        self.shared.disk.directory()
    }

    /// Whether the ledger can be written; notifies about changes.
    pub fn state(&self) -> watch::Receiver<LedgerState> {
        self.shared.disk.state()
    }

    /// The directory of a run's lock and outputs.
    pub fn run_directory(&self, run: RunId) -> PathBuf {
        handle::run_directory(self.state_directory(), run)
    }

    /// Records a new run and its roll in one commit, and takes ownership.
    pub fn create_run(&self, spec: &RunSpec, roll: &[RollEntry]) -> Result<RunHandle> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|error| Error::damaged("the system's randomness", &error))?;
        let run = RunId::new(spec.started_ms, random);
        disk::private_directory(&self.run_directory(run))?;
        let lock = self.lock(run)?.ok_or_else(|| {
            // 80 random bits and the time make a directory name that nobody else uses.
            Error::damaged("the run's lock", &"a new run is already locked")
        })?;
        let connection = self.connect()?;
        let worker = WorkerId::new(&spec.node, std::process::id());
        let entry = Entry {
            host: None,
            kind: EventKind::RunOpened {
                planned: roll.len() as u64,
            },
            wall_ms: unix_ms(),
            mono_ms: 0,
        };
        let key = transaction(&connection, || {
            insert_run(&connection, run, spec, &worker)?;
            let place = Place {
                run: connection.last_insert_rowid(),
                epoch: 1,
                round: 1,
            };
            insert_epoch(&connection, place, &worker)?;
            let mut statements = Statements::prepare(&connection).map_err(Error::write)?;
            statements.write_roll(place, roll)?;
            write_first(&mut statements, place, 1, &entry)?;
            Ok(place.run)
        })
        .map_err(|error| self.explain(error))?;
        Ok(self.hand_over(connection, lock, run, key, 1, 1, 1, worker))
    }

    /// Takes ownership of a run that another controller left: for `resume`, and for `retry` before a new round.
    ///
    /// `node` is this machine's name. A closed run stays closed until a round is opened.
    pub fn take_over(&self, run: RunId, node: &str) -> Result<RunHandle> {
        let record = self.run(run)?;
        disk::private_directory(&self.run_directory(run))?;
        let lock = self.lock(run)?.ok_or_else(|| Error::Held {
            run,
            worker: record.worker.clone(),
            user: record.spec.user.clone(),
        })?;
        let connection = self.connect()?;
        let worker = WorkerId::new(node, std::process::id());
        let (place, seq) = transaction(&connection, || {
            let place = connection
                .query_row(
                    "UPDATE runs SET epoch = epoch + 1, worker = ?2 WHERE id = ?1 RETURNING run, epoch, round",
                    params![run.as_bytes(), worker.as_str()],
                    |row| {
                        Ok(Place {
                            run: row.get(0)?,
                            epoch: row.get::<_, i64>(1)?.cast_unsigned(),
                            round: row.get(2)?,
                        })
                    },
                )
                .map_err(Error::write)?;
            insert_epoch(&connection, place, &worker)?;
            let mut seq = connection
                .query_row(
                    "SELECT COALESCE(MAX(seq), 0) FROM events WHERE run = ?1",
                    [place.run],
                    |row| row.get::<_, i64>(0),
                )
                .map_err(Error::read)?
                .cast_unsigned();
            if record.state != RunState::Closed {
                let remaining: i64 = connection
                    .query_row(
                        "SELECT COUNT(*) FROM roll LEFT JOIN outcomes USING (run, round, host)
                         WHERE run = ?1 AND round = ?2 AND class IS NULL",
                        params![place.run, place.round],
                        |row| row.get(0),
                    )
                    .map_err(Error::read)?;
                let entry = Entry {
                    host: None,
                    kind: EventKind::RunResumed {
                        remaining: remaining.cast_unsigned(),
                    },
                    wall_ms: unix_ms(),
                    mono_ms: 0,
                };
                seq += 1;
                let mut statements = Statements::prepare(&connection).map_err(Error::write)?;
                write_first(&mut statements, place, seq, &entry)?;
            }
            Ok((place, seq))
        })
        .map_err(|error| self.explain(error))?;
        Ok(self.hand_over(
            connection,
            lock,
            run,
            place.run,
            place.epoch,
            place.round,
            seq,
            worker,
        ))
    }

    /// Returns the controller that currently owns the run, if any.
    pub fn holder(&self, run: RunId) -> Result<Option<WorkerId>> {
        let record = self.run(run)?;
        if !self.run_directory(run).join("lock").exists() {
            return Ok(None);
        }
        Ok(self.lock(run)?.is_none().then_some(record.worker))
    }

    /// Deletes a run and its files, unless a controller owns it.
    pub fn delete_run(&self, run: RunId) -> Result<()> {
        let record = self.run(run)?;
        let directory = self.run_directory(run);
        disk::private_directory(&directory)?;
        let _lock = self.lock(run)?.ok_or(Error::Held {
            run,
            worker: record.worker,
            user: record.spec.user,
        })?;
        let connection = self.connect()?;
        let key = self.key(run)?;
        transaction(&connection, || {
            for table in schema::TABLES {
                connection
                    .execute(&format!("DELETE FROM {table} WHERE run = ?1"), [key])
                    .map_err(Error::write)?;
            }
            connection
                .execute("DELETE FROM runs WHERE run = ?1", [key])
                .map_err(Error::write)
        })?;
        fs::remove_dir_all(&directory).map_err(Error::io("remove", &directory))
    }

    pub(crate) fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.shared.disk)
    }

    /// The connection for queries. A panic in another query leaves nothing half done in it.
    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        let connection = self
            .shared
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        #[cfg(feature = "memory")]
        let connection = self.projected(connection);
        connection
    }

    /// The same, after everything in memory was written to it.
    #[cfg(feature = "memory")]
    fn projected<'a>(&self, mut connection: MutexGuard<'a, Connection>) -> MutexGuard<'a, Connection> {
        if let Some(memory) = &self.shared.memory {
            if memory.is_unasked() {
                *connection = schema::open_in_memory().expect("memory takes a database");
            }
            memory
                .project(&connection)
                .expect("the tables accept what the stage in memory accepts");
        }
        connection
    }

    /// The run's key in all tables.
    pub(crate) fn key(&self, run: RunId) -> Result<i64> {
        key(&self.connection(), run)
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        schema::open(&self.state_directory().join("ledger.db"), false)
    }

    /// The run's lock, or `None` if another process has it.
    pub(crate) fn lock(&self, run: RunId) -> Result<Option<File>> {
        let path = self.run_directory(run).join("lock");
        let file = disk::lock_file(&path)?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => thread::park_timeout(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
        Ok(None)
    }

    /// Reports a full disk as such.
    fn explain(&self, error: Error) -> Error {
        match &error {
            Error::Sqlite { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                self.shared.disk.full()
            }
            _ => error,
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a handle, combined in one place"
    )]
    fn hand_over(
        &self,
        connection: Connection,
        lock: File,
        run: RunId,
        key: i64,
        epoch: u64,
        round: u32,
        seq: u64,
        worker: WorkerId,
    ) -> RunHandle {
        let (sender, queue) = mpsc::unbounded_channel();
        let (published, _) = broadcast::channel(PUBLISHED_EVENTS);
        let writer = Writer {
            connection,
            queue,
            lock,
            stage: Stage {
                run,
                key,
                epoch,
                worker: worker.clone(),
                seq,
                disk: self.disk(),
                published: published.clone(),
            },
        };
        let thread = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.work());
        let (queue, thread) = match thread {
            Ok(thread) => (Some(sender), Some(thread)),
            Err(error) => {
                // Every entry is then answered with `Stopped`.
                tracing::error!(%run, %error, "can't start the ledger's thread");
                (None, None)
            }
        };
        RunHandle::new(Shared {
            ledger: self.clone(),
            run,
            epoch,
            worker,
            round: AtomicU32::new(round),
            taken: Instant::now(),
            published,
            output_share: OutputShare::default(),
            queue,
            places: Arc::new(Semaphore::new(QUEUE_BATCHES)),
            thread: Mutex::new(thread),
        })
    }
}

/// The run's key in all tables.
pub(crate) fn key(connection: &Connection, run: RunId) -> Result<i64> {
    connection
        .prepare_cached("SELECT run FROM runs WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([run.as_bytes()], |row| row.get(0)).optional())
        .map_err(Error::read)?
        .ok_or_else(|| Error::NoSuchRun(run.to_string()))
}

/// Runs `work` in one write transaction.
pub(crate) fn transaction<T>(connection: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(Error::write)?;
    let result = work().and_then(|value| {
        connection.execute_batch("COMMIT").map_err(Error::write)?;
        Ok(value)
    });
    if result.is_err() && !connection.is_autocommit() {
        // Report the first error, not this one.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}

pub(crate) fn insert_run(
    connection: &Connection,
    run: RunId,
    spec: &RunSpec,
    worker: &WorkerId,
) -> Result<()> {
    connection
        .execute(
            "INSERT INTO runs (id, kind, text, file, sha256, options, vars, seed, user, node, comment, started_ms,
                               state, round, epoch, worker)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', 1, 1, ?13)",
            params![
                run.as_bytes(),
                spec.kind.as_str(),
                spec.text,
                spec.file,
                spec.sha256,
                spec.options.to_string(),
                spec.vars.to_string(),
                spec.seed.cast_signed(),
                spec.user,
                spec.node,
                spec.comment,
                spec.started_ms.cast_signed(),
                worker.as_str(),
            ],
        )
        .map(drop)
        .map_err(Error::write)
}

pub(crate) fn insert_epoch(connection: &Connection, place: Place, worker: &WorkerId) -> Result<()> {
    connection
        .execute(
            "INSERT INTO epochs (run, epoch, worker, taken_ms) VALUES (?1, ?2, ?3, ?4)",
            params![
                place.run,
                place.epoch.cast_signed(),
                worker.as_str(),
                unix_ms().cast_signed()
            ],
        )
        .map(drop)
        .map_err(Error::write)
}

fn write_first(statements: &mut Statements<'_>, place: Place, seq: u64, entry: &Entry) -> Result<()> {
    let body = serde_json::to_string(&entry.kind).map_err(|error| Error::damaged("an event", &error))?;
    statements.write_entry(place, seq, entry, &body)
}
