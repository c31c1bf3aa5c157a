//! What `resume` must know of every host that has no outcome yet.

use std::collections::HashMap;

use reveille_account::{Class, EventKind, HostName, RunId, StepRef, Token};
use rusqlite::{Connection, params};

use crate::read::read_kind;
use crate::{Error, Ledger, Result, RollEntry};

/// A host of the current round without an outcome, and how far it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Remaining {
    /// Who it is and how it is reached.
    pub entry: RollEntry,
    /// Whether it was handed to the engine.
    pub dispatched: bool,
    /// Connection tries so far, those that were throttled not counted.
    pub connects: u32,
    /// The last attempt that was about to start.
    pub intent: Option<Intent>,
    /// Durable work of an earlier round whose end nobody saw: before the same step runs again, it is looked for.
    pub orphan: Option<Intent>,
    /// Finished attempts and skipped steps, in the order of steps and attempts.
    pub results: Vec<StepResult>,
    /// Another machine has taken its place; what was done before that counts no more.
    pub replaced: bool,
    /// Of such a host, the highest attempt of each step that was begun on either machine: their numbers are taken.
    pub attempts: Vec<(u32, u32)>,
}

/// An attempt that was about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The step.
    pub step: StepRef,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The key of what runs remotely, when the step is durable.
    pub token: Option<Token>,
    /// The remote directory that holds it, when the step is durable.
    pub place: Option<String>,
    /// When it was recorded, Unix milliseconds.
    pub wall_ms: u64,
    /// Whether its result is on record. If not, it may have run, may run still, or may never have started.
    pub finished: bool,
}

/// How an attempt of a step ended, or that the step was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepResult {
    /// The step.
    pub step: StepRef,
    /// Which attempt, from 1; 0 when the step was skipped.
    pub attempt: u32,
    /// The verdict; `nothing_to_do` when the step was skipped.
    pub class: Class,
    /// Exit status, if the command told one.
    pub exit_status: Option<i32>,
    /// The signal that ended it, without `SIG`.
    pub signal: Option<String>,
    /// From start to end, milliseconds.
    pub duration_ms: u64,
    /// Whether the step changed the host.
    pub changed: bool,
    /// The value kept under the step's `register` name, as JSON text.
    pub registered: Option<String>,
    /// What went wrong, or why it was skipped; empty when there is nothing to say.
    pub message: String,
}

// === impl Ledger ===

impl Ledger {
    /// The directories on the hosts that durable work of a run was kept in, all rounds together.
    pub fn places(&self, run: RunId) -> Result<Vec<(HostName, String)>> {
        self.snapshot(run, |connection, key| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT DISTINCT host, place FROM intents
                     WHERE run = ?1 AND place IS NOT NULL AND token IS NOT NULL
                     ORDER BY host, place",
                )
                .map_err(Error::read)?;
            let rows = statement.query_map([key], |row| {
                Ok((HostName::from(row.get_ref(0)?.as_str()?), row.get(1)?))
            });
            rows.and_then(Iterator::collect).map_err(Error::read)
        })
    }

    /// The hosts of the current round without an outcome, in the roll's order.
    pub fn remaining(&self, run: RunId) -> Result<Vec<Remaining>> {
        self.snapshot(run, |connection, key| {
            let round: u32 = connection
                .query_row("SELECT round FROM runs WHERE run = ?1", [key], |row| row.get(0))
                .map_err(Error::read)?;
            let mut hosts = hosts(connection, key, round)?;
            let connects = connects(connection, key, round)?;
            let mut replaced = replaced(connection, key)?;
            for host in &mut hosts {
                let since = match replaced.remove(&host.entry.host) {
                    Some((seq, address, port)) => {
                        host.entry.address = Some(address);
                        host.entry.port = port;
                        host.replaced = true;
                        host.attempts = attempts(connection, key, round, &host.entry.host)?;
                        seq
                    }
                    None => 0,
                };
                if round > 1 {
                    host.orphan = orphan(connection, key, round, &host.entry.host)?;
                }
                if host.dispatched {
                    host.connects = connects.get(&host.entry.host).copied().unwrap_or_default();
                    host.results = results_since(connection, key, round, &host.entry.host, since)?;
                    host.intent = intent(connection, key, round, &host.entry.host)?
                        .filter(|(seq, _)| *seq > since)
                        .map(|(_, intent)| intent);
                }
            }
            Ok(hosts)
        })
    }
}

fn hosts(connection: &Connection, key: i64, round: u32) -> Result<Vec<Remaining>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT r.host, r.address, r.port, r.vars, d.host IS NOT NULL
             FROM roll r LEFT JOIN dispatches d USING (run, round, host)
             WHERE r.run = ?1 AND r.round = ?2 AND NOT EXISTS (SELECT 1 FROM outcomes o
                WHERE o.run = r.run AND o.round = r.round AND o.host = r.host)
             ORDER BY r.ordinal",
        )
        .map_err(Error::read)?;
    let rows = statement.query_map(params![key, round], |row| {
        Ok(Remaining {
            entry: RollEntry {
                host: HostName::from(row.get_ref(0)?.as_str()?),
                address: row.get(1)?,
                port: row.get(2)?,
                vars: row.get(3)?,
            },
            dispatched: row.get(4)?,
            connects: 0,
            intent: None,
            orphan: None,
            replaced: false,
            attempts: Vec::new(),
            results: Vec::new(),
        })
    });
    rows.and_then(Iterator::collect).map_err(Error::read)
}

/// Connection tries of the hosts that have no outcome.
fn connects(connection: &Connection, key: i64, round: u32) -> Result<HashMap<HostName, u32>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT e.host, e.body FROM events e
             WHERE e.run = ?1 AND e.round = ?2 AND e.body LIKE '{\"event\":\"connect%'
               AND NOT EXISTS (SELECT 1 FROM outcomes o
                   WHERE o.run = e.run AND o.round = e.round AND o.host = e.host)",
        )
        .map_err(Error::read)?;
    let mut rows = statement.query(params![key, round]).map_err(Error::read)?;
    let mut connects = HashMap::new();
    while let Some(row) = rows.next().map_err(Error::read)? {
        let host: String = row.get(0).map_err(Error::read)?;
        let count: &mut u32 = connects.entry(HostName::from(host)).or_default();
        match read_kind(row, 1)? {
            EventKind::Connecting { .. } => *count += 1,
            EventKind::ConnectFailed { throttled: true, .. } => *count = count.saturating_sub(1),
            _ => {}
        }
    }
    Ok(connects)
}

/// The latest intent, with its place in the order of events: a repair comes after the step that it repairs, and that step
/// once more after it.
fn intent(connection: &Connection, key: i64, round: u32, host: &HostName) -> Result<Option<(i64, Intent)>> {
    one_intent(
        connection,
        "SELECT e.body, e.wall_ms, EXISTS (SELECT 1 FROM results r
            WHERE r.run = i.run AND r.round = i.round AND r.host = i.host
              AND r.step = i.step AND r.attempt = i.attempt), i.seq
         FROM intents i JOIN events e USING (run, seq)
         WHERE i.run = ?1 AND i.round = ?2 AND i.host = ?3 ORDER BY i.seq DESC LIMIT 1",
        key,
        round,
        host,
    )
}

/// The last durable attempt of the rounds before this one that has no result in any round.
fn orphan(connection: &Connection, key: i64, round: u32, host: &HostName) -> Result<Option<Intent>> {
    one_intent(
        connection,
        "SELECT e.body, e.wall_ms, 0, i.seq FROM intents i JOIN events e USING (run, seq)
         WHERE i.run = ?1 AND i.round < ?2 AND i.host = ?3 AND i.token IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM intents j
               JOIN results r ON r.run = j.run AND r.round = j.round AND r.host = j.host
                AND r.step = j.step AND r.attempt = j.attempt
               WHERE j.run = i.run AND j.host = i.host AND j.token = i.token)
         ORDER BY i.seq DESC LIMIT 1",
        key,
        round,
        host,
    )
    .map(|found| found.map(|(_, intent)| intent))
}

fn attempts(connection: &Connection, key: i64, round: u32, host: &HostName) -> Result<Vec<(u32, u32)>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT step, MAX(attempt) FROM intents WHERE run = ?1 AND round = ?2 AND host = ?3 GROUP BY step",
        )
        .map_err(Error::read)?;
    let rows = statement.query_map(params![key, round, host.as_str()], |row| {
        Ok((row.get(0)?, row.get(1)?))
    });
    rows.and_then(Iterator::collect).map_err(Error::read)
}

/// Hosts whose place another machine has taken: when, and where it is.
fn replaced(connection: &Connection, key: i64) -> Result<HashMap<HostName, (i64, String, u16)>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT seq, host, body FROM events WHERE run = ?1 AND body LIKE '{\"event\":\"replaced\"%' ORDER BY seq",
        )
        .map_err(Error::read)?;
    let mut rows = statement.query(params![key]).map_err(Error::read)?;
    let mut replaced = HashMap::new();
    while let Some(row) = rows.next().map_err(Error::read)? {
        let seq: i64 = row.get(0).map_err(Error::read)?;
        let host: String = row.get(1).map_err(Error::read)?;
        if let EventKind::Replaced { address, port } = read_kind(row, 2)? {
            replaced.insert(HostName::from(host), (seq, address, port));
        }
    }
    Ok(replaced)
}

fn one_intent(
    connection: &Connection,
    query: &str,
    key: i64,
    round: u32,
    host: &HostName,
) -> Result<Option<(i64, Intent)>> {
    let mut statement = connection.prepare_cached(query).map_err(Error::read)?;
    let mut rows = statement
        .query(params![key, round, host.as_str()])
        .map_err(Error::read)?;
    let Some(row) = rows.next().map_err(Error::read)? else {
        return Ok(None);
    };
    let EventKind::StepStarted {
        step,
        attempt,
        token,
        place,
        ..
    } = read_kind(row, 0)?
    else {
        return Err(Error::damaged(
            format!("an intent of {host}"),
            &"its event is another one",
        ));
    };
    let seq = row.get(3).map_err(Error::read)?;
    let intent = Intent {
        step,
        attempt,
        token,
        place,
        wall_ms: row.get::<_, i64>(1).map_err(Error::read)?.cast_unsigned(),
        finished: row.get(2).map_err(Error::read)?,
    };
    Ok(Some((seq, intent)))
}

/// The results of a host in a round, in the order of steps and attempts.
pub(crate) fn results(
    connection: &Connection,
    key: i64,
    round: u32,
    host: &HostName,
) -> Result<Vec<StepResult>> {
    results_since(connection, key, round, host, 0)
}

/// The same, of events after `since`.
fn results_since(
    connection: &Connection,
    key: i64,
    round: u32,
    host: &HostName,
    since: i64,
) -> Result<Vec<StepResult>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT e.body FROM results r JOIN events e USING (run, seq)
             WHERE r.run = ?1 AND r.round = ?2 AND r.host = ?3 AND r.seq > ?4 ORDER BY r.step, r.attempt",
        )
        .map_err(Error::read)?;
    let mut rows = statement
        .query(params![key, round, host.as_str(), since])
        .map_err(Error::read)?;
    let mut results = Vec::new();
    while let Some(row) = rows.next().map_err(Error::read)? {
        results.push(match read_kind(row, 0)? {
            EventKind::StepFinished {
                step,
                attempt,
                class,
                exit_status,
                signal,
                duration_ms,
                changed,
                registered,
                message,
                ..
            } => StepResult {
                step,
                attempt,
                class,
                exit_status,
                signal,
                duration_ms,
                changed,
                registered,
                message,
            },
            EventKind::StepSkipped { step, reason } => StepResult {
                step,
                attempt: 0,
                class: Class::NothingToDo,
                exit_status: None,
                signal: None,
                duration_ms: 0,
                changed: false,
                registered: None,
                message: reason,
            },
            _ => {
                return Err(Error::damaged(
                    format!("a result of {host}"),
                    &"its event is another one",
                ));
            }
        });
    }
    Ok(results)
}
