//! `reveille runs`: lists runs.

use reveille_account::{Exit, RunState};
use reveille_ledger::Ledger;
use reveille_text::harmless::{self, shortened};

use crate::cli::Globals;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = Ledger::open_existing(&state::directory(globals)?)?;
    for record in ledger.runs()? {
        let account = ledger.account(record.run)?;
        let state = match record.state {
            RunState::Open if ledger.holder(record.run)?.is_none() => "controller gone",
            state => state.as_str(),
        };
        let what = record
            .spec
            .file
            .clone()
            .unwrap_or_else(|| command(&record.spec.text));
        let what = shortened(&harmless::line(&what), 40);
        let comment = record
            .spec
            .comment
            .as_ref()
            .map(|comment| format!("  # {comment}"))
            .unwrap_or_default();
        printer.data(&format!(
            "{}  {state:<15}  {:<5}  {what:<40}  {account}{comment}",
            record.run,
            record.spec.kind.as_str()
        ))?;
    }
    Ok(Exit::Success)
}

fn command(source: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(source).unwrap_or_default();
    value["command"]["command"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
