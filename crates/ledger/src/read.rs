//! Reads what is on record: rolls, events, outcomes.

use std::time::Duration;
use std::vec;

use reveille_account::{Event, EventKind, HostName, Outcome, RunId, WorkerId};
use rusqlite::{Row, params};

use crate::ledger::key;
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
            let last: i64 = connection
                .query_row(last, [key], |row| row.get(0))
                .map_err(Error::read)?;
            Ok(last.unsigned_abs())
        })
    }

    /// The durations of a class, oldest first: how long its runs took, and their longest silences. At most the latest
    /// 3,000.
    pub fn durations(&self, class: &str) -> Result<Vec<(Duration, Duration)>> {
        #[cfg(feature = "memory")]
        if let Some(memory) = self.memory() {
            return Ok(memory.lock().durations(class));
        }
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT took_ms, silence_ms FROM durations WHERE class = ?1 ORDER BY number DESC LIMIT ?2",
            )
            .map_err(Error::read)?;
        let milliseconds = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        let rows = statement
            .query_map(params![class, i64::from(DURATIONS)], |row| {
                Ok((milliseconds(row.get(0)?), milliseconds(row.get(1)?)))
            })
            .map_err(Error::read)?;
        let mut durations = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(Error::read)?;
        durations.reverse();
        Ok(durations)
    }

    /// The roll of a round, in order.
    pub fn roll(&self, run: RunId, round: u32) -> Result<Vec<RollEntry>> {
        let connection = self.connection();
        let key = key(&connection, run)?;
        let mut statement = connection
            .prepare_cached(
                "SELECT host, address, port, vars, way FROM roll WHERE run = ?1 AND round = ?2 ORDER BY ordinal",
            )
            .map_err(Error::read)?;
        let rows = statement
            .query_map(params![key, round], |row| {
                Ok(RollEntry {
                    host: HostName::from(row.get_ref(0)?.as_str()?),
                    address: row.get(1)?,
                    port: row.get(2)?,
                    vars: row.get(3)?,
                    way: row.get(4)?,
                })
            })
            .map_err(Error::read)?;
        rows.collect::<rusqlite::Result<_>>().map_err(Error::read)
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
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, round, host, worker, epoch, wall_ms, mono_ms, body
                 FROM events JOIN epochs USING (run, epoch)
                 WHERE run = ?1 AND seq > ?2 AND (?3 IS NULL OR host = ?3) ORDER BY seq LIMIT ?4",
            )
            .map_err(Error::read)?;
        let mut rows = statement
            .query(params![key, seq.cast_signed(), host.map(HostName::as_str), PAGE])
            .map_err(Error::read)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(Error::read)? {
            events.push(read_event(run, row)?);
        }
        Ok(events)
    }

    /// The latest outcome of each host that has one, in the roll's order.
    pub fn outcomes(&self, run: RunId) -> Result<Vec<HostOutcome>> {
        let connection = self.connection();
        let key = key(&connection, run)?;
        let mut statement = connection
            .prepare_cached(
                "SELECT outcomes.host, MAX(outcomes.round), body
                 FROM outcomes JOIN events USING (run, seq)
                 LEFT JOIN roll ON roll.run = ?1 AND roll.round = outcomes.round AND roll.host = outcomes.host
                 WHERE outcomes.run = ?1 GROUP BY outcomes.host ORDER BY ordinal, outcomes.host",
            )
            .map_err(Error::read)?;
        let mut rows = statement.query([key]).map_err(Error::read)?;
        let mut outcomes = Vec::new();
        while let Some(row) = rows.next().map_err(Error::read)? {
            let host = HostName::from(
                row.get_ref(0)
                    .and_then(|text| Ok(text.as_str()?))
                    .map_err(Error::read)?,
            );
            outcomes.push(HostOutcome {
                round: row.get(1).map_err(Error::read)?,
                outcome: read_outcome(&host, row, 2)?,
                host,
            });
        }
        Ok(outcomes)
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
    let body = row
        .get_ref(column)
        .and_then(|body| Ok(body.as_str()?))
        .map_err(Error::read)?;
    parse_kind(body)
}

pub(crate) fn parse_kind(body: &str) -> Result<EventKind> {
    serde_json::from_str(body).map_err(|error| Error::damaged("an event", &error))
}

fn read_event(run: RunId, row: &Row<'_>) -> Result<Event> {
    let kind = read_kind(row, 7)?;
    (|| {
        Ok(Event {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            run,
            round: row.get(1)?,
            host: row.get_ref(2)?.as_str_or_null()?.map(HostName::from),
            worker: WorkerId::from(row.get_ref(3)?.as_str()?),
            epoch: row.get::<_, i64>(4)?.cast_unsigned(),
            wall_ms: row.get::<_, i64>(5)?.cast_unsigned(),
            mono_ms: row.get::<_, i64>(6)?.cast_unsigned(),
            kind,
        })
    })()
    .map_err(Error::read)
}

// === impl Events ===

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        if let Some(event) = self.page.next() {
            self.seq = event.seq;
            return Some(Ok(event));
        }
        if self.ended {
            return None;
        }
        match self.ledger.events_after(self.run, self.seq, self.host.as_ref()) {
            Ok(page) => {
                self.ended = page.is_empty();
                self.page = page.into_iter();
                let event = self.page.next()?;
                self.seq = event.seq;
                Some(Ok(event))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}
