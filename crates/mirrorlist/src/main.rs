//! `reveille-mirrorlist`: the mirrorlist and metalink server, a sub-command a file of `commands`. The library has the
//! guide.

mod commands;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "reveille-mirrorlist",
    version,
    about = "Answers package clients with the mirrors that are best for them",
    long_about = "Answers package clients (dnf, yum, apt) with the mirrors that are best for them, from the snapshot that \
                  MirrorManager writes or from a list of mirrors in YAML. New data take the place of old ones while \
                  requests are under way.",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer /mirrorlist and /metalink
    Serve(commands::serve::Arguments),
    /// Compile a list of mirrors in YAML into MirrorManager's format
    Build(commands::build::Arguments),
    /// Look at data and say what is in them and what is wrong; for a list in YAML, ask its mirrors how old they are
    Check(commands::check::Arguments),
    /// Say step by step which mirrors a client gets, and why
    Explain(commands::explain::Arguments),
}

/// Why a command did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// The user's: exit 2.
    Input(String),
    /// Ours, or the machine's: exit 1.
    Internal(String),
    /// Something is wrong with what was looked at: exit 3.
    Found,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Build(arguments) => commands::build::run(&arguments),
        Command::Check(arguments) => commands::check::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (text, code) = match failure {
                Failure::Input(text) => (Some(text), 2),
                Failure::Internal(text) => (Some(text), 1),
                Failure::Found => (None, 3),
            };
            if let Some(text) = text {
                say(&format!("error: {text}"));
            }
            ExitCode::from(code)
        }
    }
}

/// Says something about the command itself.
fn say(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes the result; a reader that went away has seen enough.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Internal(format!(
            "can't write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

// === impl Failure ===

impl From<reveille_mirrorlist::BadFile> for Failure {
    fn from(error: reveille_mirrorlist::BadFile) -> Self {
        Self::Input(error.to_string())
    }
}
