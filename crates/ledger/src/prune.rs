//! Deletes old runs.

use std::fs;

use reveille_account::{RunId, RunState};

use crate::read::DURATIONS;
use crate::schema::TABLES;
use crate::sql::transaction;
use crate::{Error, Ledger, Result, RunRecord};

impl Ledger {
    /// The runs that ended before `before_ms` (Unix milliseconds), the oldest first. Resumable runs are included only
    /// with `interrupted`; runs that a controller owns never are.
    pub fn prunable(&self, before_ms: u64, interrupted: bool) -> Result<Vec<RunRecord>> {
        let mut runs = Vec::new();
        for record in self.runs()? {
            let is_over = match record.state {
                RunState::Closed => true,
                RunState::Interrupted => interrupted,
                // Its controller may have died without recording it.
                RunState::Open => interrupted && self.holder(record.run)?.is_none(),
            };
            let ended_ms = record.ended_ms.unwrap_or(record.spec.started_ms);
            if is_over && ended_ms < before_ms {
                runs.push(record);
            }
        }
        runs.sort_by_key(|record| record.spec.started_ms);
        Ok(runs)
    }

    /// Removes a run, its events and its outputs.
    ///
    /// # Errors
    ///
    /// If a controller owns it, or the ledger or its directory can't be written.
    pub fn forget(&self, run: RunId) -> Result<()> {
        let record = self.run(run)?;
        // Somebody may have removed it.
        let directory = self.run_directory(run);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let _lock = self.own(&record)?;
        let key = self.key(run)?;
        let connection = self.connect()?;
        transaction(&connection, Error::write, || {
            for table in TABLES.iter().chain(&["runs"]) {
                connection
                    .execute(&format!("DELETE FROM {table} WHERE run = ?1"), [key])
                    .map_err(Error::write)?;
            }
            Ok(())
        })?;
        fs::remove_dir_all(&directory).map_err(Error::io("remove", &directory))
    }

    /// Deletes the durations that each class no longer uses. Returns their number.
    pub fn forget_durations(&self) -> Result<usize> {
        let connection = self.connect()?;
        connection
            .execute(
                "DELETE FROM durations WHERE number < (
                     SELECT MIN(number) FROM (
                         SELECT number FROM durations AS of_class WHERE of_class.class = durations.class
                         ORDER BY number DESC LIMIT ?1))",
                [i64::from(DURATIONS)],
            )
            .map_err(Error::write)
    }

    /// Returns the space of deleted runs to the disk. Temporarily needs as much space as the ledger.
    pub fn compact(&self) -> Result<()> {
        let connection = self.connect()?;
        connection
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
            .map_err(Error::write)
    }
}
