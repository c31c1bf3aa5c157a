//! Artifacts that are there even if the controller is not allowed to finish.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_account::RunId;
use reveille_ledger::export::{Export, SummaryOptions, write_files};
use reveille_ledger::{Follow, Ledger};
use tokio::time::{MissedTickBehavior, interval};

use crate::failure::Failure;

/// How often they are refreshed while the run goes on.
const EVERY: Duration = Duration::from_secs(30);

/// Writes the artifacts of a run as it is now.
pub(crate) fn write(
    ledger: &Ledger,
    run: RunId,
    directory: &Path,
    options: SummaryOptions,
) -> Result<PathBuf, Failure> {
    let export = Export::begin(directory)?;
    let summary = ledger.summary(run, options)?;
    write_files(ledger, &summary, export.path())?;
    Ok(export.finish()?)
}

/// Refreshes the artifacts until the run is released. A failure is told at the end of the run, when it is tried again.
pub(crate) async fn refresh(
    ledger: Ledger,
    run: RunId,
    directory: PathBuf,
    mut events: Follow,
) -> Result<Option<String>, Failure> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let (ledger, directory) = (ledger.clone(), directory.clone());
                let written = tokio::task::spawn_blocking(move || {
                    write(&ledger, run, &directory, SummaryOptions::default())
                });
                if let Ok(Err(failure)) = written.await {
                    tracing::warn!("the artifacts could not be refreshed: {failure}");
                }
            }
            event = events.next() => if event?.is_none() { return Ok(None) },
        }
    }
}
