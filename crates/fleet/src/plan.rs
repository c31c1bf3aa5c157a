//! What the engine is given.

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

use crate::recall::{Before, RollHost, Settled};
use crate::world::World;

/// A host to work on.
#[derive(Debug, Clone)]
pub struct HostPlan {
    /// Where it is.
    pub to: Destination,
    /// How far it came under an earlier controller.
    pub before: Option<Box<Before>>,
}

/// A host's variables, asked for when a template needs them.
pub type VarsOf = Arc<dyn Fn(&HostName) -> Map<String, Value> + Send + Sync>;

/// What all hosts of a run have in common.
pub struct RunPlan {
    /// The job.
    pub job: Arc<Job>,
    /// The hosts without an outcome, in play order.
    pub hosts: Vec<HostPlan>,
    /// The whole roll of the round, in its order: those with an outcome included.
    pub roll: Vec<RollHost>,
    /// Why nothing more is dispatched in this round, if an earlier controller had halted it.
    pub halted: Option<HaltReason>,
    /// What earlier controllers knew of the steps that run once for all hosts.
    pub once: Vec<Settled>,
    /// Another controller began this round.
    pub resumed: bool,
    /// Other hosts that steps run on, by the names that steps give them.
    pub delegates: HashMap<HostName, Destination>,
    /// What templates of every host see.
    pub shared: Shared,
    /// The hosts' variables.
    pub vars: VarsOf,
    /// How the run is paced and bounded.
    pub settings: Settings,
}

/// How a run is paced and bounded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sessions at once.
    pub sessions: usize,
    /// SSH handshakes at once, everywhere, to begin with; the controller's CPU decides from there.
    pub handshakes: usize,
    /// SSH handshakes at once at one endpoint or bastion.
    pub handshakes_each: usize,
    /// Sizes of the batches; none for all at once.
    pub serial: Vec<Portion>,
    /// Failed hosts beyond which nothing more is dispatched.
    pub max_fail: Option<Portion>,
    /// The same within a batch.
    pub max_fail_batch: Option<Portion>,
    /// The first batch is a trial: if any of its hosts fails, nothing more is dispatched.
    pub canary: bool,
    /// First and longest wait between connection tries and between attempts.
    pub backoff: (Duration, Duration),
    /// Close output files after each write, because descriptors are scarce.
    pub frugal: bool,
    /// How long running steps may go on after the first request to stop.
    pub grace: Duration,
    /// Output kept of each attempt.
    pub caps: OutputCaps,
    /// Bytes of a file that is fetched, at most.
    pub download_limit: u64,
    /// Standard input of plain commands.
    pub input: Option<Bytes>,
    /// The seed of all jitter.
    pub seed: u64,
    /// How long a host is looked for that went away in the middle of a step; minutes, if nothing is said.
    pub away: Option<Duration>,
    /// The shortest silence after which a step without a deadline of the operator's is looked at.
    pub silence_floor: Option<Duration>,
    /// The longest that an attempt may be stuck when no deadline of the operator's says otherwise.
    pub hard_cap: Duration,
    /// What is taken from the machine that the engine runs on.
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
            world: World::default(),
        }
    }
}
