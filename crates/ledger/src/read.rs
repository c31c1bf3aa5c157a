//! Reads what is on record: rolls, events, outcomes.

use std::time::Duration;
use std::vec;

use reveille_account::{Event, EventKind, HostName, Outcome, RunId, WorkerId};
use rusqlite::{Row, params};

use crate::sql::{host, key, rows, text};
use crate::{Error, Ledger, Result, RollEntry};

/// Events read at once.
const PAGE: i64 = 1000;

/// Durations of a class that are used.
pub(crate) const DURATIONS: u32 = 3000;

/// A host's outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct HostOutcome {
    /// The host.
    pub host: HostName,
    /// The round.
    pub round: u32,
    /// The outcome.
    pub outcome: Outcome,
}

/// A run's events in order, read page by page.
#[derive(Debug)]
pub struct Events {
    ledger: Ledger,
    run: RunId,
    host: Option<HostName>,
    seq: u64,
    page: vec::IntoIter<Event>,
    ended: bool,
}

// === impl Ledger ===

impl Ledger {
    /// The number of the run's last event.
    pub fn last_event(&self, run: RunId) -> Result<u64> {
        self.snapshot(run, |connection, key| {
            let last = "SELECT COALESCE(MAX(seq), 0) FROM events WHERE run = ?1";
            let last = connection.query_row(last, [key], |row| row.get(0));
            Ok(last.map(i64::unsigned_abs)?)
        })
    }

    /// The durations of a class, oldest first: how long its runs took, and their longest silences. At most the latest
    /// 3,000.
    pub fn durations(&self, class: &str) -> Result<Vec<(Duration, Duration)>> {
        #[cfg(feature = "memory")]
        if let Some(memory) = self.memory() {
            return Ok(memory.lock().durations(class));
        }
        let milliseconds = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        let mut durations = rows(
            &self.connection(),
            "SELECT took_ms, silence_ms FROM durations WHERE class = ?1 ORDER BY number DESC LIMIT ?2",
            params![class, DURATIONS],
            |row| Ok((milliseconds(row.get(0)?), milliseconds(row.get(1)?))),
        )?;
        durations.reverse();
        Ok(durations)
    }

    /// The roll of a round, in order.
    pub fn roll(&self, run: RunId, round: u32) -> Result<Vec<RollEntry>> {
        let connection = self.connection();
        rows(
            &connection,
            "SELECT host, address, port, vars, way FROM roll WHERE run = ?1 AND round = ?2 ORDER BY ordinal",
            params![key(&connection, run)?, round],
            read_entry,
        )
    }

    /// The events of a run, or of one of its hosts, from the first.
    pub fn events(&self, run: RunId, host: Option<&HostName>) -> Events {
        Events {
            ledger: self.clone(),
            run,
            host: host.cloned(),
            seq: 0,
            page: Vec::new().into_iter(),
            ended: false,
        }
    }

    /// A page of events with numbers above `seq`; empty at the end.
    pub fn events_after(&self, run: RunId, seq: u64, host: Option<&HostName>) -> Result<Vec<Event>> {
        #[cfg(feature = "memory")]
        if let Ok(state) = self.memory_of(run) {
            return Ok(state.events_after(seq, host, usize::try_from(PAGE).unwrap_or(usize::MAX)));
        }
        let connection = self.connection();
        let key = key(&connection, run)?;
        rows(
            &connection,
            "SELECT seq, round, host, worker, epoch, wall_ms, mono_ms, body
             FROM events JOIN epochs USING (run, epoch)
             WHERE run = ?1 AND seq > ?2 AND (?3 IS NULL OR host = ?3) ORDER BY seq LIMIT ?4",
            params![key, seq.cast_signed(), host.map(HostName::as_str), PAGE],
            |row| read_event(run, row),
        )
    }

    /// The latest outcome of each host that has one, in the roll's order.
    pub fn outcomes(&self, run: RunId) -> Result<Vec<HostOutcome>> {
        let connection = self.connection();
        rows(
            &connection,
            "SELECT outcomes.host, MAX(outcomes.round), body
             FROM outcomes JOIN events USING (run, seq)
             LEFT JOIN roll ON roll.run = ?1 AND roll.round = outcomes.round AND roll.host = outcomes.host
             WHERE outcomes.run = ?1 GROUP BY outcomes.host ORDER BY ordinal, outcomes.host",
            [key(&connection, run)?],
            |row| {
                let host = host(row, 0)?;
                Ok(HostOutcome {
                    round: row.get(1)?,
                    outcome: read_outcome(&host, row, 2)?,
                    host,
                })
            },
        )
    }
}

/// Reads the outcome in an event body.
pub(crate) fn read_outcome(host: &HostName, row: &Row<'_>, column: usize) -> Result<Outcome> {
    match read_kind(row, column)? {
        EventKind::OutcomeReached { outcome } => Ok(*outcome),
        _ => Err(Error::damaged(
            format!("the outcome of {host}"),
            &"its event has another kind",
        )),
    }
}

/// Reads an event body.
pub(crate) fn read_kind(row: &Row<'_>, column: usize) -> Result<EventKind> {
    parse_kind(text(row, column)?)
}

pub(crate) fn parse_kind(body: &str) -> Result<EventKind> {
    serde_json::from_str(body).map_err(|error| Error::damaged("an event", &error))
}

fn read_event(run: RunId, row: &Row<'_>) -> Result<Event> {
    let host: Option<String> = row.get(2)?;
    Ok(Event {
        seq: row.get(0).map(i64::cast_unsigned)?,
        run,
        round: row.get(1)?,
        host: host.map(HostName::from),
        worker: WorkerId::from(text(row, 3)?),
        epoch: row.get(4).map(i64::cast_unsigned)?,
        wall_ms: row.get(5).map(i64::cast_unsigned)?,
        mono_ms: row.get(6).map(i64::cast_unsigned)?,
        kind: read_kind(row, 7)?,
    })
}

/// Reads `host, address, port, vars, way`.
pub(crate) fn read_entry(row: &Row<'_>) -> Result<RollEntry> {
    Ok(RollEntry {
        host: host(row, 0)?,
        address: row.get(1)?,
        port: row.get(2)?,
        vars: row.get(3)?,
        way: row.get(4)?,
    })
}

// === impl Events ===

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        if self.page.len() == 0 && !self.ended {
            let page = self.ledger.events_after(self.run, self.seq, self.host.as_ref());
            self.ended = page.as_ref().map_or(true, Vec::is_empty);
            match page {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        let event = self.page.next()?;
        self.seq = event.seq;
        Some(Ok(event))
    }
}
