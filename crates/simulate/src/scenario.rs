//! A scenario: the engine's task, and everything that happens to it. It is data, read from and written to YAML.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Rule;

/// A story that the engine must get through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What happens.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub story: String,
    /// Rules that a known fault of the engine breaks. A test fails once they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Rule>,
    /// The seed of delays and tokens.
    #[serde(default)]
    pub seed: u64,
    /// The job. The name of a step with `perform NAME@HOST …` is `NAME`.
    pub job: String,
    /// The hosts, in inventory order.
    pub hosts: Vec<HostSpec>,
    /// Machines that steps are delegated to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<String>,
    /// How the run is paced.
    #[serde(default)]
    pub pacing: Pacing,
    /// The controllers, one after another. After the last one, faults end and the run is resumed until it is closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<LifeSpec>,
    /// Faults by their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Events by their time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub happenings: Vec<Happening>,
}

/// A host of the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// The name of the host, its address and its machine.
    pub name: String,
    /// Further addresses of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The host is not ready.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_ready: bool,
    /// The host requires the password.
    #[serde(default, skip_serializing_if = "is_default")]
    pub password: bool,
}

/// How a run is paced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pacing {
    /// The limit on sessions.
    pub sessions: usize,
    /// The sizes of the batches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serial: Vec<String>,
    /// The round halts if more hosts than this fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fail: Option<String>,
    /// The first batch is a canary.
    #[serde(skip_serializing_if = "is_default")]
    pub canary: bool,
    /// The longest delay of a message.
    pub latency_ms: u64,
    /// The longest delay of a commit.
    pub commit_ms: u64,
}

/// A controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeSpec {
    /// If the run is closed, opens a new round for the failed hosts. Otherwise the controller starts or resumes the
    /// run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: bool,
    /// The controller has the wrong password.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wrong_password: bool,
    /// The delay after the end of the previous controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_after: Option<Seconds>,
    /// Its death is a power cut: only synced bytes of output files remain.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loses_power: bool,
    /// The time of its death.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies_at: Option<Seconds>,
    /// The crossing at which it dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies: Option<Point>,
    /// The crossing at which it freezes, and when it thaws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezes: Option<Freeze>,
    /// When it is asked to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<Seconds>,
    /// When it is told to leave at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_at: Option<Seconds>,
}

/// A crossing of a seam: a dial, a request, a message, a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Its number in the controller's life, from 1.
    pub crossing: u64,
    /// It dies after the effect, before anyone learns of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: bool,
}

/// A freeze of a controller.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The crossing at which it freezes.
    pub crossing: u64,
    /// How long the next controller has been running when this one thaws.
    pub thaws_at: Seconds,
}

/// A fault at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The host's name in the engine; empty for a commit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The effect.
    pub at: Effect,
    /// The number of the occurrence, from 1, counted over all controllers.
    pub nth: u32,
    /// The fault.
    pub what: What,
}

/// An effect that crosses a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A TCP connection.
    Dial,
    /// A login.
    Handshake,
    /// A request to run a command.
    Exec,
    /// Input for a command.
    Send,
    /// Output of a command.
    Heard,
    /// A commit of the ledger.
    Commit,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The host refuses.
    Refused,
    /// Nothing answers.
    Silence,
    /// The connection breaks before the effect.
    BreakBefore,
    /// The connection breaks after the effect.
    BreakAfter,
    /// Only this many bytes arrive before the connection breaks.
    BreakAt(usize),
    /// Nothing gets through for this long, in either direction. Messages arrive afterwards, even if the controller has
    /// given up the connection.
    Stall(Seconds),
    /// The effect takes this long.
    Late(Seconds),
    /// The disk is full.
    Full,
}

/// An event at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// The time.
    pub at: Seconds,
    /// The event.
    #[serde(flatten)]
    pub event: Happens,
}

/// An event in the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happens {
    /// A machine reboots.
    Reboot {
        /// The machine.
        machine: String,
        /// How long it is away.
        away: Seconds,
    },
    /// A machine's directory for durable work is removed.
    Wipe {
        /// The machine.
        machine: String,
    },
    /// The directories of attempts on a machine are removed, but not those of the runs.
    Sweep {
        /// The machine.
        machine: String,
    },
    /// All connections to a machine break.
    Cut {
        /// The machine.
        machine: String,
    },
    /// An address does not answer.
    Block {
        /// The address.
        address: String,
        /// How long; forever by default.
        #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
        lasts: Option<Seconds>,
    },
}

/// A time as scenarios contain it.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

// === impl Scenario ===

impl Scenario {
    /// Parses a scenario.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// The scenario as YAML.
    pub fn text(&self) -> String {
        serde_saphyr::to_string(self)
            .unwrap_or_else(|error| format!("# can't be written: {error}\n{self:#?}"))
    }
}

// === impl Pacing ===

impl Default for Pacing {
    fn default() -> Self {
        Self {
            sessions: 8,
            serial: Vec::new(),
            max_fail: None,
            canary: false,
            latency_ms: 20,
            commit_ms: 5,
        }
    }
}

// === impl What ===

impl What {
    /// Its label in tables.
    pub fn kind(self) -> &'static str {
        match self {
            What::Refused => "refused",
            What::Silence => "silence",
            What::BreakBefore => "break before",
            What::BreakAfter => "break after",
            What::BreakAt(_) => "break within",
            What::Stall(_) => "half-open",
            What::Late(_) => "late",
            What::Full => "disk full",
        }
    }
}

// === impl Effect ===

impl Effect {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Dial => "dial",
            Effect::Handshake => "handshake",
            Effect::Exec => "exec",
            Effect::Send => "send",
            Effect::Heard => "heard",
            Effect::Commit => "commit",
        }
    }
}

// === impl Seconds ===

impl Seconds {
    /// The time as a duration; zero if it is not a valid time.
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
