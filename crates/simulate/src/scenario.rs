//! A scenario: what is asked of the engine, and everything that happens to it meanwhile. It is data, read from and
//! written to YAML.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Rule;

/// A story that the engine has to get through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What happens, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub story: String,
    /// A fault of the engine that is known: these rules are broken by it today. A test fails when they are not any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Rule>,
    /// What delays and tokens follow from.
    #[serde(default)]
    pub seed: u64,
    /// The job. A step that does `perform NAME@HOST …` has that name.
    pub job: String,
    /// The hosts, in the order of the inventory.
    pub hosts: Vec<HostSpec>,
    /// Machines that steps of others run on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<String>,
    /// How the run is paced.
    #[serde(default)]
    pub pacing: Pacing,
    /// The controllers, one after the other. After the last of them faults end, and the run is resumed until it is
    /// closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<LifeSpec>,
    /// What goes wrong where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What happens when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub happenings: Vec<Happening>,
}

/// A host of the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// Its name, which is its address and its machine as well.
    pub name: String,
    /// Further addresses of the same machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// It is never to be dispatched.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_ready: bool,
    /// It lets nobody in without the password.
    #[serde(default, skip_serializing_if = "is_default")]
    pub password: bool,
}

/// How a run is paced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pacing {
    /// Sessions at once.
    pub sessions: usize,
    /// Sizes of batches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serial: Vec<String>,
    /// Failed hosts beyond which nothing more is dispatched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fail: Option<String>,
    /// The first batch is a trial.
    #[serde(skip_serializing_if = "is_default")]
    pub canary: bool,
    /// The longest that a message is on its way.
    pub latency_ms: u64,
    /// The longest that a commit takes.
    pub commit_ms: u64,
}

/// A controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifeSpec {
    /// It opens a new round for the hosts that failed, if the run is closed. Otherwise it starts or resumes the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: bool,
    /// It has the wrong password.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wrong_password: bool,
    /// It begins so long after the one before it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_after: Option<Seconds>,
    /// When it dies, its machine loses its power: of output files there is left what was synced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loses_power: bool,
    /// It dies after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies_at: Option<Seconds>,
    /// It dies at this crossing of a seam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies: Option<Point>,
    /// It stands still from this crossing on, until the next controller has been at work for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezes: Option<Freeze>,
    /// It is asked to stop after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<Seconds>,
    /// It is told to leave at once after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_at: Option<Seconds>,
}

/// A crossing of a seam: a dial, a request, a message, a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Its number in the controller's life, from 1.
    pub crossing: u64,
    /// It has come about, and nobody hears of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: bool,
}

/// A controller that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// From this crossing on.
    pub crossing: u64,
    /// Until the next controller has been at work for so long.
    pub thaws_at: Seconds,
}

/// Something that goes wrong, by its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The host, by the name that the engine has for it; of no host for a commit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What is done there.
    pub at: Effect,
    /// For the how many-th time, from 1, all controllers together.
    pub nth: u32,
    /// What goes wrong.
    pub what: What,
}

/// What crosses a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A TCP connection.
    Dial,
    /// A login.
    Handshake,
    /// A request to run a command.
    Exec,
    /// Input for it.
    Send,
    /// Something from it.
    Heard,
    /// A commit of the ledger.
    Commit,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The host says no.
    Refused,
    /// Nobody answers.
    Silence,
    /// The connection breaks, and what was to be done is not.
    BreakBefore,
    /// What was to be done is done, and then the connection breaks.
    BreakAfter,
    /// Only so many bytes of it arrive, and then the connection breaks.
    BreakAt(usize),
    /// Nothing goes through for so long, in either direction. What was sent arrives then, even if the controller has given
    /// the connection up.
    Stall(Seconds),
    /// It takes so long.
    Late(Seconds),
    /// The disk is full.
    Full,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// After so long.
    pub at: Seconds,
    /// What.
    #[serde(flatten)]
    pub event: Happens,
}

/// What can happen in the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happens {
    /// A machine boots again.
    Reboot {
        /// Which.
        machine: String,
        /// It is away for so long.
        away: Seconds,
    },
    /// What a machine kept of durable work is removed.
    Wipe {
        /// Which.
        machine: String,
    },
    /// The directories of what ran on a machine are removed, and the runs' own are left.
    Sweep {
        /// Which.
        machine: String,
    },
    /// All connections to a machine break.
    Cut {
        /// Which.
        machine: String,
    },
    /// Nobody answers at an address.
    Block {
        /// Which.
        address: String,
        /// For so long; for ever if nothing is said.
        #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
        lasts: Option<Seconds>,
    },
}

/// A time, as it is written in scenarios.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

// === impl Scenario ===

impl Scenario {
    /// Reads a scenario.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// The text that it is read from.
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
    /// Its kind, for tables.
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
    /// The time itself; nothing for what is no time.
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
