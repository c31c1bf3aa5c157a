//! What the words before the completed one say: inventory, state directory, job, run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use reveille_inventory::Inventory;
use reveille_job::Job;
use reveille_ledger::Ledger;
use reveille_way::InventorySources;

use crate::cli::{Choice, Cli, Globals};
use crate::commands::run::read_job;
use crate::config::{self, Config};
use crate::state;

/// The words before the completed one, as far as they are understood.
#[derive(Debug, Default)]
pub(super) struct Line {
    matches: Option<ArgMatches>,
    choice: Option<Choice>,
}

// === impl Line ===

impl Line {
    /// Reads the words with the configuration; mistakes in either are passed over.
    pub(super) fn read(words: &[OsString]) -> Self {
        let command = Cli::command();
        let config = Config::read(&command).unwrap_or_default();
        let mut command = config.apply(command).ignore_errors(true);
        let words = words.iter().map(expanded);
        let Ok(matches) = command.try_get_matches_from_mut(words) else {
            return Self::default();
        };
        let origins = config.origins(&command, &matches);
        let Some((name, of_command)) = matches.subcommand() else {
            return Self::default();
        };
        // The inventory of a drill has another meaning, but is read alike.
        let has_choice = name != "drill" && has(of_command, "host_list");
        let choice = has_choice
            .then(|| Choice::from_arg_matches(of_command).ok())
            .flatten()
            .map(|mut choice| {
                // The option that is completed has no value yet, and so replaces nothing.
                if !choice.list.is_empty() {
                    choice.settle(&origins, &config::files());
                }
                choice
            });
        Self {
            matches: Some(of_command.clone()),
            choice,
        }
    }

    /// The values of an argument.
    pub(super) fn texts(&self, argument: &str) -> Vec<String> {
        let raw = self
            .matches
            .as_ref()
            .and_then(|matches| matches.try_get_raw(argument).ok()?);
        raw.into_iter()
            .flatten()
            .filter_map(|value| value.to_str().map(str::to_owned))
            .collect()
    }

    /// The inventory, names only.
    pub(super) fn inventory(&self) -> Option<Inventory> {
        let choice = self.choice.as_ref()?;
        let sources = InventorySources::new(&choice.inventory, &choice.list, &[]).ok()?;
        sources.read_names().ok()
    }

    /// The ledger, as it is.
    pub(super) fn ledger(&self) -> Option<Ledger> {
        let globals = Globals::from_arg_matches(self.matches.as_ref()?).ok()?;
        Ledger::look(&state::directory(&globals).ok()?).ok()
    }

    /// The job that the line names.
    pub(super) fn job(&self) -> Option<Job> {
        let path = PathBuf::from(self.texts("job").pop()?);
        read_job(&path, BTreeMap::new()).ok()
    }
}

fn has(matches: &ArgMatches, argument: &str) -> bool {
    matches.try_contains_id(argument).is_ok()
}

/// A word with the user's home directory in the place of `~`, which shells leave to the end.
fn expanded(word: &OsString) -> OsString {
    let rest = word.to_str().and_then(|word| word.strip_prefix("~/"));
    match (rest, state::home()) {
        (Some(rest), Some(home)) => home.join(rest).into_os_string(),
        _ => word.clone(),
    }
}
