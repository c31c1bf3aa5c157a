//! `reveille-mirrorlist check`

use clap::Args;
use reveille_mirrorlist::{Data, Snapshot, mirrors};

use super::Files;
use crate::{Failure, print};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Do not ask the mirrors of a list, look at the files alone
    #[arg(long)]
    offline: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sources = arguments.files.sources();
    let mut text = String::new();
    let mut problems = 0;
    if let (Data::Mirrors(path), false) = (&sources.data, arguments.offline) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Internal(format!("can't start: {error}")))?;
        let state = runtime.block_on(mirrors::probe(path))?;
        for (mirror, directories) in &state.mirrors {
            for (directory, finding) in directories {
                let words = match (&finding.problem, finding.behind_since) {
                    (Some(problem), _) => format!("failed {} times in a row: {problem}", finding.failures),
                    (None, Some(since)) => format!("behind for {} s", state.checked.saturating_sub(since)),
                    (None, None) => continue,
                };
                problems += 1;
                text.push_str(&format!("{mirror}: {directory}: {words}\n"));
            }
        }
    }
    let snapshot = Snapshot::load(&sources, None)?;
    let catalog = snapshot.catalog();
    for warning in catalog.warnings() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    let counts = catalog.counts();
    text.push_str(&format!(
        "{} directories, {} repositories, {} hosts, {} URLs, {} netblocks, {} prefixes; made at {}\n",
        counts.directories,
        counts.repositories,
        counts.hosts,
        counts.urls,
        counts.netblocks,
        snapshot.networks().prefixes(),
        catalog.created()
    ));
    print(&text)?;
    if problems > 0 { Err(Failure::Found) } else { Ok(()) }
}
