//! The database file: opens, checks and migrates it.
//!
//! | schema version | written by | read by |
//! |---|---|---|
//! | 1 | 0.1 | 0.1 |
//! | 2 | 0.1 | 0.1 |
//! | 3 | 0.1 | 0.1 |
//! | 4 | 0.1 | 0.1 |
//! | 5 | 0.1 | 0.1 |
//!
//! A program reads and migrates every older version and refuses newer ones. `run` is the key of the table `runs` in all
//! tables; it never leaves this crate.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::sql::transaction;
use crate::{Error, Result};

/// `RVLL`, in SQLite's header field for the application that owns a file.
const APPLICATION_ID: i64 = 0x5256_4c4c;

/// How long a write waits while another controller writes to the same ledger.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

/// Pages in the write-ahead log before a checkpoint: 16 MiB. More than SQLite's default, because a busy run writes each
/// page many times.
const CHECKPOINT_PAGES: i64 = 4096;

/// The changes in each version, oldest first. The length of this list is the newest version.
const MIGRATIONS: [&str; 5] = [
    "
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        file TEXT,
        sha256 TEXT,
        options TEXT NOT NULL,
        vars TEXT NOT NULL,
        seed INTEGER NOT NULL,
        user TEXT NOT NULL,
        node TEXT NOT NULL,
        comment TEXT,
        started_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        round INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        worker TEXT NOT NULL,
        ended_ms INTEGER
    );
    CREATE TABLE roll (
        run INTEGER NOT NULL,
        round INTEGER NOT NULL,
        host TEXT NOT NULL,
        ordinal INTEGER NOT NULL,
        address TEXT,
        port INTEGER NOT NULL,
        vars TEXT NOT NULL,
        PRIMARY KEY (run, round, host)
    ) WITHOUT ROWID;
    CREATE TABLE dispatches (
        run INTEGER NOT NULL,
        round INTEGER NOT NULL,
        host TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (run, round, host)
    ) WITHOUT ROWID;
    CREATE TABLE intents (
        run INTEGER NOT NULL,
        round INTEGER NOT NULL,
        host TEXT NOT NULL,
        step INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        token TEXT,
        place TEXT,
        seq INTEGER NOT NULL,
        PRIMARY KEY (run, round, host, step, attempt)
    ) WITHOUT ROWID;
    -- Attempt 0 is a skipped step.
    CREATE TABLE results (
        run INTEGER NOT NULL,
        round INTEGER NOT NULL,
        host TEXT NOT NULL,
        step INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (run, round, host, step, attempt)
    ) WITHOUT ROWID;
    CREATE TABLE outcomes (
        run INTEGER NOT NULL,
        round INTEGER NOT NULL,
        host TEXT NOT NULL,
        status TEXT NOT NULL,
        class TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (run, round, host)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        round INTEGER NOT NULL,
        host TEXT,
        epoch INTEGER NOT NULL,
        wall_ms INTEGER NOT NULL,
        mono_ms INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (run, seq)
    ) WITHOUT ROWID;
    CREATE TABLE epochs (
        run INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        worker TEXT NOT NULL,
        taken_ms INTEGER NOT NULL,
        PRIMARY KEY (run, epoch)
    ) WITHOUT ROWID;
",
    "
    -- What the watchdog learned. It outlives the runs that it came from.
    CREATE TABLE durations (
        number INTEGER PRIMARY KEY,
        class TEXT NOT NULL,
        took_ms INTEGER NOT NULL,
        silence_ms INTEGER NOT NULL
    );
    CREATE INDEX durations_of_class ON durations (class, number);
",
    "
    -- The other host that a step ran on.
    ALTER TABLE intents ADD COLUMN delegate TEXT;
",
    "
    -- How a host is reached, as JSON. It was a member of its vars before.
    ALTER TABLE roll ADD COLUMN way TEXT NOT NULL DEFAULT '';
    UPDATE roll
        SET way = json_extract(vars, '$.reveille_connection'),
            vars = json_remove(vars, '$.reveille_connection')
        WHERE json_valid(vars) AND json_type(vars, '$.reveille_connection') = 'object';
    -- The boot that a reboot is to end. It stood in the place of a remote directory before.
    UPDATE events
        SET body = json_remove(json_set(body, '$.boot', substr(json_extract(body, '$.place'), 6)), '$.place')
        WHERE body LIKE '%\"place\":\"boot:%' AND json_extract(body, '$.event') = 'step_started'
            AND json_extract(body, '$.place') LIKE 'boot:%';
    UPDATE intents SET place = NULL WHERE token IS NULL AND place LIKE 'boot:%';
",
    "
    -- What the run is called: its job, or its command.
    ALTER TABLE runs ADD COLUMN name TEXT;
",
];

/// The tables whose rows belong to a run, besides `runs` itself.
pub(crate) const TABLES: [&str; 7] = [
    "roll",
    "dispatches",
    "intents",
    "results",
    "outcomes",
    "events",
    "epochs",
];

/// Opens the database, creates it if `create` is set, and migrates its schema.
pub(crate) fn open(path: &Path, create: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
        // Outputs and registered values are private, even if the directory is not.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("make", path))?;
    }
    let connection = Connection::open_with_flags(path, flags).map_err(|error| refused(path, error))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(Error::write)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Without this, SQLite plans a statement again whenever other values are bound: 4 % of a run's CPU time.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(|error| refused(path, error))?;
    let version = check(path, &connection)?;
    // Checked first, so that no foreign file is changed.
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
        .and_then(|()| connection.pragma_update(None, "foreign_keys", "OFF"))
        .map_err(|error| refused(path, error))?;
    if version < newest() {
        migrate(path, &connection)?;
    }
    Ok(connection)
}

/// Opens a database of the newest schema for reading alone. Nothing is created, changed or waited for.
pub(crate) fn look(path: &Path) -> Result<Connection> {
    // While nobody has the ledger open, there is no log beside it, and SQLite would make one.
    let has_log = path.with_extension("db-wal").exists();
    let mut uri = String::from("file:");
    for byte in std::path::absolute(path)
        .map_err(Error::io("find", path))?
        .as_os_str()
        .as_encoded_bytes()
    {
        if byte.is_ascii_alphanumeric() || b"/.-_".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri += &format!("%{byte:02X}");
        }
    }
    uri += if has_log {
        "?mode=ro"
    } else {
        "?mode=ro&immutable=1"
    };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).map_err(|error| refused(path, error))?;
    connection.busy_timeout(Duration::ZERO).map_err(Error::write)?;
    let found = check(path, &connection)?;
    if found < newest() {
        return Err(Error::NotALedger {
            path: path.to_owned(),
            reason: "an older program wrote it, and it is not migrated yet",
        });
    }
    Ok(connection)
}

/// A database in memory with the newest schema.
#[cfg(feature = "memory")]
pub(crate) fn open_in_memory() -> Result<Connection> {
    let connection = Connection::open_in_memory().map_err(Error::write)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(Path::new(":memory:"), &connection)?;
    Ok(connection)
}

fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Returns the schema version of a file that is empty or a ledger.
fn check(path: &Path, connection: &Connection) -> Result<i64> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let tables =
        number("SELECT COUNT(*) FROM sqlite_schema").map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Error::NotALedger {
                path: path.to_owned(),
                reason: "it is not an SQLite database",
            },
            _ => refused(path, error),
        })?;
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(Error::NotALedger {
            path: path.to_owned(),
            reason: "it is another program's database",
        });
    }
    if version > newest() {
        return Err(Error::NewerSchema {
            path: path.to_owned(),
            found: version,
            known: newest(),
        });
    }
    Ok(version)
}

fn migrate(path: &Path, connection: &Connection) -> Result<()> {
    transaction(connection, Error::write, || {
        // Another process may have migrated it while this one waited for the lock.
        let version = check(path, connection)?;
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            connection.execute_batch(migration).map_err(Error::write)?;
        }
        connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .and_then(|()| connection.pragma_update(None, "user_version", newest()))
            .map_err(Error::write)
    })
}

fn refused(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            Error::StateDirectory {
                path: path.parent().unwrap_or(path).to_owned(),
                reason: error.to_string(),
            }
        }
        _ => Error::write(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_ledgers_are_migrated() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger.db");
        let old = Connection::open(&path).expect("a file");
        for migration in &MIGRATIONS[..3] {
            old.execute_batch(migration).expect("a migration");
        }
        old.execute_batch(&format!(
            r#"PRAGMA application_id = {APPLICATION_ID};
            PRAGMA user_version = 3;
            INSERT INTO roll (run, round, host, ordinal, port, vars) VALUES
                (1, 1, 'web1', 0, 22, '{{"a":1,"reveille_connection":{{"address":"10.0.0.1","port":22}}}}'),
                (1, 1, 'web2', 1, 22, '');
            INSERT INTO events (run, seq, round, host, epoch, wall_ms, mono_ms, body) VALUES
                (1, 1, 1, 'web1', 1, 0, 0, '{{"event":"step_started","attempt":1,"place":"boot:b1"}}'),
                (1, 2, 1, 'web1', 1, 0, 0, '{{"event":"warning","message":"\"place\":\"boot:b1"}}');"#
        ))
        .expect("an old roll");
        drop(old);
        let connection = open(&path, false).expect("a migrated ledger");
        let mut statement = connection
            .prepare("SELECT vars, way FROM roll ORDER BY ordinal")
            .expect("a query");
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("rows");
        let rows: Vec<(String, String)> = rows.collect::<rusqlite::Result<_>>().expect("texts");
        let expected = [(r#"{"a":1}"#, r#"{"address":"10.0.0.1","port":22}"#), ("", "")];
        assert_eq!(
            rows,
            expected.map(|(vars, way)| (vars.to_owned(), way.to_owned()))
        );
        drop(statement);
        let mut statement = connection
            .prepare("SELECT body FROM events ORDER BY seq")
            .expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        let bodies: Vec<String> = rows.collect::<rusqlite::Result<_>>().expect("texts");
        assert_eq!(bodies[0], r#"{"event":"step_started","attempt":1,"boot":"b1"}"#);
        assert!(bodies[1].contains("warning") && bodies[1].contains("place"));
    }
}
