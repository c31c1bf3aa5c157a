//! Writes a run, and follows it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use reveille_account::{Event, EventKind, HostName, RunId, RunState, WorkerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio::time::Instant;

use crate::output::{OutputCaps, OutputReader, OutputShare, OutputWriter};
use crate::spec::unix_ms;
use crate::writer::Batch;
use crate::{Error, Ledger, Result, RollEntry};

/// An event to record. The handle adds run, round, epoch, worker and number.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The host, if it is about one.
    pub host: Option<HostName>,
    /// What happened.
    pub kind: EventKind,
    /// Unix milliseconds; stamped by [`RunHandle::record`] when 0.
    pub wall_ms: u64,
    /// Milliseconds since this controller took over the run; stamped together with `wall_ms`.
    pub mono_ms: u64,
}

/// The right to write a run. Clones share it. Dropping the last one releases the run, after the last commit.
#[derive(Debug, Clone)]
pub struct RunHandle {
    shared: Arc<Shared>,
}

/// A commit in progress. Dropping the ticket does not cancel it.
#[derive(Debug)]
pub struct Ticket {
    run: RunId,
    answer: Option<oneshot::Receiver<Result<u64>>>,
}

/// A run's events in order and without gaps: first those on record, then each new one after its commit.
#[derive(Debug)]
pub struct Follow {
    ledger: Ledger,
    run: RunId,
    /// The number of the last event returned.
    seq: u64,
    /// Events read from the ledger, the next one last.
    behind: Vec<Event>,
    /// Whether everything on record was read, so that published events come next.
    current: bool,
    published: broadcast::Receiver<Arc<Event>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) run: RunId,
    pub(crate) epoch: u64,
    pub(crate) worker: WorkerId,
    pub(crate) round: AtomicU32,
    pub(crate) taken: Instant,
    pub(crate) published: broadcast::Sender<Arc<Event>>,
    pub(crate) output_share: OutputShare,
    /// The queue and the thread are taken when the last handle is dropped.
    pub(crate) queue: Option<mpsc::UnboundedSender<Batch>>,
    /// Places in the queue for callers that wait for an answer.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
}

// === impl Entry ===

impl Entry {
    /// An event on `host`.
    pub fn host(host: &HostName, kind: EventKind) -> Self {
        Self {
            host: Some(host.clone()),
            ..Self::run(kind)
        }
    }

    /// An event of the run as a whole.
    pub fn run(kind: EventKind) -> Self {
        Self {
            host: None,
            kind,
            wall_ms: 0,
            mono_ms: 0,
        }
    }
}

// === impl RunHandle ===

impl RunHandle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.shared.run
    }

    /// The round that entries are recorded in.
    pub fn round(&self) -> u32 {
        self.shared.round.load(Ordering::Acquire)
    }

    /// The epoch of this ownership; every remote operation sends it.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// This controller.
    pub fn worker(&self) -> &WorkerId {
        &self.shared.worker
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// The run's directory, readable by its owner only.
    pub fn directory(&self) -> PathBuf {
        self.shared.ledger.run_directory(self.shared.run)
    }

    /// Stamps an entry that will be [recorded](Self::record) later with the current time.
    pub fn stamp(&self, entry: &mut Entry) {
        if entry.wall_ms == 0 {
            entry.wall_ms = self.now_ms();
            entry.mono_ms = u64::try_from(self.shared.taken.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
    }

    /// Commits entries together, in order, and returns the number of the last one.
    ///
    /// Returns once they are on disk. Dropping the future may be too late to cancel. [`Error::Fenced`] ends this
    /// handle. After [`Error::Duplicate`] none of these entries is on disk and others go on. After [`Error::DiskFull`]
    /// the caller may try again.
    pub async fn record(&self, entries: Vec<Entry>) -> Result<u64> {
        self.send(self.round(), Vec::new(), entries).await
    }

    /// Queues entries in order, without waiting. Later calls commit later. Callers must bound what they submit; the
    /// engine submits a few entries per host.
    pub fn submit(&self, entries: Vec<Entry>) -> Ticket {
        self.enqueue(self.round(), Vec::new(), entries, None)
    }

    /// [`record`](Self::record) for one event on one host.
    pub async fn record_host(&self, host: &HostName, kind: EventKind) -> Result<u64> {
        self.record(vec![Entry::host(host, kind)]).await
    }

    /// [`record`](Self::record) for one event of the run.
    pub async fn record_run(&self, kind: EventKind) -> Result<u64> {
        self.record(vec![Entry::run(kind)]).await
    }

    /// Opens, interrupts or closes the run.
    pub async fn set_state(&self, state: RunState, reason: Option<String>) -> Result<u64> {
        self.record_run(EventKind::RunStateChanged { state, reason })
            .await
    }

    /// Opens the next round and records its roll, in one commit. Later entries belong to it.
    pub async fn open_round(&self, roll: Vec<RollEntry>) -> Result<u32> {
        let round = self.round() + 1;
        let opened = Entry::run(EventKind::RunOpened {
            planned: roll.len() as u64,
        });
        self.send(round, roll, vec![opened]).await?;
        self.shared.round.store(round, Ordering::Release);
        Ok(round)
    }

    /// Subscribes to events as they are committed. A receiver that lags misses some; [`follow`](Self::follow) does not.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.published.subscribe()
    }

    /// All events with a number above `after`, past and future, in order and without gaps.
    pub fn follow(&self, after: u64) -> Follow {
        Follow {
            published: self.events(),
            ledger: self.shared.ledger.clone(),
            run: self.shared.run,
            seq: after,
            behind: Vec::new(),
            current: false,
        }
    }

    /// Caps the output of all hosts together from now on (`--max-output`). There is no such cap by default.
    pub fn limit_output(&self, bytes: u64) {
        self.shared.output_share.set_left(bytes);
    }

    /// A writer for a host's output in the current round. All writers of this handle share the run's cap.
    pub fn output(&self, host: &HostName, caps: OutputCaps) -> OutputWriter {
        OutputWriter::new(
            &self.directory(),
            host,
            self.round(),
            caps,
            self.shared.output_share.clone(),
            Some(self.shared.ledger.disk()),
        )
    }

    /// A reader for a host's output in the current round.
    pub fn read_output(&self, host: &HostName) -> Result<OutputReader> {
        OutputReader::open(&self.directory(), host, self.round())
    }

    /// Unix milliseconds; a run in memory uses a clock that can be paused.
    pub fn now_ms(&self) -> u64 {
        #[cfg(feature = "memory")]
        if let Ok(state) = self.shared.ledger.memory_of(self.shared.run) {
            return state.now_ms();
        }
        unix_ms()
    }

    /// Waits for a place in the bounded queue, then does what [`submit`](Self::submit) does.
    pub async fn submit_in_turn(&self, entries: Vec<Entry>) -> Ticket {
        self.queue(self.round(), Vec::new(), entries).await
    }

    async fn send(&self, round: u32, roll: Vec<RollEntry>, entries: Vec<Entry>) -> Result<u64> {
        self.queue(round, roll, entries).await.committed().await
    }

    async fn queue(&self, round: u32, roll: Vec<RollEntry>, entries: Vec<Entry>) -> Ticket {
        // The semaphore is never closed.
        let place = Arc::clone(&self.shared.places).acquire_owned().await.ok();
        self.enqueue(round, roll, entries, place)
    }

    fn enqueue(
        &self,
        round: u32,
        roll: Vec<RollEntry>,
        mut entries: Vec<Entry>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Ticket {
        for entry in &mut entries {
            self.stamp(entry);
        }
        let (done, answer) = oneshot::channel();
        let batch = Batch {
            round,
            roll,
            entries,
            done,
            place,
        };
        let queue = self.shared.queue.as_ref();
        let queued = queue.is_some_and(|queue| queue.send(batch).is_ok());
        Ticket {
            run: self.shared.run,
            answer: queued.then_some(answer),
        }
    }
}

// === impl Ticket ===

impl Ticket {
    /// Waits until the entries are on disk, and returns the number of the last one.
    pub async fn committed(self) -> Result<u64> {
        let stopped = || Error::Stopped { run: self.run };
        let answer = self.answer.ok_or_else(stopped)?;
        answer.await.map_err(|_| stopped())?
    }
}

// === impl Shared ===

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(run = %self.run, "the ledger's writer panicked");
        }
    }
}

// === impl Follow ===

impl Follow {
    /// Returns the next event; `None` once the run was released and all events were returned.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>> {
        loop {
            if let Some(event) = self.behind.pop() {
                self.seq = event.seq;
                return Ok(Some(Arc::new(event)));
            }
            if !self.current {
                self.catch_up().await?;
                continue;
            }
            match self.published.recv().await {
                Ok(event) if event.seq <= self.seq => {}
                Ok(event) if event.seq == self.seq + 1 => {
                    self.seq = event.seq;
                    return Ok(Some(event));
                }
                // Read missed events from the ledger.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.current = false,
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// Returns the next event if it is available now.
    pub fn ready(&mut self) -> Option<Arc<Event>> {
        if !self.current {
            return None;
        }
        match self.published.try_recv() {
            Ok(event) if event.seq == self.seq + 1 => {
                self.seq = event.seq;
                Some(event)
            }
            // Already returned; `next` skips it as well.
            Ok(event) if event.seq <= self.seq => None,
            // Read missed events from the ledger.
            Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {
                self.current = false;
                None
            }
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    async fn catch_up(&mut self) -> Result<()> {
        let (ledger, run, seq) = (self.ledger.clone(), self.run, self.seq);
        let read = tokio::task::spawn_blocking(move || ledger.events_after(run, seq, None));
        self.behind = read.await.map_err(|error| Error::damaged("events", &error))??;
        self.current = self.behind.is_empty();
        self.behind.reverse();
        Ok(())
    }
}
