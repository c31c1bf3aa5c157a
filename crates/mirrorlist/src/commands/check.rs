//! `reveille-mirrorlist check`

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use reveille_mirrorlist::{Data, Snapshot, Sources, mirrors};
use reveille_text::{counted, duration};
use tokio::signal::unix::{SignalKind, signal};

use super::Files;
use crate::{Failure, print, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Do not ask the mirrors of a list, look at the files alone
    #[arg(long)]
    offline: bool,
    /// Ask again as often as `freshness: every` of the list says, until it is told to end
    #[arg(long, requires = "mirrors", conflicts_with = "offline")]
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
    // A name server that does not answer is asked by a thread, which may wait for minutes.
    runtime.shutdown_background();
    ended
}

/// Looks once.
async fn once(sources: &Sources, offline: bool) -> Result<(), Failure> {
    let mut text = String::new();
    let mut problems = 0;
    if let (Data::Mirrors(path), false) = (&sources.data, offline) {
        problems = findings(&mirrors::probe(path).await?, &mut text);
    }
    let snapshot = Snapshot::load(sources, None)?;
    let catalog = snapshot.catalog();
    for warning in snapshot.warnings() {
        let _ = writeln!(text, "warning: {warning}");
    }
    let counts = catalog.counts();
    let _ = writeln!(
        text,
        "{} directories, {} repositories, {} hosts, {} URLs, {} netblocks, {} prefixes; made at {}",
        counts.directories,
        counts.repositories,
        counts.hosts,
        counts.urls,
        counts.netblocks,
        snapshot.networks().prefixes(),
        catalog.created_text()
    );
    print(&text)?;
    if problems > 0 { Err(Failure::Found) } else { Ok(()) }
}

/// Looks until it is told to end. A list that is broken for a while ends nothing.
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

/// Tells what is wrong with origins and mirrors, and how many things that are.
fn findings(state: &mirrors::State, text: &mut String) -> u32 {
    let mut problems = 0;
    let mut tell = |line: String| {
        problems += 1;
        let _ = writeln!(text, "{line}");
    };
    for (directory, origin) in &state.origins {
        if let Some(problem) = &origin.problem {
            tell(format!(
                "origin of {directory}: {problem}; mirrors are not held against it"
            ));
        }
    }
    for (mirror, directories) in &state.mirrors {
        for (directory, finding) in directories {
            match (&finding.problem, finding.behind_since) {
                (Some(problem), _) => tell(format!(
                    "{mirror}: {directory}: failed {} in a row: {problem}",
                    counted(finding.failures, "time")
                )),
                (None, Some(since)) => tell(format!(
                    "{mirror}: {directory}: behind for {}",
                    duration::shown(Duration::from_secs(state.checked.saturating_sub(since)))
                )),
                (None, None) => {}
            }
        }
    }
    problems
}
