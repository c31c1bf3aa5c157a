//! `reveille runs`: lists runs.

use reveille_account::Exit;
use reveille_job::JobSource;
use reveille_ledger::{RunKind, RunSpec};
use reveille_text::harmless::{self, shortened};
use serde_json::Value;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    for record in ledger.runs()? {
        let account = ledger.account(record.run)?;
        let state = state::of_run(record.state, ledger.holder(record.run)?.is_some());
        let what = what(&record.spec);
        let what = shortened(&harmless::line(&what), 40);
        let comment = record
            .spec
            .comment
            .as_ref()
            .map(|comment| format!("  # {}", harmless::line(comment)))
            .unwrap_or_default();
        printer.data(&format!(
            "{}  {state:<11}  {:<5}  {what:<40}  {account}{comment}",
            record.run,
            record.spec.kind.as_str()
        ))?;
    }
    Ok(Exit::Success)
}

/// What a run ran: the job file, the command, or the copied files.
fn what(spec: &RunSpec) -> String {
    match (spec.kind, serde_json::from_str(&spec.text)) {
        (RunKind::Ping, _) => String::new(),
        (_, Ok(JobSource::Command { command, .. })) => command,
        (kind @ (RunKind::Copy | RunKind::Fetch), Ok(JobSource::File { text, .. })) => {
            let job: Value = serde_json::from_str(&text).unwrap_or_default();
            let steps = job["steps"].as_array().into_iter().flatten();
            let names = steps.filter_map(|step| step["name"].as_str()?.strip_prefix(kind.as_str()));
            names.collect::<String>().trim_start().to_owned()
        }
        _ => spec.file.clone().unwrap_or_default(),
    }
}
