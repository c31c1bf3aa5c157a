//! Derives the rows for queries from events.

use reveille_account::{EventKind, HostName, RunId, RunState, StepRef, WorkerId};
use rusqlite::{CachedStatement, Connection, ErrorCode, params};

use crate::spec::unix_ms;
use crate::{Entry, Error, Result, RollEntry, RunSpec};

/// What all rows of a batch have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) run: i64,
    pub(crate) epoch: u64,
    pub(crate) round: u32,
}

/// The writer's statements, prepared once.
pub(crate) struct Statements<'c> {
    epoch: CachedStatement<'c>,
    event: CachedStatement<'c>,
    dispatch: CachedStatement<'c>,
    intent: CachedStatement<'c>,
    result: CachedStatement<'c>,
    skip: CachedStatement<'c>,
    outcome: CachedStatement<'c>,
    state: CachedStatement<'c>,
    round: CachedStatement<'c>,
    roll: CachedStatement<'c>,
    learned: CachedStatement<'c>,
    /// The JSON of an event; kept, so that its memory is used again.
    body: Vec<u8>,
}

// === impl Statements ===

impl<'c> Statements<'c> {
    pub(crate) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            epoch: connection.prepare_cached("SELECT epoch FROM runs WHERE run = ?1")?,
            event: connection.prepare_cached(
                "INSERT INTO events (run, seq, round, host, epoch, wall_ms, mono_ms, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            dispatch: connection.prepare_cached(
                "INSERT OR IGNORE INTO dispatches (run, round, host, seq) VALUES (?1, ?2, ?3, ?4)",
            )?,
            // A controller that resumes an attempt may record its intent again, but not with another token.
            intent: connection.prepare_cached(
                "INSERT INTO intents (run, round, host, step, attempt, token, place, seq, delegate)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT DO UPDATE SET place = excluded.place, seq = excluded.seq
                 WHERE token IS excluded.token",
            )?,
            result: connection.prepare_cached(
                "INSERT INTO results (run, round, host, step, attempt, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            skip: connection.prepare_cached(
                "INSERT OR REPLACE INTO results (run, round, host, step, attempt, seq)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5)",
            )?,
            outcome: connection.prepare_cached(
                "INSERT INTO outcomes (run, round, host, status, class, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            state: connection.prepare_cached("UPDATE runs SET state = ?2, ended_ms = ?3 WHERE run = ?1")?,
            round: connection.prepare_cached("UPDATE runs SET round = ?2 WHERE run = ?1")?,
            // A host keeps its position from the first round.
            roll: connection.prepare_cached(
                "INSERT INTO roll (run, round, host, ordinal, address, port, vars, way)
                 VALUES (?1, ?2, ?3, COALESCE((SELECT ordinal FROM roll WHERE run = ?1 AND round = 1 AND host = ?3), ?4),
                         ?5, ?6, ?7, ?8)",
            )?,
            learned: connection
                .prepare_cached("INSERT INTO durations (class, took_ms, silence_ms) VALUES (?1, ?2, ?3)")?,
            body: Vec::new(),
        })
    }

    /// The epoch that currently owns the run.
    pub(crate) fn epoch(&mut self, run: i64) -> rusqlite::Result<u64> {
        self.epoch
            .query_row([run], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    }

    /// Writes the roll of a round and makes it the current one.
    pub(crate) fn write_roll(&mut self, place: Place, roll: &[RollEntry]) -> Result<()> {
        self.round
            .execute(params![place.run, place.round])
            .map_err(Error::write)?;
        for (ordinal, entry) in roll.iter().enumerate() {
            self.roll
                .execute(params![
                    place.run,
                    place.round,
                    entry.host.as_str(),
                    i64::try_from(ordinal).unwrap_or(i64::MAX),
                    entry.address,
                    entry.port,
                    entry.vars,
                    entry.way,
                ])
                .map_err(|error| {
                    if is_constraint(&error) {
                        Error::TwiceOnRoll {
                            host: entry.host.clone(),
                        }
                    } else {
                        Error::write(error)
                    }
                })?;
        }
        Ok(())
    }

    /// Writes an event and the rows derived from it.
    pub(crate) fn write_entry(&mut self, place: Place, seq: u64, entry: &Entry) -> Result<()> {
        self.body.clear();
        serde_json::to_writer(&mut self.body, &entry.kind)
            .map_err(|error| Error::damaged("an event", &error))?;
        let body = str::from_utf8(&self.body).map_err(|error| Error::damaged("an event", &error))?;
        let seq = seq.cast_signed();
        self.event
            .execute(params![
                place.run,
                seq,
                place.round,
                entry.host.as_ref().map(HostName::as_str),
                place.epoch.cast_signed(),
                entry.wall_ms.cast_signed(),
                entry.mono_ms.cast_signed(),
                body,
            ])
            .map_err(Error::write)?;
        match (&entry.kind, &entry.host) {
            (EventKind::RunStateChanged { state, .. }, _) => {
                self.write_state(place, *state, entry.wall_ms)?;
            }
            (EventKind::RunOpened { .. } | EventKind::RunResumed { .. }, _) => {
                self.write_state(place, RunState::Open, entry.wall_ms)?;
            }
            (_, None) => {}
            (kind, Some(host)) => self.write_host(place, seq, host, kind)?,
        }
        Ok(())
    }

    fn write_state(&mut self, place: Place, state: RunState, now_ms: u64) -> Result<()> {
        let ended = (state != RunState::Open).then_some(now_ms.cast_signed());
        self.state
            .execute(params![place.run, state.as_str(), ended])
            .map(drop)
            .map_err(Error::write)
    }

    fn write_host(&mut self, place: Place, seq: i64, host: &HostName, kind: &EventKind) -> Result<()> {
        let Place { run, round, .. } = place;
        let changed = match kind {
            EventKind::Dispatched => {
                let dispatched = self.dispatch.execute(params![run, round, host.as_str(), seq]);
                return dispatched.map(drop).map_err(Error::write);
            }
            EventKind::StepSkipped { step, .. } => {
                let skipped = self
                    .skip
                    .execute(params![run, round, host.as_str(), step.index, seq]);
                return skipped.map(drop).map_err(Error::write);
            }
            EventKind::StepStarted {
                step,
                attempt,
                token,
                place: remote,
                machine,
                ..
            } => self.intent.execute(params![
                run,
                round,
                host.as_str(),
                step.index,
                attempt,
                token.map(|token| token.to_string()),
                remote,
                seq,
                machine.delegate().map(HostName::as_str)
            ]),
            EventKind::StepFinished {
                step,
                attempt,
                learned,
                ..
            } => {
                if let Some(learned) = learned {
                    self.learned
                        .execute(params![
                            learned.class,
                            learned.took_ms.cast_signed(),
                            learned.silence_ms.cast_signed()
                        ])
                        .map_err(Error::write)?;
                }
                self.result
                    .execute(params![run, round, host.as_str(), step.index, attempt, seq])
            }
            EventKind::OutcomeReached { outcome } => self.outcome.execute(params![
                run,
                round,
                host.as_str(),
                outcome.status().as_str(),
                outcome.class.as_str(),
                seq
            ]),
            _ => return Ok(()),
        };
        match changed {
            Err(error) if !is_constraint(&error) => Err(Error::write(error)),
            Ok(1) => Ok(()),
            _ => Err(Error::Duplicate {
                host: host.clone(),
                what: what_twice(kind),
                round,
            }),
        }
    }
}

/// Writes the row of a new run.
pub(crate) fn insert_run(
    connection: &Connection,
    run: RunId,
    spec: &RunSpec,
    worker: &WorkerId,
) -> Result<()> {
    connection
        .execute(
            "INSERT INTO runs (id, kind, text, file, sha256, options, vars, seed, user, node, comment, started_ms,
                               state, round, epoch, worker, name)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', 1, 1, ?13, ?14)",
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
                spec.name,
            ],
        )
        .map(drop)
        .map_err(Error::write)
}

/// Writes the row of a controller that owns a run from now on.
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

pub(crate) fn what_twice(kind: &EventKind) -> String {
    let of = |step: &StepRef, attempt: u32| format!("step {}, attempt {attempt}", step.index + 1);
    match kind {
        EventKind::StepStarted { step, attempt, .. } => {
            format!("an intent with another token for {}", of(step, *attempt))
        }
        EventKind::StepFinished { step, attempt, .. } => format!("a result for {}", of(step, *attempt)),
        _ => "an outcome".to_owned(),
    }
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
