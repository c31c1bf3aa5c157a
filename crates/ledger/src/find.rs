//! Finds runs: by what users type, and all of them.

use reveille_account::{HostName, RunId, RunState, WorkerId};
use rusqlite::{Row, params};

use crate::sql::{host, key, rows, text};
use crate::{Error, Ledger, Result, RunKind, RunRecord, RunSpec};

/// What a list of runs says of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLine {
    /// The run.
    pub run: RunId,
    /// The command that started it.
    pub kind: RunKind,
    /// What it is called: its job, or its command.
    pub name: Option<String>,
    /// Its state. The controller of an open run may be dead.
    pub state: RunState,
    /// The start time, Unix milliseconds.
    pub started_ms: u64,
}

const SELECT_RUN: &str =
    "SELECT id, kind, text, file, sha256, options, vars, seed, user, node, comment, started_ms, state, round, epoch,
     worker, ended_ms, name FROM runs";

// === impl Ledger ===

impl Ledger {
    /// Returns a run's record.
    pub fn run(&self, run: RunId) -> Result<RunRecord> {
        let one = format!("{SELECT_RUN} WHERE id = ?1");
        let found = rows(&self.connection(), &one, [run.as_bytes()], read_run)?.pop();
        found.ok_or_else(|| Error::NoSuchRun(run.to_string()))
    }

    /// Returns all runs, the newest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>> {
        let all = format!("{SELECT_RUN} ORDER BY started_ms DESC, run DESC");
        rows(&self.connection(), &all, [], read_run)
    }

    /// Returns the newest runs, at most `most`, without their jobs and options.
    pub fn newest_runs(&self, most: usize) -> Result<Vec<RunLine>> {
        let newest = "SELECT id, kind, state, started_ms, name FROM runs ORDER BY run DESC LIMIT ?1";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        rows(&self.connection(), newest, [most], |row| {
            let run = RunId::from_bytes(row.get(0)?);
            let (kind, state) = (text(row, 1)?, text(row, 2)?);
            let damaged = |what: &str, value: &str| Error::damaged(format!("the {what} of {run}"), &value);
            Ok(RunLine {
                run,
                kind: RunKind::from_name(kind).ok_or_else(|| damaged("kind", kind))?,
                state: state_from_name(state).ok_or_else(|| damaged("state", state))?,
                started_ms: row.get(3).map(i64::cast_unsigned)?,
                name: row.get(4)?,
            })
        })
    }

    /// Returns the hosts of a run whose names begin with `start`, sorted, at most `most`.
    pub fn hosts_that_begin(&self, run: RunId, start: &str, most: usize) -> Result<Vec<HostName>> {
        let connection = self.connection();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut hosts = rows(
            &connection,
            "SELECT DISTINCT host FROM roll WHERE run = ?1 AND host >= ?2 ORDER BY host LIMIT ?3",
            params![key(&connection, run)?, start, most],
            |row| host(row, 0),
        )?;
        hosts.retain(|host| host.as_str().starts_with(start));
        Ok(hosts)
    }

    /// Resolves what `text` names: `last`, the short id, the UUID, or a unique prefix of either. A leading `@`, as in
    /// patterns of hosts, is left out.
    pub fn resolve_run(&self, text: &str) -> Result<RunId> {
        const SHOWN: usize = 5;
        let ids = self.run_ids()?;
        let text = text.strip_prefix('@').unwrap_or(text);
        if text == "last" {
            return ids
                .first()
                .copied()
                .ok_or_else(|| Error::NoSuchRun(text.to_owned()));
        }
        let wanted = text.to_ascii_lowercase();
        let mut found: Vec<RunId> = ids
            .into_iter()
            .filter(|run| {
                let (short, uuid) = (run.to_string(), run.uuid());
                !wanted.is_empty()
                    && (short.starts_with(&wanted)
                        || short.trim_start_matches("r-").starts_with(&wanted)
                        || uuid.starts_with(&wanted))
            })
            .collect();
        match found.len() {
            0 => Err(Error::NoSuchRun(text.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(Error::AmbiguousRun {
                text: text.to_owned(),
                candidates: found
                    .iter()
                    .take(SHOWN)
                    .map(|run| {
                        if run.to_string() == wanted {
                            run.uuid()
                        } else {
                            run.to_string()
                        }
                    })
                    .collect(),
            }),
        }
    }

    fn run_ids(&self) -> Result<Vec<RunId>> {
        let all = "SELECT id FROM runs ORDER BY started_ms DESC, run DESC";
        rows(&self.connection(), all, [], |row| {
            Ok(row.get(0).map(RunId::from_bytes)?)
        })
    }
}

fn read_run(row: &Row<'_>) -> Result<RunRecord> {
    let run = RunId::from_bytes(row.get(0)?);
    let json = |column| {
        serde_json::from_str(text(row, column)?)
            .map_err(|error| Error::damaged(format!("a value of {run}"), &error))
    };
    let (kind, state) = (text(row, 1)?, text(row, 12)?);
    let damaged = |what: &str, value: &str| Error::damaged(format!("the {what} of {run}"), &value);
    Ok(RunRecord {
        run,
        spec: RunSpec {
            kind: RunKind::from_name(kind).ok_or_else(|| damaged("kind", kind))?,
            text: row.get(2)?,
            file: row.get(3)?,
            sha256: row.get(4)?,
            options: json(5)?,
            vars: json(6)?,
            seed: row.get(7).map(i64::cast_unsigned)?,
            user: row.get(8)?,
            node: row.get(9)?,
            comment: row.get(10)?,
            name: row.get(17)?,
            started_ms: row.get(11).map(i64::cast_unsigned)?,
        },
        state: state_from_name(state).ok_or_else(|| damaged("state", state))?,
        round: row.get(13)?,
        epoch: row.get(14).map(i64::cast_unsigned)?,
        worker: WorkerId::from(text(row, 15)?),
        ended_ms: row.get::<_, Option<i64>>(16)?.map(i64::cast_unsigned),
    })
}

pub(crate) fn state_from_name(name: &str) -> Option<RunState> {
    [RunState::Open, RunState::Interrupted, RunState::Closed]
        .into_iter()
        .find(|state| state.as_str() == name)
}
