//! The description of a run, recorded before any dispatch.

use std::time::{SystemTime, UNIX_EPOCH};

use reveille_account::{HostName, RunId, RunState, WorkerId};

/// The command that started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// `reveille exec`.
    Exec,
    /// `reveille run`.
    Run,
    /// `reveille run --check`, which changed nothing.
    Check,
    /// `reveille copy`.
    Copy,
    /// `reveille fetch`.
    Fetch,
    /// `reveille ping`.
    Ping,
    /// `reveille bench`.
    Bench,
    /// `reveille drill`.
    Drill,
}

/// Everything that `resume` needs and that is not secret.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// The command that started it.
    pub kind: RunKind,
    /// The command line, or the whole text of the job.
    pub text: String,
    /// The job file's name as the user gave it.
    pub file: Option<String>,
    /// SHA-256 of the job file, hexadecimal.
    pub sha256: Option<String>,
    /// The effective options.
    pub options: serde_json::Value,
    /// The run's vars, without secret ones.
    pub vars: serde_json::Value,
    /// The random seed.
    pub seed: u64,
    /// The user who started it.
    pub user: String,
    /// The machine on which it was started.
    pub node: String,
    /// `--comment`.
    pub comment: Option<String>,
    /// What the run is called: its job, or its command. Runs of earlier versions have none.
    pub name: Option<String>,
    /// The start time, Unix milliseconds.
    pub started_ms: u64,
}

/// A host on the roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollEntry {
    /// The host.
    pub host: HostName,
    /// Its address; `None` if only the name is known.
    pub address: Option<String>,
    /// The SSH port.
    pub port: u16,
    /// Its vars, without secret ones, as JSON text; empty for none.
    pub vars: String,
    /// How to reach it, as JSON text that the engine writes and reads; empty if it is not needed later.
    pub way: String,
}

/// A run as the ledger knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// What was recorded at its start.
    pub spec: RunSpec,
    /// Its state. The controller of an open run may be dead: see [`Ledger::holder`](crate::Ledger::holder).
    pub state: RunState,
    /// The newest round, from 1.
    pub round: u32,
    /// How many controllers have owned it so far.
    pub epoch: u64,
    /// The latest of them.
    pub worker: WorkerId,
    /// When it was closed or interrupted, Unix milliseconds.
    pub ended_ms: Option<u64>,
}

// === impl RunKind ===

impl RunKind {
    const ALL: [RunKind; 8] = [
        RunKind::Exec,
        RunKind::Run,
        RunKind::Check,
        RunKind::Copy,
        RunKind::Fetch,
        RunKind::Ping,
        RunKind::Bench,
        RunKind::Drill,
    ];

    /// The command's name.
    pub fn as_str(self) -> &'static str {
        match self {
            RunKind::Exec => "exec",
            RunKind::Run => "run",
            RunKind::Check => "check",
            RunKind::Copy => "copy",
            RunKind::Fetch => "fetch",
            RunKind::Ping => "ping",
            RunKind::Bench => "bench",
            RunKind::Drill => "drill",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

// === impl RunSpec ===

impl RunSpec {
    /// A run that starts now, without a user and options.
    pub fn new(kind: RunKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            file: None,
            sha256: None,
            options: serde_json::Value::Null,
            vars: serde_json::Value::Null,
            seed: 0,
            user: String::new(),
            node: String::from("localhost"),
            comment: None,
            name: None,
            started_ms: unix_ms(),
        }
    }
}

// === impl RollEntry ===

impl RollEntry {
    /// A host reached by its name on port 22.
    pub fn new(host: impl Into<HostName>) -> Self {
        Self {
            host: host.into(),
            address: None,
            port: 22,
            vars: String::new(),
            way: String::new(),
        }
    }
}

/// Unix time in milliseconds; 0 if the clock is before 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
