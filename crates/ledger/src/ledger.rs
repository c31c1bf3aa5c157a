//! The ledger as a whole: opens it, creates runs, takes them over, deletes them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use reveille_account::{EventKind, RunId, RunState, WorkerId};
use rusqlite::{Connection, ToSql, params};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::time::Instant;

use crate::disk::{self, Disk};
use crate::handle::Shared;
use crate::output::OutputShare;
use crate::project::{Place, Statements, insert_epoch, insert_run};
use crate::spec::unix_ms;
use crate::sql::{key, transaction};
use crate::writer::{PUBLISHED_EVENTS, QUEUE_BATCHES, Stage, Writer};
use crate::{Entry, Error, LedgerState, Result, RollEntry, RunHandle, RunRecord, RunSpec, schema};

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

    /// Opens an existing ledger, for commands that begin no run. On a full disk it releases the reserve.
    pub fn open_existing(state_directory: &Path) -> Result<Self> {
        if !state_directory.join("ledger.db").exists() {
            return Err(Error::NoLedger {
                path: state_directory.to_owned(),
            });
        }
        Self::open_at(state_directory, false)
    }

    /// Opens an existing ledger for a glance, such as that of a shell which completes a word: nothing is created, migrated
    /// or waited for. A ledger of another version is refused.
    pub fn look(state_directory: &Path) -> Result<Self> {
        let disk = Disk::open(state_directory, false)?;
        let connection = schema::look(&state_directory.join("ledger.db"))?;
        Ok(Self::with(disk, connection))
    }

    fn open_at(state_directory: &Path, create: bool) -> Result<Self> {
        let disk = Disk::open(state_directory, create)?;
        let path = state_directory.join("ledger.db");
        let connection = match schema::open(&path, create) {
            // Reading needs some space too, for SQLite's own files. A new run needs more than the reserve.
            Err(error) if error.is_full() && !create && disk.spend_reserve() => schema::open(&path, create)?,
            Err(error) if error.is_full() => {
                return Err(Error::StateDirectory {
                    path: state_directory.to_owned(),
                    reason: "its disk is full; free some space".to_owned(),
                });
            }
            opened => opened?,
        };
        Ok(Self::with(disk, connection))
    }

    fn with(disk: Disk, connection: Connection) -> Self {
        Self {
            shared: Arc::new(Inner {
                disk: Arc::new(disk),
                connection: Mutex::new(connection),
                #[cfg(feature = "memory")]
                memory: None,
            }),
        }
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
        self.state_directory().join("runs").join(run.uuid())
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
        let opened = started(EventKind::RunOpened {
            planned: roll.len() as u64,
        });
        let place = transaction(&connection, Error::write, || {
            insert_run(&connection, run, spec, &worker)?;
            let place = Place {
                run: connection.last_insert_rowid(),
                epoch: 1,
                round: 1,
            };
            insert_epoch(&connection, place, &worker)?;
            let mut statements = Statements::prepare(&connection).map_err(Error::write)?;
            statements.write_roll(place, roll)?;
            statements.write_entry(place, 1, &opened)?;
            Ok(place)
        })
        .map_err(|error| self.explain(error))?;
        Ok(self.hand_over(connection, lock, run, place, 1, worker))
    }

    /// Takes ownership of a run that another controller left: for `resume`, and for `retry` before a new round.
    ///
    /// `node` is this machine's name. A closed run stays closed until a round is opened.
    pub fn take_over(&self, run: RunId, node: &str) -> Result<RunHandle> {
        let record = self.run(run)?;
        let lock = self.own(&record)?;
        let connection = self.connect()?;
        let worker = WorkerId::new(node, std::process::id());
        let (place, seq) = transaction(&connection, Error::write, || {
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
            let count = |sql: &str, place: &[&dyn ToSql]| {
                let number = connection.query_row(sql, place, |row| row.get(0));
                number.map(i64::cast_unsigned)
            };
            let mut seq = count("SELECT COALESCE(MAX(seq), 0) FROM events WHERE run = ?1", &[&place.run])?;
            if record.state != RunState::Closed {
                let remaining = count(
                    "SELECT COUNT(*) FROM roll LEFT JOIN outcomes USING (run, round, host)
                     WHERE run = ?1 AND round = ?2 AND class IS NULL",
                    &[&place.run, &place.round],
                )?;
                seq += 1;
                let resumed = started(EventKind::RunResumed { remaining });
                let mut statements = Statements::prepare(&connection).map_err(Error::write)?;
                statements.write_entry(place, seq, &resumed)?;
            }
            Ok((place, seq))
        })
        .map_err(|error| self.explain(error))?;
        Ok(self.hand_over(connection, lock, run, place, seq, worker))
    }

    /// Returns the controller that currently owns the run, if any.
    pub fn holder(&self, run: RunId) -> Result<Option<WorkerId>> {
        let record = self.run(run)?;
        if !self.run_directory(run).join("lock").exists() {
            return Ok(None);
        }
        Ok(self.lock(run)?.is_none().then_some(record.worker))
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

    /// Takes the run's lock.
    pub(crate) fn own(&self, record: &RunRecord) -> Result<File> {
        let run = record.run;
        disk::private_directory(&self.run_directory(run))?;
        self.lock(run)?.ok_or_else(|| Error::Held {
            run,
            worker: record.worker.clone(),
            user: record.spec.user.clone(),
        })
    }

    /// The run's lock, or `None` if another process has it.
    fn lock(&self, run: RunId) -> Result<Option<File>> {
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

    fn hand_over(
        &self,
        connection: Connection,
        lock: File,
        run: RunId,
        place: Place,
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
                key: place.run,
                epoch: place.epoch,
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
            epoch: place.epoch,
            worker,
            round: AtomicU32::new(place.round),
            taken: Instant::now(),
            published,
            output_share: OutputShare::default(),
            queue,
            places: Arc::new(Semaphore::new(QUEUE_BATCHES)),
            thread: Mutex::new(thread),
        })
    }
}

/// The first entry of an owner, stamped with the current time.
fn started(kind: EventKind) -> Entry {
    Entry {
        wall_ms: unix_ms(),
        ..Entry::run(kind)
    }
}
