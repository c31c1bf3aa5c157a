//! A run's account, computed from the record, and the hosts behind its numbers.
//!
//! Each number is a separate query over roll, dispatches and outcomes, all in one snapshot, so that a fault in one
//! shows as an account that does not balance. A host counts in the newest round whose roll it is on.

use std::fmt;
use std::str::FromStr;

use reveille_account::{Account, Class, HostName, RunId, RunState, Status};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::find::state_from_name;
use crate::sql::{host, key, rows, text};
use crate::{Error, Ledger, Result};

/// A run's account, and the hosts that prevent a clean one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The account.
    pub account: Account,
    /// The run's state.
    pub state: RunState,
    /// Hosts that were dispatched in a closed run and have no outcome.
    pub ghosts: Vec<HostName>,
    /// Hosts that were not dispatched in a closed run and have no outcome: the account does not balance.
    pub forgotten: Vec<HostName>,
    /// Outcomes of hosts that are not on the roll of that round.
    pub extras: Vec<HostName>,
}

/// A selection of a run's hosts: the part after the colon in `@last:failed` and `@RUN:connect_refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Hosts with a status.
    Status(Status),
    /// Hosts with a class.
    Class(Class),
    /// Hosts that were not dispatched and have no outcome.
    Pending,
    /// Hosts that were dispatched and have no outcome, in a run that is not closed.
    Running,
}

/// The error for a word that is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no status or class is named {0:?}")]
pub struct UnknownSelector(String);

/// The newest round of each host.
const LATEST: &str = "WITH latest AS (
    SELECT host, MAX(round) AS round, ordinal FROM roll WHERE run = ?1 GROUP BY host)";

/// The condition for a host in `latest` without an outcome.
const NO_OUTCOME: &str = "NOT EXISTS (SELECT 1 FROM outcomes o
    WHERE o.run = ?1 AND o.round = latest.round AND o.host = latest.host)";

/// The condition for a host in `latest` that was dispatched.
const DISPATCHED: &str = "EXISTS (SELECT 1 FROM dispatches d
    WHERE d.run = ?1 AND d.round = latest.round AND d.host = latest.host)";

/// Outcomes of hosts that are not on the roll.
const EXTRA: &str = "FROM outcomes o WHERE o.run = ?1 AND NOT EXISTS (SELECT 1 FROM roll r
    WHERE r.run = ?1 AND r.round = o.round AND r.host = o.host)";

// === impl Ledger ===

impl Ledger {
    /// The run's account.
    pub fn account(&self, run: RunId) -> Result<Account> {
        #[cfg(feature = "memory")]
        if let Ok(state) = self.memory_of(run) {
            return Ok(state.account());
        }
        self.snapshot(run, |connection, key| {
            account(connection, key, state(connection, key)?)
        })
    }

    /// The outcomes that count beside those of the newest round, which are those of hosts that are not on its roll; and
    /// the number of the last event before that round.
    pub fn before_newest_round(&self, run: RunId) -> Result<(Account, u64)> {
        let round = self.run(run)?.round;
        self.snapshot(run, |connection, key| {
            let mut account = Account::default();
            let statuses = rows(
                connection,
                &format!(
                    "{LATEST} SELECT o.status, COUNT(*) FROM latest JOIN outcomes o
                     ON o.run = ?1 AND o.round = latest.round AND o.host = latest.host
                     WHERE latest.round < ?2 GROUP BY o.status"
                ),
                params![key, round],
                |row| Ok((text(row, 0)?.to_owned(), row.get::<_, i64>(1)?.cast_unsigned())),
            )?;
            for (status, hosts) in statuses {
                match status.as_str() {
                    "success" => account.success = hosts,
                    "failed" => account.failed = hosts,
                    "quarantined" => account.quarantined = hosts,
                    _ => account.cancelled = hosts,
                }
            }
            let first = connection
                .prepare_cached("SELECT seq FROM events WHERE run = ?1 AND round = ?2 ORDER BY seq LIMIT 1")?
                .query_row(params![key, round], |row| row.get::<_, i64>(0))
                .optional()?;
            Ok((
                account,
                first.map_or(0, |first| first.cast_unsigned().saturating_sub(1)),
            ))
        })
    }

    /// The run's account, and the hosts that prevent a clean one.
    pub fn audit(&self, run: RunId) -> Result<Audit> {
        self.snapshot(run, |connection, key| {
            let state = state(connection, key)?;
            let closed = state == RunState::Closed;
            let undecided = |condition: &str| {
                if closed {
                    latest(connection, key, &format!("{NO_OUTCOME} AND {condition}"), None)
                } else {
                    Ok(Vec::new())
                }
            };
            Ok(Audit {
                account: account(connection, key, state)?,
                state,
                ghosts: undecided(DISPATCHED)?,
                forgotten: undecided(&format!("NOT {DISPATCHED}"))?,
                extras: rows(
                    connection,
                    &format!("SELECT DISTINCT o.host {EXTRA} ORDER BY o.host"),
                    [key],
                    |row| host(row, 0),
                )?,
            })
        })
    }

    /// The hosts that a selector matches, in the roll's order.
    pub fn hosts_with(&self, run: RunId, selector: Selector) -> Result<Vec<HostName>> {
        self.snapshot(run, |connection, key| {
            let closed = state(connection, key)? == RunState::Closed;
            let (condition, word) = match selector {
                Selector::Status(Status::Ghost) | Selector::Class(Class::Ghost) if closed => {
                    (format!("{NO_OUTCOME} AND {DISPATCHED}"), None)
                }
                Selector::Running if !closed => (format!("{NO_OUTCOME} AND {DISPATCHED}"), None),
                Selector::Pending if !closed => (format!("{NO_OUTCOME} AND NOT {DISPATCHED}"), None),
                Selector::Status(Status::Ghost)
                | Selector::Class(Class::Ghost)
                | Selector::Running
                | Selector::Pending => return Ok(Vec::new()),
                Selector::Status(status) => (with("status"), Some(status.as_str())),
                Selector::Class(class) => (with("class"), Some(class.as_str())),
            };
            latest(connection, key, &condition, word)
        })
    }

    /// Runs several queries on one state of the ledger.
    pub(crate) fn snapshot<T>(
        &self,
        run: RunId,
        question: impl FnOnce(&Connection, i64) -> Result<T>,
    ) -> Result<T> {
        let connection = self.connection();
        let transaction = connection.unchecked_transaction()?;
        let key = key(&connection, run)?;
        let answer = question(&connection, key)?;
        transaction.finish()?;
        Ok(answer)
    }
}

pub(crate) fn state(connection: &Connection, key: i64) -> Result<RunState> {
    let name: String =
        connection.query_row("SELECT state FROM runs WHERE run = ?1", [key], |row| row.get(0))?;
    state_from_name(&name).ok_or_else(|| Error::damaged("a run's state", &name))
}

pub(crate) fn account(connection: &Connection, key: i64, state: RunState) -> Result<Account> {
    let count = |sql: &str| -> Result<u64> {
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement
            .query_row([key], |row| row.get(0))
            .map(i64::cast_unsigned)?)
    };
    let ended = |status: Status| {
        count(&format!(
            "{LATEST} SELECT COUNT(*) FROM latest JOIN outcomes o
             ON o.run = ?1 AND o.round = latest.round AND o.host = latest.host WHERE o.status = '{status}'"
        ))
    };
    let dispatched = count(&format!(
        "{LATEST} SELECT COUNT(*) FROM latest WHERE {NO_OUTCOME} AND {DISPATCHED}"
    ))?;
    let undispatched = count(&format!(
        "{LATEST} SELECT COUNT(*) FROM latest WHERE {NO_OUTCOME} AND NOT {DISPATCHED}"
    ))?;
    let closed = state == RunState::Closed;
    Ok(Account {
        planned: count("SELECT COUNT(DISTINCT host) FROM roll WHERE run = ?1")?,
        success: ended(Status::Success)?,
        failed: ended(Status::Failed)?,
        quarantined: ended(Status::Quarantined)?,
        cancelled: ended(Status::Cancelled)?,
        // A closed run has no pending hosts: those without an outcome are not counted, so the account does not balance.
        pending: if closed { 0 } else { undispatched },
        running: if closed { 0 } else { dispatched },
        ghost: if closed { dispatched } else { 0 },
        extra: count(&format!("SELECT COUNT(*) {EXTRA}"))?,
    })
}

fn with(column: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM outcomes o
         WHERE o.run = ?1 AND o.round = latest.round AND o.host = latest.host AND o.{column} = ?2)"
    )
}

/// The hosts that a condition on `latest` matches, in the roll's order. The condition may compare with `word`.
fn latest(connection: &Connection, key: i64, condition: &str, word: Option<&str>) -> Result<Vec<HostName>> {
    let sql = format!("{LATEST} SELECT host FROM latest WHERE {condition} ORDER BY ordinal, host");
    let read = |row: &Row<'_>| host(row, 0);
    match word {
        Some(word) => rows(connection, &sql, params![key, word], read),
        None => rows(connection, &sql, [key], read),
    }
}

// === impl Selector ===

impl FromStr for Selector {
    type Err = UnknownSelector;

    fn from_str(word: &str) -> Result<Self, UnknownSelector> {
        const STATUSES: [Status; 5] = [
            Status::Success,
            Status::Failed,
            Status::Quarantined,
            Status::Cancelled,
            Status::Ghost,
        ];
        match word {
            "pending" => Ok(Selector::Pending),
            "running" => Ok(Selector::Running),
            _ => STATUSES
                .into_iter()
                .find(|status| status.as_str() == word)
                .map(Selector::Status)
                .or_else(|| word.parse().ok().map(Selector::Class))
                .ok_or_else(|| UnknownSelector(word.to_owned())),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Selector::Status(status) => status.as_str(),
            Selector::Class(class) => class.as_str(),
            Selector::Pending => "pending",
            Selector::Running => "running",
        })
    }
}
