//! Completes words for shells.
//!
//! `reveille completions bash` (zsh, fish) prints a small script. For each word that somebody completes, it runs this
//! program with `REVEILLE_COMPLETE` set and with the words so far as arguments. The answer comes from the definition of
//! the command line, and for values from what the line names: its inventory, its job, its state directory (`line.rs`,
//! `values.rs`). `shell.rs` reads the words and writes the answer in the form of each shell.
//!
//! An answer only reads files: it connects to nobody, asks for nothing, runs no program and writes nothing. Whatever can't
//! be read gives no values.

mod line;
mod pattern;
mod shell;
mod values;

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;

use clap::{Command, CommandFactory as _};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate};

use self::line::Line;
use self::shell::Shell;
use self::values::Kind;
use crate::cli::Cli;

/// The environment variable with which the scripts ask; it names the shell.
const VARIABLE: &str = "REVEILLE_COMPLETE";

/// The script that a shell reads; none for shells without one.
pub(crate) fn script(shell: clap_complete::Shell) -> Option<&'static str> {
    Shell::of(&shell.to_string()).map(Shell::script)
}

/// Answers a shell, if this process was started by one of the scripts.
pub(crate) fn answer() -> bool {
    let Some(shell) = std::env::var(VARIABLE).ok().and_then(|name| Shell::of(&name)) else {
        return false;
    };
    let arguments: Vec<OsString> = std::env::args_os()
        .skip(1)
        .skip_while(|word| word != "--")
        .skip(1)
        .collect();
    let Some(asked) = shell.read(&arguments) else {
        return true;
    };
    let line = Arc::new(Line::read(&asked.before));
    let mut command = with_values(Cli::command(), &line);
    let mut words = asked.before.clone();
    words.push(OsString::from(&asked.current));
    let index = words.len() - 1;
    let directory = std::env::current_dir().ok();
    let mut found = engine::complete(&mut command, words, index, directory.as_deref()).unwrap_or_default();
    if !asked.current.starts_with('-') && found.iter().any(|candidate| !is_option(candidate)) {
        found.retain(|candidate| !is_option(candidate));
    }
    let candidates: Vec<(String, String)> = found.iter().filter_map(plain).collect();
    // The shell may have stopped reading.
    let _ = std::io::stdout().write_all(shell.write(&asked, &candidates).as_bytes());
    true
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate.get_value().as_encoded_bytes().starts_with(b"-")
}

/// A candidate's text and the first line of its help. A text that is not one line of plain characters is none.
fn plain(candidate: &CompletionCandidate) -> Option<(String, String)> {
    let value = candidate.get_value().to_str()?;
    if value
        .chars()
        .any(|character| !reveille_text::harmless::is_harmless(character) || character == '\n')
    {
        return None;
    }
    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    let help = reveille_text::harmless::line(help.lines().next().unwrap_or_default());
    Some((value.to_owned(), help.replace('\t', " ")))
}

/// Gives the arguments their values.
fn with_values(command: Command, line: &Arc<Line>) -> Command {
    command.mut_subcommands(|of_command| {
        let name = of_command.get_name().to_owned();
        of_command.mut_args(|argument| {
            let Some(kind) = Kind::of(&name, argument.get_id().as_str()) else {
                return argument;
            };
            let line = Arc::clone(line);
            argument.add(ArgValueCompleter::new(move |typed: &std::ffi::OsStr| {
                typed
                    .to_str()
                    .map_or_else(Vec::new, |typed| values::of(kind, typed, &line))
            }))
        })
    })
}
