//! The engine's input.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{HaltReason, HostName};
use reveille_job::{Job, Shared};
use reveille_ledger::output::OutputCaps;
use reveille_pace::Portion;
use reveille_way::Destination;
use serde_json::{Map, Value};

use crate::diff::Preview;
use crate::recall::{Before, RollHost, Settled};
use crate::world::World;

/// A host to run.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// How to reach it.
    pub to: Destination,
    /// How far it got under an earlier controller.
    pub before: Option<Box<Before>>,
}

/// Returns a host's vars when a template needs them.
pub type VarsOf = Arc<dyn Fn(&HostName) -> Map<String, Value> + Send + Sync>;

/// The parts of a run that all hosts share.
pub struct RunPlan {
    /// The job.
    pub job: Arc<Job>,
    /// The hosts without an outcome, in dispatch order.
    pub hosts: Vec<HostPlan>,
    /// The whole roll of the round in order, including hosts with an outcome.
    pub roll: Vec<RollHost>,
    /// Why the round was halted, if an earlier controller did so.
    pub halted: Option<HaltReason>,
    /// The results of `once` steps under earlier controllers.
    pub once: Vec<Settled>,
    /// Whether another controller began this round.
    pub resumed: bool,
    /// How to reach the hosts that steps are delegated to, by the names in the steps.
    pub delegates: HashMap<HostName, Destination>,
    /// The values shared by the templates of all hosts.
    pub shared: Shared,
    /// The hosts' vars.
    pub vars: VarsOf,
    /// The names of the hosts' vars that must not be shown, besides those with secret names.
    pub hidden: HashMap<HostName, Vec<String>>,
    /// How the run is paced and bounded.
    pub settings: Settings,
}

/// How a run is paced and bounded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The limit on sessions.
    pub sessions: usize,
    /// The initial limit on handshakes; the controller's CPU adapts it.
    pub handshakes: usize,
    /// The limit on handshakes with one endpoint or jump host.
    pub handshakes_each: usize,
    /// The sizes of the batches; empty for a single batch.
    pub serial: Vec<Portion>,
    /// The round halts if more hosts than this fail.
    pub max_fail: Option<Portion>,
    /// The same, within a batch.
    pub max_fail_batch: Option<Portion>,
    /// The first batch is a canary: if any of its hosts fails, the round halts.
    pub canary: bool,
    /// The first and the longest wait between connection tries and between attempts.
    pub backoff: (Duration, Duration),
    /// Whether to close output files after each write, because descriptors are scarce.
    pub frugal: bool,
    /// How long running steps may continue after the first request to stop.
    pub grace: Duration,
    /// The output kept of each attempt.
    pub caps: OutputCaps,
    /// The size limit of a fetched file, in bytes.
    pub download_limit: u64,
    /// Standard input of plain commands.
    pub input: Option<Bytes>,
    /// The seed for all jitter.
    pub seed: u64,
    /// How long to keep trying to reach a host lost during a step; minutes by default.
    pub away: Option<Duration>,
    /// The shortest silence after which the watchdog checks a step without a deadline.
    pub silence_floor: Option<Duration>,
    /// The longest time that an attempt may be stuck unless the operator set a deadline.
    pub hard_cap: Duration,
    /// Whether hosts are changed, and what is told of changes.
    pub preview: Preview,
    /// The interface to the machine that the engine runs on.
    pub world: World,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions: 512,
            handshakes: 16,
            handshakes_each: 10,
            serial: Vec::new(),
            max_fail: None,
            max_fail_batch: None,
            canary: false,
            backoff: (Duration::from_millis(500), Duration::from_secs(10)),
            frugal: false,
            grace: Duration::from_secs(10),
            caps: OutputCaps::default(),
            download_limit: 16 << 30,
            input: None,
            seed: 0,
            away: None,
            silence_floor: None,
            hard_cap: Duration::from_hours(2),
            preview: Preview::default(),
            world: World::default(),
        }
    }
}
