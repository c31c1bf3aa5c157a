//! `reveille runs`: lists runs.

use reveille_account::Exit;
use reveille_ledger::{Ledger, RunKind, RunSpec};
use reveille_text::harmless::{self, shortened};

use crate::cli::Globals;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = Ledger::open_existing(&state::directory(globals)?)?;
    for record in ledger.runs()? {
        let account = ledger.account(record.run)?;
        let state = state::of_run(record.state, ledger.holder(record.run)?.is_some());
        let what = what(&record.spec);
        let what = shortened(&harmless::line(&what), 40);
        let comment = record
            .spec
            .comment
            .as_ref()
            .map(|comment| format!("  # {comment}"))
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
    let value: serde_json::Value = serde_json::from_str(&spec.text).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match spec.kind {
        RunKind::Exec => text(&value["command"]["command"]),
        RunKind::Ping => String::new(),
        RunKind::Copy | RunKind::Fetch => {
            let steps = value["steps"].as_array();
            let names = steps.into_iter().flatten().map(|step| text(&step["name"]));
            let kind = format!("{} ", spec.kind.as_str());
            let files: Vec<String> = names.map(|name| name.replacen(&kind, "", 1)).collect();
            files.join(" ")
        }
        RunKind::Run | RunKind::Drill | RunKind::Bench => spec.file.clone().unwrap_or_default(),
    }
}
