//! Events: everything that happens in a run, one at a time.

use serde::{Deserialize, Serialize};

use crate::{Class, HaltReason, HostName, Loss, MachineRef, Outcome, RunId, Rung, Site, Token, WorkerId};

/// One thing that happened. The ledger commits it, then publishes it; nothing is shown that is not committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the run, from 1, without gaps; given by the ledger.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// Round of the run, from 1; `retry` opens the next.
    pub round: u32,
    /// The host, if the event is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The controller process that saw it.
    pub worker: WorkerId,
    /// The ownership epoch that the controller held.
    pub epoch: u64,
    /// Unix time, milliseconds.
    pub wall_ms: u64,
    /// Milliseconds on a clock that never jumps, since that controller took the run.
    pub mono_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The state of a run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Hosts are or may be worked on.
    Open,
    /// Stopped before its end by a signal or a fault of the controller; `resume` goes on.
    Interrupted,
    /// Every host has its outcome.
    Closed,
}

impl RunState {
    /// The word used in files and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Open => "open",
            RunState::Interrupted => "interrupted",
            RunState::Closed => "closed",
        }
    }
}

/// A phase of connecting, each with its own deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Name resolution.
    Resolve,
    /// The TCP connection, or the channel through a jump host.
    Tcp,
    /// The SSH identification line.
    Banner,
    /// Key exchange and host key.
    KeyExchange,
    /// User authentication.
    Authentication,
    /// Opening a session channel.
    Channel,
    /// The reply to the request to run a command.
    Exec,
}

impl Phase {
    /// The words used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Resolve => "name resolution",
            Phase::Tcp => "TCP connect",
            Phase::Banner => "SSH banner",
            Phase::KeyExchange => "key exchange",
            Phase::Authentication => "authentication",
            Phase::Channel => "session channel",
            Phase::Exec => "exec request",
        }
    }
}

/// How long each phase of the successful connection took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTimings {
    /// Name resolution and TCP connection.
    pub tcp_ms: u32,
    /// From the open connection to the SSH identification line.
    pub banner_ms: u32,
    /// Key exchange and host key check.
    pub key_exchange_ms: u32,
    /// User authentication.
    pub authentication_ms: u32,
}

/// One of a command's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word used in files and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A step of a job, by position and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// Position in the job, from 0.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// Deadlines that Reveille chose for an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The class of the step, under which its durations are remembered.
    pub class: String,
    /// Durations of the class that were known.
    pub samples: u64,
    /// Hosts of the run.
    pub hosts: u32,
    /// The highest number of connection tries so far.
    pub retries: u32,
    /// Silence after which it is looked at, seconds; none if an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_s: Option<f64>,
    /// Duration after which it is looked at, seconds; none without history, or if an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_s: Option<f64>,
}

/// A duration that counts for the deadlines of later runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// The class of the step.
    pub class: String,
    /// How long it took, without what the controller lost, milliseconds.
    pub took_ms: u64,
    /// The longest time without output, milliseconds.
    pub silence_ms: u64,
}

/// What happened. New kinds may be added; readers ignore those they don't know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A round of the run starts; its roll is on disk.
    RunOpened {
        /// Hosts on the roll of this round.
        planned: u64,
    },
    /// A controller took over a run that was interrupted or whose controller died.
    RunResumed {
        /// Hosts without an outcome.
        remaining: u64,
    },
    /// How many sessions are open at once, decided or changed.
    SessionsLimited {
        /// At most this many sessions.
        sessions: u64,
        /// Hosts that wait for one.
        queued: u64,
        /// Why it is this number, if it is not what was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The run's state changed.
    RunStateChanged {
        /// The new state.
        state: RunState,
        /// Why, if there is something to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The host was handed to the engine.
    Dispatched,
    /// A connection try starts.
    Connecting {
        /// Which try, from 1.
        tries: u32,
        /// Address and port.
        address: String,
        /// The machine that is connected to.
        #[serde(default, skip_serializing_if = "MachineRef::is_first")]
        machine: MachineRef,
    },
    /// A connection try failed.
    ConnectFailed {
        /// Which try, from 1.
        tries: u32,
        /// The machine that was connected to.
        #[serde(default, skip_serializing_if = "MachineRef::is_first")]
        machine: MachineRef,
        /// The phase that failed.
        phase: Phase,
        /// The class it would have if it were the last.
        class: Class,
        /// What happened, in words.
        message: String,
        /// Whether it looks like the host's limit on new connections; such tries are not counted.
        throttled: bool,
        /// When the next try starts; nothing when there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// The next try is made only because work may go on there: it uses up nothing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        away: bool,
    },
    /// Connected and authenticated.
    Connected {
        /// Which try, from 1.
        tries: u32,
        /// How long each phase took.
        phases: PhaseTimings,
    },
    /// An attempt of a step is about to start: the intent, committed before the command is sent.
    StepStarted {
        /// The step.
        step: StepRef,
        /// Which attempt, from 1.
        attempt: u32,
        /// The key of what runs remotely, when the step is durable.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
        /// The remote directory that holds it, when the step is durable.
        #[serde(skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// The boot that is to end, when the step reboots the machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<Box<str>>,
        /// The machine that it runs on.
        #[serde(default, skip_serializing_if = "MachineRef::is_first")]
        machine: MachineRef,
        /// The user that it runs as, if it is another one than the login's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// What the machine said of itself, when the step is durable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<Box<Site>>,
        /// The deadlines that Reveille chose itself, and what from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chosen: Option<Box<Chosen>>,
    },
    /// Durable work has begun on the host.
    StepBegan {
        /// The step.
        step: StepRef,
        /// Which attempt.
        attempt: u32,
        /// The supervisor's process id.
        pid: u32,
        /// When the supervisor started, by the host's own count.
        born: String,
    },
    /// An attempt has no result of its own.
    StepLost {
        /// The step.
        step: StepRef,
        /// Which attempt.
        attempt: u32,
        /// What is known of it.
        loss: Loss,
        /// What was seen, in words.
        message: String,
    },
    /// An attempt was left: it may still run, and is attached to in the next round.
    StepLeft {
        /// The step.
        step: StepRef,
        /// Which attempt.
        attempt: u32,
        /// Why, in words.
        message: String,
    },
    /// A step was not run because its condition said so.
    StepSkipped {
        /// The step.
        step: StepRef,
        /// Why.
        reason: String,
    },
    /// An attempt of a step ended.
    StepFinished {
        /// The step.
        step: StepRef,
        /// Which attempt, from 1.
        attempt: u32,
        /// The verdict.
        class: Class,
        /// Exit status, if the command told one.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_status: Option<i32>,
        /// The signal that ended it, without `SIG`.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// From start to end, milliseconds.
        duration_ms: u64,
        /// Bytes that the command wrote to standard output.
        stdout_bytes: u64,
        /// Bytes that the command wrote to standard error.
        stderr_bytes: u64,
        /// Bytes that the caps dropped from the record.
        #[serde(default, skip_serializing_if = "is_zero")]
        dropped_bytes: u64,
        /// Whether the step changed the host, as far as can be told.
        changed: bool,
        /// Exit status 0 and no output at all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        empty_output: bool,
        /// The value kept under the step's `register` name, as JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registered: Option<String>,
        /// What went wrong, in words; empty when nothing did.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// What the watchdog learns from it, if it ended well and by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        learned: Option<Learned>,
    },
    /// A silent or late step was looked at.
    Looked {
        /// The step.
        step: StepRef,
        /// `silence` or `total`.
        deadline: String,
        /// What was seen, in words.
        evidence: String,
        /// What follows, in words.
        decision: String,
        /// It seems stuck, and nobody allowed to end it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stuck: bool,
    },
    /// The controller itself stood still: all deadlines moved.
    ControllerStalled {
        /// For so long, milliseconds.
        late_ms: u64,
    },
    /// Another machine took the host's place.
    Replaced {
        /// Its address.
        address: String,
        /// Its port.
        port: u16,
    },
    /// The connection broke during a step.
    ConnectionLost {
        /// The step.
        step: StepRef,
        /// What happened, in words.
        message: String,
    },
    /// Remote work was found again after the connection or the controller was lost.
    Reattached {
        /// The step.
        step: StepRef,
        /// Its token.
        token: Token,
        /// What was found: `running`, `finished`, `gone`, `rebooted`, `never_started`.
        found: String,
    },
    /// A deadline passed.
    DeadlinePassed {
        /// The step.
        step: StepRef,
        /// `watchdog_idle` or `watchdog_total`.
        class: Class,
        /// The deadline, milliseconds.
        deadline_ms: u64,
        /// From the last progress that was seen until it was ended, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lag_ms: Option<u64>,
        /// Whether the command's process group is verified to be gone.
        killed: bool,
        /// What was seen, in words.
        evidence: String,
    },
    /// Another attempt of a step or of the host follows.
    Recovering {
        /// The class that is recovered from.
        class: Class,
        /// How and why, in words.
        reason: String,
        /// When, milliseconds from now.
        in_ms: u64,
        /// The rung of the ladder that is taken; nothing if the step is simply tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rung: Option<Rung>,
    },
    /// A repair or a reboot worked; the host goes on with the step that it was at.
    Healed {
        /// The rung.
        rung: Rung,
    },
    /// A rung of the ladder did not come about.
    RungFailed {
        /// The rung.
        rung: Rung,
        /// Why, in words.
        message: String,
    },
    /// The host failed. What the job allows is tried before that becomes its outcome.
    HostFailed {
        /// The outcome that it would have.
        outcome: Box<Outcome>,
    },
    /// Nothing more is tried to bring the host back; what the job does for failed hosts comes next.
    GaveUp {
        /// The class of the outcome.
        class: Class,
        /// The gatekeeper's sentence; empty if there was nothing to consider.
        gatekeeper: String,
    },
    /// Nothing more is dispatched in this round.
    Halted {
        /// Why.
        reason: HaltReason,
    },
    /// It is known what became of a step that runs once for all hosts.
    OnceSettled {
        /// The step.
        step: StepRef,
        /// The value kept under the step's `register` name, as JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registered: Option<String>,
        /// Why it failed; nothing if it is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A connection limit of an endpoint changed.
    HandshakesLimited {
        /// The endpoint or bastion.
        endpoint: String,
        /// Handshakes at once.
        limit: u32,
    },
    /// The host's one final status.
    OutcomeReached {
        /// The outcome.
        outcome: Box<Outcome>,
    },
    /// Remote leftovers of the host are gone.
    Cleaned,
    /// Something an operator should know.
    Warning {
        /// The words.
        message: String,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
