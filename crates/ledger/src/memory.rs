//! A run in memory, without thread and files, for the simulator.
//!
//! Events are kept in a vector, under the same rules as in the [writer](crate::writer): epoch, order, numbers, one
//! result per attempt, one outcome per host and round. Each commit passes a [`Gate`], which decides how long it takes
//! and whether the controller survives it. SQLite answers the remaining queries: the events are first written to a
//! database in memory, with the statements that write a real one.
//!
//! Only output goes to files, in the ledger's directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reveille_account::{Account, Event, EventKind, HostName, Outcome, RunId, RunState, Token, WorkerId};
use rusqlite::{Connection, params};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::Instant;

use crate::handle::Shared;
use crate::output::{Durable, OutputShare};
use crate::project::{Place, Statements, insert_epoch, insert_run, what_twice};
use crate::read::DURATIONS;
use crate::replay::RoundHost;
use crate::sql::transaction;
use crate::writer::{Batch, PUBLISHED_EVENTS, QUEUE_BATCHES};
use crate::{Entry, Error, Ledger, Result, RollEntry, RunHandle, RunSpec};

/// A future that a gate returns.
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The gate that every commit passes.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Called before a commit of the queued batches, with the entries of the first. If it never returns, the controller
    /// died.
    fn before<'a>(&'a self, first: &'a [Entry]) -> Wait<'a, Disk>;

    /// Called after a commit, before anyone learns of it.
    fn committed<'a>(&'a self, events: &'a [Arc<Event>]) -> Wait<'a, ()>;

    /// Whether it refuses a controller that was replaced by another, as a ledger does.
    fn fences(&self) -> bool {
        true
    }
}

/// The disk's answer to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// The commit succeeds.
    Writes,
    /// There is no space, even after the reserve was released.
    Full,
}

/// A run in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    state: Mutex<State>,
    durable: Durable,
}

#[derive(Debug)]
pub(crate) struct State {
    run: RunId,
    spec: RunSpec,
    epoch: u64,
    round: u32,
    stands_at: RunState,
    /// The wall clock, and when it was read.
    clock: (u64, Instant),
    rolls: BTreeMap<u32, Vec<HostName>>,
    dispatched: BTreeSet<(u32, HostName)>,
    intents: BTreeMap<(u32, HostName, u32, u32), Option<Token>>,
    results: BTreeSet<(u32, HostName, u32, u32)>,
    outcomes: BTreeMap<(u32, HostName), Outcome>,
    pub(crate) events: Vec<Arc<Event>>,
    durations: Vec<(String, Duration, Duration)>,
    /// The rows for the database, in order, and how many of them it has.
    rows: Vec<Row>,
    projected: usize,
}

#[derive(Debug)]
enum Row {
    Run(WorkerId),
    Epoch(u64, WorkerId),
    Roll(u32, Vec<RollEntry>),
    /// The index of an event.
    Event(usize),
}

/// The task that commits for one handle.
struct Stage {
    ledger: Ledger,
    run: RunId,
    epoch: u64,
    worker: WorkerId,
    queue: mpsc::UnboundedReceiver<Batch>,
    published: broadcast::Sender<Arc<Event>>,
    gate: Arc<dyn Gate>,
}

// === impl Ledger ===

impl Ledger {
    /// A ledger with one run in memory, and its first owner. Output goes to files in `directory`.
    pub fn in_memory(
        directory: &Path,
        run: RunId,
        spec: &RunSpec,
        roll: &[RollEntry],
        gate: Arc<dyn Gate>,
    ) -> Result<RunHandle> {
        let worker = worker(1);
        let now = spec.started_ms;
        let mut state = State {
            run,
            spec: spec.clone(),
            epoch: 1,
            round: 1,
            stands_at: RunState::Open,
            clock: (now, Instant::now()),
            rolls: BTreeMap::new(),
            dispatched: BTreeSet::new(),
            intents: BTreeMap::new(),
            results: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            events: Vec::new(),
            durations: Vec::new(),
            rows: vec![Row::Run(worker.clone()), Row::Epoch(1, worker.clone())],
            projected: 0,
        };
        state.take_roll(1, roll)?;
        let planned = roll.len() as u64;
        let mut entry = Entry::run(EventKind::RunOpened { planned });
        entry.wall_ms = now;
        state.take(1, 1, &worker, &entry);
        let memory = Memory {
            state: Mutex::new(state),
            durable: Durable::default(),
        };
        let ledger = Self::over(directory, memory)?;
        Ok(ledger.stage(run, 1, 1, worker, gate))
    }

    /// Takes over a run in memory that another controller left or still believes to own.
    pub fn take_over_in_memory(&self, run: RunId, gate: Arc<dyn Gate>) -> Result<RunHandle> {
        self.disk().reopen();
        let mut state = self.memory_of(run)?;
        state.epoch += 1;
        let (epoch, round) = (state.epoch, state.round);
        let worker = worker(epoch);
        state.rows.push(Row::Epoch(epoch, worker.clone()));
        if state.stands_at != RunState::Closed {
            let roll = state.rolls.get(&round).into_iter().flatten();
            let open = roll.filter(|host| !state.outcomes.contains_key(&(round, (*host).clone())));
            let remaining = open.count() as u64;
            let mut entry = Entry::run(EventKind::RunResumed { remaining });
            entry.wall_ms = state.now_ms();
            state.take(epoch, round, &worker, &entry);
        }
        drop(state);
        Ok(self.stage(run, epoch, round, worker, gate))
    }

    /// Simulates a power cut of the controller's machine: only synced bytes of output files remain.
    pub fn lose_power_in_memory(&self, run: RunId) -> Result<()> {
        let Some(memory) = self.memory() else {
            return Ok(());
        };
        let directory = self.run_directory(run).join("out");
        let Ok(files) = std::fs::read_dir(&directory) else {
            return Ok(());
        };
        let durable = memory.durable.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            let path = file.map_err(Error::io("read", &directory))?.path();
            let length = durable.get(&path).copied().unwrap_or_default();
            let cut = std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(length.min(file.metadata()?.len())));
            cut.map_err(Error::io("cut", &path))?;
        }
        Ok(())
    }

    fn stage(&self, run: RunId, epoch: u64, round: u32, worker: WorkerId, gate: Arc<dyn Gate>) -> RunHandle {
        let (sender, queue) = mpsc::unbounded_channel();
        let (published, _) = broadcast::channel(PUBLISHED_EVENTS);
        let stage = Stage {
            ledger: self.clone(),
            run,
            epoch,
            worker: worker.clone(),
            queue,
            published: published.clone(),
            gate,
        };
        tokio::spawn(stage.work());
        RunHandle::new(Shared {
            ledger: self.clone(),
            run,
            epoch,
            worker,
            round: AtomicU32::new(round),
            taken: Instant::now(),
            published,
            output_share: self.memory().map_or_else(OutputShare::default, |memory| {
                OutputShare::telling(&memory.durable)
            }),
            queue: Some(sender),
            places: Arc::new(Semaphore::new(QUEUE_BATCHES)),
            thread: Mutex::new(None),
        })
    }

    /// The run in memory, if this ledger is in memory.
    pub(crate) fn memory_of(&self, run: RunId) -> Result<MutexGuard<'_, State>> {
        self.memory()
            .map(Memory::lock)
            .filter(|state| state.run == run)
            .ok_or_else(|| Error::NoSuchRun(run.to_string()))
    }
}

fn worker(epoch: u64) -> WorkerId {
    WorkerId::new("simulated", u32::try_from(epoch).unwrap_or(u32::MAX))
}

// === impl Stage ===

impl Stage {
    /// Commits until all handles are gone or the run can no longer be written.
    async fn work(mut self) {
        while let Some(first) = self.queue.recv().await {
            let disk = self.gate.before(&first.entries).await;
            let mut batches = vec![first];
            while let Ok(batch) = self.queue.try_recv() {
                batches.push(batch);
            }
            if disk == Disk::Full {
                self.ledger.disk().release();
                let error = self.ledger.disk().full();
                answer(batches, &error);
                continue;
            }
            let (answers, events, error) = self.commit(&batches);
            if !events.is_empty() {
                self.gate.committed(&events).await;
            }
            for event in events {
                // Fails if the last reader has gone.
                let _ = self.published.send(event);
            }
            for (batch, answer) in batches.into_iter().zip(answers) {
                // Fails if the caller no longer waits.
                let _ = batch.done.send(answer);
            }
            if let Some(error) = error {
                self.queue.close();
                while let Some(batch) = self.queue.recv().await {
                    let _ = batch.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// Returns the answer to each batch, the committed events, and the error that stops the run.
    fn commit(&self, batches: &[Batch]) -> (Vec<Result<u64>>, Vec<Arc<Event>>, Option<Error>) {
        let refuse = |error: Error| {
            let answers = batches.iter().map(|_| Err(error.clone())).collect();
            (answers, Vec::new(), Some(error))
        };
        let mut state = match self.ledger.memory_of(self.run) {
            Ok(state) => state,
            Err(error) => return refuse(error),
        };
        let from = state.events.len();
        if state.epoch != self.epoch && self.gate.fences() {
            return refuse(Error::Fenced {
                run: self.run,
                epoch: self.epoch,
            });
        }
        let answers = batches
            .iter()
            .map(|batch| {
                // A broken rule concerns one host: the other batches go on.
                state.take_batch(self.epoch, &self.worker, batch)?;
                Ok(state.events.len() as u64)
            })
            .collect();
        let events = state.events[from..].to_vec();
        (answers, events, None)
    }
}

fn answer(batches: Vec<Batch>, error: &Error) {
    for batch in batches {
        let _ = batch.done.send(Err(error.clone()));
    }
}

// === impl Memory ===

impl Memory {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the database still has no tables; most runs in memory never need it.
    pub(crate) fn is_unasked(&self) -> bool {
        self.lock().projected == 0
    }

    /// Writes the missing rows to the database.
    pub(crate) fn project(&self, connection: &Connection) -> Result<()> {
        let mut state = self.lock();
        if state.projected == state.rows.len() {
            return Ok(());
        }
        transaction(connection, Error::write, || {
            let mut statements = Statements::prepare(connection).map_err(Error::write)?;
            for row in &state.rows[state.projected..] {
                let place = |epoch, round| Place { run: 1, epoch, round };
                match row {
                    Row::Run(worker) => insert_run(connection, state.run, &state.spec, worker)?,
                    Row::Epoch(epoch, worker) => {
                        connection
                            .execute(
                                "UPDATE runs SET epoch = ?1, worker = ?2",
                                params![epoch.cast_signed(), worker.as_str()],
                            )
                            .map_err(Error::write)?;
                        insert_epoch(connection, place(*epoch, 0), worker)?;
                    }
                    Row::Roll(round, roll) => statements.write_roll(place(0, *round), roll)?,
                    Row::Event(at) => {
                        let event = &state.events[*at];
                        let entry = Entry {
                            host: event.host.clone(),
                            kind: event.kind.clone(),
                            wall_ms: event.wall_ms,
                            mono_ms: event.mono_ms,
                        };
                        statements.write_entry(place(event.epoch, event.round), event.seq, &entry)?;
                    }
                }
            }
            Ok(())
        })?;
        state.projected = state.rows.len();
        Ok(())
    }
}

// === impl State ===

impl State {
    /// Unix milliseconds, on a clock that runs with tokio's.
    pub(crate) fn now_ms(&self) -> u64 {
        let (began, at) = self.clock;
        began + u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A page of events with numbers above `seq`.
    pub(crate) fn events_after(&self, seq: u64, host: Option<&HostName>, most: usize) -> Vec<Event> {
        let from = usize::try_from(seq).unwrap_or(usize::MAX).min(self.events.len());
        self.events[from..]
            .iter()
            .filter(|event| host.is_none() || event.host.as_ref() == host)
            .take(most)
            .map(|event| Event::clone(event))
            .collect()
    }

    /// The hosts of the current round.
    pub(crate) fn round_hosts(&self) -> Vec<RoundHost> {
        let roll = self.rolls.get(&self.round).into_iter().flatten();
        roll.map(|host| {
            let key = (self.round, host.clone());
            RoundHost {
                entry: RollEntry::new(host.clone()),
                dispatched: self.dispatched.contains(&key),
                outcome: self.outcomes.get(&key).map(|outcome| outcome.class),
            }
        })
        .collect()
    }

    /// The durations of a class, oldest first.
    pub(crate) fn durations(&self, class: &str) -> Vec<(Duration, Duration)> {
        let all = self.durations.iter().filter(|(of, ..)| of == class);
        let mut latest: Vec<_> = all
            .rev()
            .take(DURATIONS as usize)
            .map(|row| (row.1, row.2))
            .collect();
        latest.reverse();
        latest
    }

    /// The account; a host counts in the newest round whose roll it is on.
    pub(crate) fn account(&self) -> Account {
        let mut newest: BTreeMap<&HostName, u32> = BTreeMap::new();
        for (round, roll) in &self.rolls {
            newest.extend(roll.iter().map(|host| (host, *round)));
        }
        let mut account = Account::planned(newest.len() as u64);
        for (host, round) in newest {
            let key = (round, host.clone());
            match self.outcomes.get(&key) {
                Some(outcome) => account.add(outcome.status()),
                None if !self.dispatched.contains(&key) => account.pending += 1,
                None if self.stands_at == RunState::Closed => account.ghost += 1,
                None => account.running += 1,
            }
        }
        let planned =
            |(round, host): &&(u32, HostName)| self.rolls.get(round).is_some_and(|roll| roll.contains(host));
        account.extra = self.outcomes.keys().filter(|key| !planned(key)).count() as u64;
        account
    }

    fn take_roll(&mut self, round: u32, roll: &[RollEntry]) -> Result<()> {
        let mut hosts = BTreeSet::new();
        if let Some(twice) = roll.iter().find(|entry| !hosts.insert(&entry.host)) {
            return Err(Error::TwiceOnRoll {
                host: twice.host.clone(),
            });
        }
        self.round = round;
        self.rolls
            .insert(round, roll.iter().map(|entry| entry.host.clone()).collect());
        self.rows.push(Row::Roll(round, roll.to_vec()));
        Ok(())
    }

    /// Takes all of a batch or nothing.
    fn take_batch(&mut self, epoch: u64, worker: &WorkerId, batch: &Batch) -> Result<()> {
        // Check all rules first, so that nothing has to be undone.
        let mut results = BTreeSet::new();
        let mut outcomes = BTreeSet::new();
        let mut intents: BTreeMap<_, Option<Token>> = BTreeMap::new();
        for entry in &batch.entries {
            let Some(host) = &entry.host else { continue };
            let twice = || Error::Duplicate {
                host: host.clone(),
                what: what_twice(&entry.kind),
                round: batch.round,
            };
            match &entry.kind {
                EventKind::StepStarted {
                    step, attempt, token, ..
                } => {
                    let key = (batch.round, host.clone(), step.index, *attempt);
                    let known = intents.get(&key).or_else(|| self.intents.get(&key));
                    if known.is_some_and(|known| known != token) {
                        return Err(twice());
                    }
                    intents.insert(key, *token);
                }
                EventKind::StepFinished { step, attempt, .. } => {
                    let key = (batch.round, host.clone(), step.index, *attempt);
                    if self.results.contains(&key) || !results.insert(key) {
                        return Err(twice());
                    }
                }
                EventKind::OutcomeReached { .. } => {
                    let key = (batch.round, host.clone());
                    if self.outcomes.contains_key(&key) || !outcomes.insert(key) {
                        return Err(twice());
                    }
                }
                _ => {}
            }
        }
        if !batch.roll.is_empty() {
            self.take_roll(batch.round, &batch.roll)?;
        }
        for entry in &batch.entries {
            self.take(epoch, batch.round, worker, entry);
        }
        Ok(())
    }

    /// One event and what follows from it.
    fn take(&mut self, epoch: u64, round: u32, worker: &WorkerId, entry: &Entry) {
        let at = self.events.len();
        let event = Event {
            seq: at as u64 + 1,
            run: self.run,
            round,
            host: entry.host.clone(),
            worker: worker.clone(),
            epoch,
            wall_ms: entry.wall_ms,
            mono_ms: entry.mono_ms,
            kind: entry.kind.clone(),
        };
        match (&entry.kind, &entry.host) {
            (EventKind::RunStateChanged { state, .. }, _) => self.stands_at = *state,
            (EventKind::RunOpened { .. } | EventKind::RunResumed { .. }, _) => {
                self.stands_at = RunState::Open;
            }
            (EventKind::Dispatched, Some(host)) => {
                self.dispatched.insert((round, host.clone()));
            }
            (
                EventKind::StepStarted {
                    step, attempt, token, ..
                },
                Some(host),
            ) => {
                let key = (round, host.clone(), step.index, *attempt);
                self.intents.insert(key, *token);
            }
            (
                EventKind::StepFinished {
                    step,
                    attempt,
                    learned,
                    ..
                },
                Some(host),
            ) => {
                self.results.insert((round, host.clone(), step.index, *attempt));
                if let Some(learned) = learned {
                    self.durations.push((
                        learned.class.clone(),
                        Duration::from_millis(learned.took_ms),
                        Duration::from_millis(learned.silence_ms),
                    ));
                }
            }
            (EventKind::OutcomeReached { outcome }, Some(host)) => {
                self.outcomes.insert((round, host.clone()), (**outcome).clone());
            }
            _ => {}
        }
        self.events.push(Arc::new(event));
        self.rows.push(Row::Event(at));
    }
}
