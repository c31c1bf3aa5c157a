//! `reveille ping`: who answers.

use reveille_account::Exit;
use reveille_job::{CommandOptions, Job};
use reveille_ledger::RunKind;
use serde_json::Map;

use crate::cli::{Globals, PingArgs};
use crate::commands::hosts::choose;
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::options::Options;
use crate::printer::Printer;
use crate::reach::Reached;
use crate::state;

/// What is run: nothing, by a shell, so that an answer says that commands can be run.
const COMMAND: &str = ":";

pub(crate) fn run(args: &PingArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let options = Options::new(Some(&args.reach), &args.pacing, true)?;
    let (inventory, names) = choose(&args.reach.choice, None, globals, printer)?;
    let hosts = names
        .into_iter()
        .map(|name| {
            let reached = Reached::new(inventory.connection(name.as_str())?, &args.reach, false)?;
            Ok((name, reached, Map::new()))
        })
        .collect::<Result<_, Failure>>()?;
    let request = Request {
        kind: RunKind::Ping,
        job: Job::command(COMMAND.to_owned(), CommandOptions::default()),
        hosts,
        groups: Vec::new(),
        vault_vars: std::collections::HashMap::new(),
        options,
        comment: args.pacing.comment.clone(),
        input: None,
        seed: launch::seed(),
        state_dir: state::directory(globals)?,
    };
    launch::start(request, &args.report, printer)
}
