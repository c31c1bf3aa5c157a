//! Artifacts, written during the run too, so that they exist even if the controller is killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_account::RunId;
use reveille_ledger::export::{Export, SummaryOptions, write_files};
use reveille_ledger::{Follow, Ledger};
use tokio::time::{MissedTickBehavior, interval};

use crate::failure::Failure;

/// How often artifacts are refreshed during a run.
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

/// Refreshes the artifacts until the run is released. A failure is only logged: the end of the run writes them again.
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
                    tracing::warn!("can't refresh the artifacts: {failure}");
                }
            }
            event = events.next() => if event?.is_none() { return Ok(None) },
        }
    }
}
