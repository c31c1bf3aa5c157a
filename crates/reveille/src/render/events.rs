//! Events as NDJSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use reveille_ledger::Follow;
use serde::Serialize;

use crate::failure::Failure;

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    #[serde(flatten)]
    event: &'a reveille_account::Event,
}

/// Writes each event as a line, as soon as it is committed, until the run is released.
pub(crate) async fn write(mut events: Follow, path: PathBuf) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::System(format!("can't write events to {}: {error}", path.display()));
    let mut target: Box<dyn Write + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(&path).map_err(failed)?)
    };
    let mut writer = BufWriter::new(&mut target);
    while let Some(event) = events.next().await? {
        let line = serde_json::to_string(&Line {
            schema: 1,
            event: &event,
        })
        .map_err(|error| Failure::System(format!("an event can't be written as JSON: {error}")))?;
        let written = writeln!(writer, "{line}").and_then(|()| writer.flush());
        match written {
            Ok(()) => {}
            // Whoever read has seen enough; the run goes on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
