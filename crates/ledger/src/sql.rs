//! Queries and transactions on a connection.

use reveille_account::{HostName, RunId};
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use crate::{Error, Result};

/// The run's key in all tables.
pub(crate) fn key(connection: &Connection, run: RunId) -> Result<i64> {
    connection
        .prepare_cached("SELECT run FROM runs WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([run.as_bytes()], |row| row.get(0)).optional())?
        .ok_or_else(|| Error::NoSuchRun(run.to_string()))
}

/// Passes each row that a query finds to `read`, and collects the results.
pub(crate) fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The text in a column.
pub(crate) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

/// The host's name in a column.
pub(crate) fn host(row: &Row<'_>, column: usize) -> Result<HostName> {
    text(row, column).map(HostName::from)
}

/// Runs `work` in one write transaction; `failed` makes an error of SQLite's.
pub(crate) fn transaction<T, E>(
    connection: &Connection,
    failed: fn(rusqlite::Error) -> E,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let result = work().and_then(|value| {
        connection.execute_batch("COMMIT").map_err(failed)?;
        Ok(value)
    });
    if result.is_err() && !connection.is_autocommit() {
        // Report the first error, not this one.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}
