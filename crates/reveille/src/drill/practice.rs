//! The practice fleet: in this process, or in a process of its own if it is large.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reveille_drill::{Fault, Fleet, FleetSpec, HostReport, RealShell};
use reveille_text::duration;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::leftovers::HOMES;
use super::{leftovers, real};
use crate::failure::Failure;
use crate::printer::Printer;

/// Most hosts of a fleet in this process.
const MOST_HERE: u32 = 1000;
/// Descriptors that a host needs if both ends of its connection are in this process.
const DESCRIPTORS_EACH: u64 = 4;
/// Timeout for the start and for the end of a fleet's process.
const PATIENCE: Duration = Duration::from_mins(1);

/// Names of the files that a fleet writes to its directory.
const INVENTORY: &str = "inventory.ini";
const KEY: &str = "id";
const KNOWN_HOSTS: &str = "known_hosts";
const REPORT: &str = "report.json";
const READY: &str = "ready";

/// A description of a fleet.
pub(crate) struct Wanted {
    pub(crate) hosts: u32,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    /// Commands of a host that succeed before its fault shows.
    pub(crate) good_commands: u32,
    /// Commands run for real.
    pub(crate) real_shell: bool,
}

/// A running fleet and its directory, which is removed at its end.
pub(crate) struct Practice {
    directory: Directory,
    runtime: Runtime,
    place: Place,
}

enum Place {
    Here(Box<Fleet>),
    Apart(Child),
}

/// A directory that is removed when it is dropped.
struct Directory(PathBuf);

#[derive(Serialize, Deserialize)]
struct Report {
    schema: u32,
    hosts: Vec<HostReport>,
}

// === impl Wanted ===

impl Wanted {
    /// Starts the fleet. If commands run for real, `script` runs them.
    fn start(&self, script: Option<Arc<RealShell>>) -> Result<Fleet, Failure> {
        let mut spec = FleetSpec {
            hosts: self.hosts,
            seed: self.seed,
            faults: self.faults.clone(),
            good_commands: self.good_commands,
            ..FleetSpec::default()
        };
        if let Some(script) = script {
            spec.script = script;
        }
        Fleet::start(spec).map_err(|error| Failure::usage(error.to_string()))
    }

    /// The arguments with which this program serves the fleet.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--hosts={}", self.hosts),
            format!("--seed={}", self.seed),
            format!("--good-commands={}", self.good_commands),
        ];
        arguments.extend(self.faults.iter().map(|fault| format!("--fault={fault}")));
        if self.real_shell {
            // This process has checked already whether root is allowed.
            arguments.extend(["--real-shell", "--allow-root"].map(str::to_owned));
        }
        if self.faults.is_empty() {
            arguments.push("--fault=none".to_owned());
        }
        arguments
    }
}

// === impl Practice ===

impl Practice {
    /// Starts a fleet with a directory for its keys under the state directory.
    pub(crate) fn start(wanted: &Wanted, state: &Path) -> Result<Self, Failure> {
        leftovers::sweep(state);
        let directory = Directory::create(leftovers::directory(state))?;
        leftovers::own(&directory.0).map_err(|error| cannot_write(&directory.0, &error))?;
        let runtime = runtime(1)?;
        let descriptors = reveille_fleet::raise_descriptors();
        // A fleet in a process of its own ends commands that run for real even if this process is killed.
        let apart = wanted.real_shell
            || wanted.hosts > MOST_HERE
            || descriptors < u64::from(wanted.hosts) * DESCRIPTORS_EACH + 256;
        let place = if apart {
            Place::Apart(runtime.block_on(spawn(wanted, &directory.0))?)
        } else {
            let entered = runtime.enter();
            let fleet = wanted.start(None)?;
            write_ways(&fleet, &directory.0)?;
            drop(entered);
            Place::Here(Box::new(fleet))
        };
        Ok(Self {
            directory,
            runtime,
            place,
        })
    }

    /// Where a rehearsed job puts files.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.directory.0.join("downloads")
    }

    pub(crate) fn inventory(&self) -> PathBuf {
        self.directory.0.join(INVENTORY)
    }

    /// The directory of the hosts' home directories, if commands run for real.
    pub(crate) fn homes(&self) -> PathBuf {
        self.directory.0.join(HOMES)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.0.join(KEY)
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.directory.0.join(KNOWN_HOSTS)
    }

    /// Ends the fleet and returns its report.
    pub(crate) fn end(self) -> Result<Vec<HostReport>, Failure> {
        let Self {
            directory,
            runtime,
            place,
        } = self;
        let report = match place {
            Place::Here(fleet) => Ok(fleet.report()),
            Place::Apart(mut child) => {
                // It ends when its standard input is closed.
                drop(child.stdin.take());
                let ended = runtime.block_on(async { timeout(PATIENCE, child.wait()).await });
                match ended {
                    Ok(Ok(_)) => read_report(&directory.0.join(REPORT)),
                    _ => Err(Failure::System(
                        "the process of the practice fleet did not end within 1m".to_owned(),
                    )),
                }
            }
        };
        // Sessions whose client vanished may still be open.
        runtime.shutdown_background();
        report
    }
}

/// A runtime with threads of its own, so that the fleet answers while this thread waits for the run.
fn runtime(threads: usize) -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("practice-fleet")
        .enable_all()
        .build()
        .map_err(|error| Failure::System(format!("can't start the runtime of the practice fleet: {error}")))
}

async fn spawn(wanted: &Wanted, directory: &Path) -> Result<Child, Failure> {
    let failed =
        |why: String| Failure::System(format!("can't start the process of the practice fleet: {why}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new(program)
        .args(["drill", "--serve"])
        .arg(directory)
        .args(wanted.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C must reach the run only; the fleet has to outlive its grace period.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let Some(stdout) = child.stdout.take() else {
        return Err(failed("it has no standard output".to_owned()));
    };
    let mut line = String::new();
    match timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await {
        Ok(Ok(_)) if line.trim_end() == READY => Ok(child),
        Ok(Ok(0)) => Err(failed("it ended immediately".to_owned())),
        Ok(Ok(_)) => Err(failed(format!("it said {line:?}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!(
            "it was not ready within {}",
            duration::shown(PATIENCE)
        ))),
    }
}

/// Serves a fleet until standard input ends or a signal arrives, then writes its report.
pub(crate) fn serve(wanted: &Wanted, directory: &Path, printer: &Printer) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    reveille_fleet::raise_descriptors();
    make_directory(directory)?;
    let shell = wanted
        .real_shell
        .then(|| RealShell::new(directory.join(HOMES), real::AT_ONCE as usize));
    let shell = shell
        .transpose()
        .map_err(|error| cannot_write(directory, &error))?
        .map(Arc::new);
    let runtime = runtime(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)))?;
    let result = runtime.block_on(async {
        let unheard = |error: std::io::Error| Failure::System(format!("can't listen for signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
        let fleet = wanted.start(shell.clone())?;
        write_ways(&fleet, directory)?;
        write(&directory.join(READY), "")?;
        printer.data(READY)?;
        let input =
            tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        tokio::select! {
            _ = input => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let hosts = fleet.report();
        let text = serde_json::to_string(&Report { schema: 1, hosts })
            .map_err(|error| Failure::System(format!("the report can't be written as JSON: {error}")))?;
        write(&directory.join(REPORT), &text)
    });
    // The thread that reads standard input may still block.
    runtime.shutdown_background();
    if let Some(shell) = shell {
        shell.end();
    }
    result
}

/// Writes the inventory, the client key and the host keys.
fn write_ways(fleet: &Fleet, directory: &Path) -> Result<(), Failure> {
    let failed = |error: reveille_drill::FleetError| Failure::System(error.to_string());
    let key = directory.join(KEY);
    write(&key, &fleet.client_key().map_err(failed)?)?;
    write(
        &directory.join(KNOWN_HOSTS),
        &fleet.known_hosts().map_err(failed)?,
    )?;
    let inventory = format!(
        "{}\n[all:vars]\nansible_ssh_private_key_file={}\n",
        fleet.inventory(),
        key.display()
    );
    write(&directory.join(INVENTORY), &inventory)
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| cannot_write(path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?
            .write_all(text.as_bytes())
    };
    written().map_err(|error| cannot_write(path, &error))
}

fn read_report(path: &Path) -> Result<Vec<HostReport>, Failure> {
    let wrong = |why: String| {
        Failure::System(format!(
            "can't read the practice fleet's report {}: {why}",
            path.display()
        ))
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(report.hosts)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!(
        "can't write {}: {error}; name another place with --state-dir",
        path.display()
    ))
}

// === impl Directory ===

impl Directory {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        make_directory(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        leftovers::remove(&self.0);
    }
}
