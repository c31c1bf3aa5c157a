//! Events: everything that happens in a run, one at a time.

use serde::{Deserialize, Serialize};

use crate::{Class, HaltReason, HostName, Loss, MachineRef, Outcome, RunId, Rung, Site, Token, WorkerId};

/// How the reason of a skipped step begins if a check found that a run would execute it.
pub const WOULD: &str = "would ";
/// How the reason of a skipped step begins if a check can't tell whether a run would execute it.
pub const UNDECIDED: &str = "not checked: ";

/// One thing that happened. The ledger commits it before anything shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the run, from 1, without gaps; assigned by the ledger.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// Round of the run, from 1; `retry` opens the next one.
    pub round: u32,
    /// The host, if the event is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The controller process that recorded it.
    pub worker: WorkerId,
    /// The ownership epoch that the controller held.
    pub epoch: u64,
    /// Unix time, milliseconds.
    pub wall_ms: u64,
    /// Milliseconds on a monotonic clock since that controller took over the run.
    pub mono_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The state of a run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Hosts are being worked on, or may be.
    Open,
    /// Stopped early by a signal or a controller failure; `resume` continues it.
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

/// How long each phase of a successful connection took, in milliseconds.
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
    /// The number of recorded durations of the class.
    pub samples: u64,
    /// The number of hosts in the run.
    pub hosts: u32,
    /// The highest number of connection tries so far.
    pub retries: u32,
    /// Seconds of silence before the watchdog checks the step; `None` if the operator set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_s: Option<f64>,
    /// Seconds before the watchdog checks the step; `None` without history, or if the operator set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_s: Option<f64>,
}

/// A duration that later runs learn their deadlines from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// The class of the step.
    pub class: String,
    /// How long it took, milliseconds, without the time that the controller lost.
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
    /// A controller took over a run that was interrupted or whose controller had died.
    RunResumed {
        /// Hosts without an outcome.
        remaining: u64,
    },
    /// The limit on concurrent sessions was set or changed.
    SessionsLimited {
        /// At most this many sessions.
        sessions: u64,
        /// Hosts waiting for a session.
        queued: u64,
        /// Why, if it is not the requested number.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The first host of a batch may be dispatched, if the run has several batches.
    BatchOpened {
        /// Which batch of the round, from 1.
        batch: u32,
        /// How many batches the round has.
        of: u32,
        /// Hosts in it.
        hosts: u64,
    },
    /// The run is being stopped: no more hosts are dispatched, and running steps have a grace period.
    Stopping {
        /// The grace period, milliseconds.
        grace_ms: u64,
    },
    /// The run's state changed.
    RunStateChanged {
        /// The new state.
        state: RunState,
        /// Why, if there is a reason to give.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The host was handed to the engine.
    Dispatched,
    /// A connection try starts.
    Connecting {
        /// Which try, from 1.
        tries: u32,
        /// Address and port; `this machine` without a network.
        address: String,
        /// The machine to connect to.
        #[serde(default, skip_serializing_if = "MachineRef::is_first")]
        machine: MachineRef,
    },
    /// A connection try failed.
    ConnectFailed {
        /// Which try, from 1.
        tries: u32,
        /// The machine to connect to.
        #[serde(default, skip_serializing_if = "MachineRef::is_first")]
        machine: MachineRef,
        /// The phase that failed.
        phase: Phase,
        /// The class that the host gets if this was the last try.
        class: Class,
        /// What happened.
        message: String,
        /// Whether it looks like the host's limit on new connections; such tries are not counted.
        throttled: bool,
        /// When the next try starts; `None` if there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// The next try only looks for work that may still run there, so it does not count against the budget.
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
        /// The key of the remote work, if the step is durable.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
        /// The remote directory of the work, if the step is durable.
        #[serde(skip_serializing_if = "Option::is_none")]
        place: Option<String>,
        /// The boot that is to end, if the step reboots the machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<Box<str>>,
        /// The machine that it runs on.
        #[serde(default, skip_serializing_if = "MachineRef::is_first")]
        machine: MachineRef,
        /// The user that it runs as, if not the login user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// What the machine reported about itself, if the step is durable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<Box<Site>>,
        /// The deadlines that Reveille chose, and what it based them on.
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
        /// When the supervisor started, on the host's clock.
        born: String,
    },
    /// An attempt ended without a result.
    StepLost {
        /// The step.
        step: StepRef,
        /// Which attempt.
        attempt: u32,
        /// What is known about it.
        loss: Loss,
        /// What was seen.
        message: String,
    },
    /// An attempt was left behind: it may still run, and the next round re-attaches to it.
    StepLeft {
        /// The step.
        step: StepRef,
        /// Which attempt.
        attempt: u32,
        /// Why.
        message: String,
    },
    /// A step was skipped.
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
        /// The class of its result.
        class: Class,
        /// Exit status, if the command reported one.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_status: Option<i32>,
        /// The signal that killed it, without `SIG`.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// From start to end, milliseconds.
        duration_ms: u64,
        /// Bytes that the command wrote to standard output.
        stdout_bytes: u64,
        /// Bytes that the command wrote to standard error.
        stderr_bytes: u64,
        /// Bytes that the output caps dropped.
        #[serde(default, skip_serializing_if = "is_zero")]
        dropped_bytes: u64,
        /// Whether the step changed the host, as far as is known; also if an earlier attempt did and the host has not
        /// succeeded since.
        changed: bool,
        /// Whether it exited 0 without any output.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        empty_output: bool,
        /// The value kept under the step's `register` name, as JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registered: Option<String>,
        /// What went wrong; empty if nothing did.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// What the watchdog learns from it, if it succeeded without being killed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        learned: Option<Learned>,
    },
    /// The watchdog checked a silent or late step.
    Looked {
        /// The step.
        step: StepRef,
        /// `silence` or `total`.
        deadline: String,
        /// What it saw.
        evidence: String,
        /// What it decided.
        decision: String,
        /// It seems stuck, and nothing permits killing it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stuck: bool,
    },
    /// The controller itself stalled, so all deadlines were moved.
    ControllerStalled {
        /// How long, milliseconds.
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
        /// What happened.
        message: String,
    },
    /// Remote work was found again after the connection or the controller had been lost.
    Reattached {
        /// The step.
        step: StepRef,
        /// Its token.
        token: Token,
        /// What was found: `running`, `finished`, `gone`, `rebooted`, `never_started`.
        found: String,
    },
    /// A deadline passed and the step was ended.
    DeadlinePassed {
        /// The step.
        step: StepRef,
        /// `watchdog_idle` or `watchdog_total`.
        class: Class,
        /// The deadline, milliseconds.
        deadline_ms: u64,
        /// From the last progress seen to the kill, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lag_ms: Option<u64>,
        /// Whether the command's process group is verified to be gone.
        killed: bool,
        /// What was seen.
        evidence: String,
    },
    /// Another attempt of a step or of the host follows.
    Recovering {
        /// The class of the failure.
        class: Class,
        /// How and why.
        reason: String,
        /// When, in milliseconds from now.
        in_ms: u64,
        /// The rung that is taken; `None` if the step is just tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rung: Option<Rung>,
    },
    /// A repair or a reboot worked; the host continues with the step that failed.
    Healed {
        /// The rung.
        rung: Rung,
    },
    /// A rung of the ladder failed.
    RungFailed {
        /// The rung.
        rung: Rung,
        /// Why.
        message: String,
    },
    /// The host failed. Recoveries that the job allows come before this becomes its outcome.
    HostFailed {
        /// The outcome that it would get.
        outcome: Box<Outcome>,
    },
    /// No further recovery is tried; the job's `on_failed` steps come next.
    GaveUp {
        /// The class of the outcome.
        class: Class,
        /// The gatekeeper's reason; empty if there was nothing to consider.
        gatekeeper: String,
    },
    /// The round dispatches no more hosts.
    Halted {
        /// Why.
        reason: HaltReason,
    },
    /// The result of a step that runs once for all hosts is known.
    OnceSettled {
        /// The step.
        step: StepRef,
        /// The value kept under the step's `register` name, as JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registered: Option<String>,
        /// Why it failed; `None` if it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// The limit on handshakes with an endpoint changed.
    HandshakesLimited {
        /// The endpoint or bastion.
        endpoint: String,
        /// Concurrent handshakes.
        limit: u32,
    },
    /// The host's one final status.
    OutcomeReached {
        /// The outcome.
        outcome: Box<Outcome>,
    },
    /// The host's remote leftovers are removed.
    Cleaned,
    /// Something an operator should know.
    Warning {
        /// The message.
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
