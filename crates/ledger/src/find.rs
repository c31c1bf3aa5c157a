//! Finds runs: by what users type, and all of them.

use reveille_account::{RunId, RunState, WorkerId};
use rusqlite::{OptionalExtension as _, Row};

use crate::{Error, Ledger, Result, RunKind, RunRecord, RunSpec};

const SELECT_RUN: &str =
    "SELECT id, kind, text, file, sha256, options, vars, seed, user, node, comment, started_ms, state, round, epoch,
     worker, ended_ms FROM runs";

// === impl Ledger ===

impl Ledger {
    /// Returns a run's record.
    pub fn run(&self, run: RunId) -> Result<RunRecord> {
        self.connection()
            .prepare_cached(&format!("{SELECT_RUN} WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row([run.as_bytes()], read_run).optional())
            .map_err(Error::read)?
            .ok_or_else(|| Error::NoSuchRun(run.to_string()))?
    }

    /// Returns all runs, the newest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(&format!("{SELECT_RUN} ORDER BY started_ms DESC, run DESC"))
            .map_err(Error::read)?;
        let rows = statement.query_map([], read_run).map_err(Error::read)?;
        rows.map(|row| row.map_err(Error::read)?).collect()
    }

    /// Resolves what `text` names: `last`, the short id, the UUID, or a unique prefix of either.
    pub fn resolve_run(&self, text: &str) -> Result<RunId> {
        const SHOWN: usize = 5;
        let ids = self.run_ids()?;
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
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT id FROM runs ORDER BY started_ms DESC, run DESC")
            .map_err(Error::read)?;
        let rows = statement
            .query_map([], |row| row.get(0).map(RunId::from_bytes))
            .map_err(Error::read)?;
        rows.collect::<rusqlite::Result<_>>().map_err(Error::read)
    }
}

fn read_run(row: &Row<'_>) -> rusqlite::Result<Result<RunRecord>> {
    let run = RunId::from_bytes(row.get(0)?);
    let json = |column: usize| -> rusqlite::Result<Result<serde_json::Value>> {
        let text = row.get_ref(column)?.as_str()?;
        Ok(serde_json::from_str(text).map_err(|error| Error::damaged(format!("a value of {run}"), &error)))
    };
    let kind: String = row.get(1)?;
    let state: String = row.get(12)?;
    let (options, vars) = (json(5)?, json(6)?);
    let Some(kind) = RunKind::from_name(&kind) else {
        return Ok(Err(Error::damaged(format!("the kind of {run}"), &kind)));
    };
    let Some(state) = state_from_name(&state) else {
        return Ok(Err(Error::damaged(format!("the state of {run}"), &state)));
    };
    let (options, vars) = match (options, vars) {
        (Ok(options), Ok(vars)) => (options, vars),
        (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
    };
    Ok(Ok(RunRecord {
        run,
        spec: RunSpec {
            kind,
            text: row.get(2)?,
            file: row.get(3)?,
            sha256: row.get(4)?,
            options,
            vars,
            seed: row.get::<_, i64>(7)?.cast_unsigned(),
            user: row.get(8)?,
            node: row.get(9)?,
            comment: row.get(10)?,
            started_ms: row.get::<_, i64>(11)?.cast_unsigned(),
        },
        state,
        round: row.get(13)?,
        epoch: row.get::<_, i64>(14)?.cast_unsigned(),
        worker: WorkerId::from(row.get_ref(15)?.as_str()?),
        ended_ms: row.get::<_, Option<i64>>(16)?.map(i64::cast_unsigned),
    }))
}

pub(crate) fn state_from_name(name: &str) -> Option<RunState> {
    [RunState::Open, RunState::Interrupted, RunState::Closed]
        .into_iter()
        .find(|state| state.as_str() == name)
}
