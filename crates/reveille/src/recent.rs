//! Which run is meant if none is named.
//!
//! `show`, `logs`, `audit` and the like take the newest run of any kind. What runs something again must not be misled by
//! a command that somebody ran in between, so it looks for a run that it has something to do with.

use reveille_account::{RunId, RunState};
use reveille_ledger::{Ledger, RunKind, RunRecord, Selector};
use reveille_text::harmless::{self, shortened};

use crate::failure::Failure;
use crate::state;

/// Runs that are looked through.
const MOST: usize = 100;

/// The run to retry: the newest job or copy. A newer command is meant instead if only it has hosts that did not succeed;
/// if both have some, it is a question.
pub(crate) fn to_retry(ledger: &Ledger) -> Result<RunId, Failure> {
    let mut command: Option<RunRecord> = None;
    for record in runs(ledger)? {
        let account = ledger.account(record.run)?;
        let is_open = account.pending + account.running > 0;
        let has_failed = account.failed + account.quarantined + account.cancelled + account.ghost > 0;
        if is_command(&record) {
            if command.is_none() && (has_failed || is_open) {
                command = Some(record);
            }
            continue;
        }
        return match command {
            Some(command) if has_failed || is_open => {
                let option = state::option(ledger.state_directory());
                let line = |record: &RunRecord| {
                    format!("  reveille retry{option} {}  # {}", record.run, described(record))
                };
                Err(Failure::usage(format!(
                    "a job and a newer command have failed hosts; name the run to retry:\n{}\n{}",
                    line(&record),
                    line(&command)
                )))
            }
            Some(command) => Ok(command.run),
            None => Ok(record.run),
        };
    }
    match command {
        Some(record) => Ok(record.run),
        None => newest(ledger),
    }
}

/// The newest run of any kind.
pub(crate) fn newest(ledger: &Ledger) -> Result<RunId, Failure> {
    Ok(ledger.resolve_run("last")?)
}

/// The run to resume: the newest that was interrupted.
pub(crate) fn to_resume(ledger: &Ledger) -> Result<RunId, Failure> {
    for record in ledger.runs()?.into_iter().take(MOST) {
        if record.state != RunState::Closed && ledger.holder(record.run)?.is_none() {
            return Ok(record.run);
        }
    }
    newest(ledger)
}

/// The run that `@last` means: the newest, without commands that have no hosts which the selector matches.
pub(crate) fn with_hosts(ledger: &Ledger, selector: Selector) -> Result<RunId, Failure> {
    for record in runs(ledger)? {
        if !is_command(&record) || !ledger.hosts_with(record.run, selector)?.is_empty() {
            return Ok(record.run);
        }
    }
    newest(ledger)
}

fn is_command(record: &RunRecord) -> bool {
    matches!(record.spec.kind, RunKind::Exec | RunKind::Ping)
}

/// `run deploy-app`
pub(crate) fn described(record: &RunRecord) -> String {
    let spec = &record.spec;
    let name = spec.name.as_deref().unwrap_or_default();
    match spec.kind {
        RunKind::Exec => format!("exec {}", shortened(&harmless::line(name), 40)),
        RunKind::Run => format!("run {}", shortened(&harmless::line(name), 40)),
        kind => kind.as_str().to_owned(),
    }
}

/// The newest runs that changed hosts.
fn runs(ledger: &Ledger) -> Result<Vec<RunRecord>, Failure> {
    let mut runs = ledger.runs()?;
    runs.retain(|record| record.spec.kind != RunKind::Check);
    runs.truncate(MOST);
    Ok(runs)
}
