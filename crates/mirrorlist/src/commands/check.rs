//! `reveille-mirrorlist check`

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use reveille_mirrorlist::{Data, Snapshot, Sources, mirrors};
use tokio::signal::unix::{SignalKind, signal};

use super::Files;
use super::failure::Failure;
use super::printer::{print, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Check the files only, not the mirrors of the list
    #[arg(long, help_heading = "Check")]
    offline: bool,
    /// Repeat the check until stopped, as often as `freshness: every` in the list says
    #[arg(
        long,
        requires = "mirrors",
        conflicts_with = "offline",
        help_heading = "Check"
    )]
    timer: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sources = arguments.files.sources();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("can't start: {error}")))?;
    let ended = runtime.block_on(async {
        match &sources.data {
            Data::Mirrors(list) if arguments.timer => again(&sources, list).await,
            _ => once(&sources, arguments.offline).await,
        }
    });
    // A thread may wait for minutes for a name server that does not answer.
    runtime.shutdown_background();
    ended
}

/// Checks once.
async fn once(sources: &Sources, offline: bool) -> Result<(), Failure> {
    let mut text = String::new();
    let mut problems = 0;
    if let (Data::Mirrors(path), false) = (&sources.data, offline) {
        problems = findings(&mirrors::probe(path).await?, &mut text);
    }
    let snapshot = Snapshot::load(sources, None)?;
    for warning in snapshot.warnings() {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "{}", snapshot.summary());
    print(&text)?;
    if problems > 0 { Err(Failure::Found) } else { Ok(()) }
}

/// Checks until a signal stops it. A list that is broken for a while does not.
async fn again(sources: &Sources, list: &Path) -> Result<(), Failure> {
    let internal = |error: std::io::Error| Failure::Internal(format!("can't catch signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let mut every = mirrors::every(list)?;
    loop {
        let round = async {
            match once(sources, false).await {
                Err(Failure::Input(text)) => say(&format!("error: {text}")),
                Err(failure @ Failure::Internal(_)) => return Err(failure),
                Err(Failure::Found) | Ok(()) => {}
            }
            every = mirrors::every(list).unwrap_or(every);
            tokio::time::sleep(every).await;
            Ok(())
        };
        tokio::select! {
            ended = round => ended?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// Adds the problems of origins and mirrors to `text`, and returns how many there are.
fn findings(state: &mirrors::State, text: &mut String) -> u32 {
    let mut problems = 0;
    let mut add = |line: String| {
        problems += 1;
        let _ = writeln!(text, "{line}");
    };
    for (directory, origin) in &state.origins {
        if let Some(problem) = &origin.problem {
            add(format!(
                "origin of {directory}: {problem}; mirrors are not compared with it"
            ));
        }
    }
    for (mirror, directories) in &state.mirrors {
        for (directory, finding) in directories {
            if let Some(problem) = finding.problem(state.checked) {
                add(format!("mirror {mirror}: {directory}: {problem}"));
            }
        }
    }
    problems
}
