//! Writes the files that depend on the ledger alone.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use reveille_account::Event;
use reveille_text::replace::Replacement;
use serde::Serialize;

use super::{HostSummary, Summary, junit, table};
use crate::{Error, Ledger, Result};

/// A line of `events.ndjson`.
#[derive(Serialize)]
struct Line {
    schema: u32,
    #[serde(flatten)]
    event: Event,
}

/// Writes `summary.json`, `events.ndjson`, `hosts.csv`, `junit.xml` and the address lists into `directory`.
///
/// The lists contain one address per line, in byte order. In a closed run that balances, benchmark (dispatched) =
/// successful + failed + missing, and total_registry = benchmark + not_dispatched. `failed` contains failed and
/// quarantined hosts and those cancelled after their dispatch; `missing` contains ghosts.
pub fn write_files(ledger: &Ledger, summary: &Summary, directory: &Path) -> Result<()> {
    write_file(&directory.join("summary.json"), |file| {
        serde_json::to_writer_pretty(&mut *file, summary)?;
        file.write_all(b"\n")?;
        Ok(())
    })?;
    write_file(&directory.join("events.ndjson"), |file| {
        for event in ledger.events(summary.record.run, None) {
            let line = Line {
                schema: 1,
                event: event?,
            };
            serde_json::to_writer(&mut *file, &line)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })?;
    write_file(&directory.join("hosts.csv"), |file| {
        file.write_all(table::HEADER.as_bytes())?;
        for host in summary.hosts() {
            table::write_row(file, &host?)?;
        }
        Ok(())
    })?;
    write_junit(summary, &directory.join("junit.xml"))?;
    write_addresses(summary, directory)
}

/// Writes a JUnit report with one test case per host. Replaces an existing report atomically.
pub fn write_junit(summary: &Summary, path: &Path) -> Result<()> {
    let mut whole = Replacement::begin(path).map_err(Error::io("write", path))?;
    write_to(&mut whole, path, |file| {
        junit::write_head(file, summary)?;
        for host in summary.hosts() {
            junit::write_case(file, summary.name(), &host?)?;
        }
        Ok(junit::write_foot(file)?)
    })?;
    whole.commit().map_err(Error::io("write", path))
}

fn write_addresses(summary: &Summary, directory: &Path) -> Result<()> {
    let mut lists: [Vec<String>; 6] = Default::default();
    for host in summary.hosts() {
        let host = host?;
        for (list, (_, contains)) in lists.iter_mut().zip(LISTS) {
            if contains(&host) {
                list.push(host.address.clone());
            }
        }
    }
    for (mut list, (name, _)) in lists.into_iter().zip(LISTS) {
        list.sort_unstable();
        write_file(&directory.join(name), |file| {
            for address in &list {
                // A host name may contain anything, but each address must stay on one line.
                writeln!(file, "{}", address.replace(char::is_control, ""))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A list's name, and its filter.
type List = (&'static str, fn(&HostSummary) -> bool);

const LISTS: [List; 6] = [
    ("total_registry_ips_artifact.log", |_| true),
    ("benchmark_ips_artifact.log", |host| host.dispatched),
    ("not_dispatched_ips_artifact.log", |host| !host.dispatched),
    ("successful_ips_artifact.log", |host| {
        host.dispatched && host.status == "success"
    }),
    ("failed_ips_artifact.log", |host| {
        host.dispatched && matches!(host.status, "failed" | "quarantined" | "cancelled")
    }),
    ("missing_ips_artifact.log", |host| {
        host.dispatched && host.status == "ghost"
    }),
];

/// An error while a file is written.
enum Fault {
    File(io::Error),
    Ledger(Error),
}

fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), Fault>) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("write", path))?;
    write_to(&mut file, path, write)
}

fn write_to<W: Write>(
    file: &mut W,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut W>) -> Result<(), Fault>,
) -> Result<()> {
    let mut file = BufWriter::new(file);
    let result = write(&mut file).and_then(|()| Ok(file.flush()?));
    result.map_err(|fault| match fault {
        Fault::File(error) => Error::io("write", path)(error),
        Fault::Ledger(error) => error,
    })
}

// === impl Fault ===

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::File(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Fault::File(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Ledger(error)
    }
}
