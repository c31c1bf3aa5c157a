//! Checks before a run that its reports can be written.

use std::io;
use std::path::{Path, PathBuf};

use reveille_ledger::export::Export;
use rustix::fs::{Access, access};

use crate::cli::{Format, Report};
use crate::failure::Failure;

/// Checks that every report that the options ask for can be written.
pub(crate) fn check(report: &Report) -> Result<(), Failure> {
    if report.events.as_deref() == Some(Path::new("-")) && report.format == Format::Json {
        return Err(Failure::usage(
            "--format json and --events - both write to standard output; send one to a file",
        ));
    }
    let files = [("--events", &report.events), ("--junit", &report.junit)];
    for (option, path) in files {
        if let Some(path) = path.as_deref().filter(|path| *path != Path::new("-")) {
            file(path).map_err(|error| cannot(option, path, &error))?;
        }
    }
    let absolute = |path: &Option<PathBuf>| std::path::absolute(path.as_ref()?).ok();
    let [events, junit, export_to] = [&report.events, &report.junit, &report.export_to].map(absolute);
    for (option, one, other) in [
        ("--junit", &events, &junit),
        ("--events", &export_to, &events),
        ("--junit", &export_to, &junit),
    ] {
        if let (Some(one), Some(other)) = (one, other)
            && other.starts_with(one)
        {
            let other = other.display();
            return Err(Failure::usage(format!(
                "{option} {other}: another report is written there; write them to different files"
            )));
        }
    }
    if let Some(path) = &report.export_to {
        // Dropping it removes what it began.
        drop(Export::begin(path).map_err(|error| cannot("--export-to", path, &error))?);
    }
    Ok(())
}

fn cannot(option: &str, path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("{option} {}: can't be written: {error}", path.display()))
}

/// Whether a file can be written. It is not opened, because that would wake the reader of a FIFO.
fn file(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            Ok(access(
                parent.unwrap_or(Path::new(".")),
                Access::WRITE_OK | Access::EXEC_OK,
            )?)
        }
        Err(error) => Err(error),
    }
}
