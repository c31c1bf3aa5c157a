//! `reveille ping`: who answers.

use reveille_account::Exit;
use reveille_job::{CommandOptions, Job};
use reveille_ledger::RunKind;
use serde_json::Map;

use crate::choose::reach;
use crate::cli::{Globals, PingArgs};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::options::Options;
use crate::printer::Printer;
use crate::state;

/// What is run: nothing, by a shell, so that an answer says that commands can be run.
const COMMAND: &str = ":";

pub(crate) fn run(args: &PingArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let mut options = Options::new(Some(&args.reach), &args.pacing, true)?;
    let chosen = reach(&args.reach, None, &mut options, globals, printer)?;
    let request = Request {
        kind: RunKind::Ping,
        job: Job::command(COMMAND.to_owned(), CommandOptions::default()),
        hosts: chosen
            .hosts
            .into_iter()
            .map(|(name, way)| (name, way, Map::new()))
            .collect(),
        passwords: chosen.passwords,
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
