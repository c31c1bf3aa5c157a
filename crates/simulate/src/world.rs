//! The world outside of controllers: machines, addresses, and the commands that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Event, HostName, RunId, Token};
use reveille_drill::{Act, Ending, Host, Performance, Stage};
use reveille_history::{HostHistory, Rule as EngineRule};
use reveille_job::Job;
use tokio::time::{Instant, sleep};

use crate::chance::{Hash, chance};
use crate::check::{Place, Record, Rule, Start, Violation};
use crate::command::{Command, Ends};
use crate::folded::Met;
use crate::network::Line;
use crate::scenario::{Effect, Fault, Happens, Scenario, What};

/// Everything that outlives controllers.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The number of the latest controller.
    newest: usize,
    run: String,
    machines: BTreeMap<String, Arc<Host>>,
    /// The machine at each address, and until when the address does not answer.
    addresses: BTreeMap<String, (String, Option<Instant>)>,
    lines: Vec<Weak<Line>>,
    /// How often each effect occurred for a host.
    counts: BTreeMap<(String, Effect), u32>,
    record: Record,
    tokens: u64,
    /// Faults have ended.
    calm: bool,
    trace: Hash,
    lines_of_trace: Option<Vec<String>>,
    met: BTreeSet<(&'static str, &'static str)>,
    fired: BTreeSet<usize>,
}

/// A machine's commands.
struct Ground {
    world: Weak<World>,
    machine: String,
    run: String,
}

/// Records the end of a run when dropped.
struct Running {
    world: Weak<World>,
    start: usize,
}

// === impl World ===

impl World {
    pub(crate) fn new(scenario: &Scenario, job: &Job, run: RunId, traced: bool) -> Arc<Self> {
        let world = Arc::new(Self {
            scenario: scenario.clone(),
            began: Instant::now(),
            inner: Mutex::new(Inner {
                newest: 0,
                run: run.uuid(),
                machines: BTreeMap::new(),
                addresses: BTreeMap::new(),
                lines: Vec::new(),
                counts: BTreeMap::new(),
                record: Record::new(job, scenario),
                tokens: 0,
                calm: false,
                trace: Hash::default(),
                lines_of_trace: traced.then(Vec::new),
                met: BTreeSet::new(),
                fired: BTreeSet::new(),
            }),
        });
        for host in &scenario.hosts {
            world.add_machine(&host.name);
            for route in &host.routes {
                world.lead(route, &host.name);
            }
        }
        for name in &scenario.delegates {
            world.add_machine(name);
        }
        for happening in scenario.happenings.clone() {
            let world = Arc::downgrade(&world);
            tokio::spawn(async move {
                sleep(happening.at.duration()).await;
                if let Some(world) = world.upgrade() {
                    world.happen(&happening.event);
                }
            });
        }
        world
    }

    /// Adds a machine at an address of the same name.
    fn add_machine(self: &Arc<Self>, name: &str) {
        let mut inner = self.lock();
        let index = u32::try_from(inner.machines.len()).unwrap_or(u32::MAX);
        let ground = Ground {
            world: Arc::downgrade(self),
            machine: name.to_owned(),
            run: inner.run.clone(),
        };
        let host = Host::on_stage(name.into(), index, self.scenario.seed, Arc::new(ground));
        if EngineRule::EpochAtHost.is_off() {
            host.let_everybody_in();
        }
        let host = Arc::new(host);
        inner.machines.insert(name.to_owned(), Arc::clone(&host));
        inner.addresses.insert(name.to_owned(), (name.to_owned(), None));
        drop(inner);
        let world = Arc::downgrade(self);
        let name = name.to_owned();
        tokio::spawn(async move {
            loop {
                host.went_down().await;
                let Some(world) = world.upgrade() else { return };
                world.note(format_args!("{name} goes down"));
                world.cut(&name);
            }
        });
    }

    fn lead(&self, address: &str, machine: &str) {
        self.lock()
            .addresses
            .insert(address.to_owned(), (machine.to_owned(), None));
    }

    /// Records that a controller starts.
    pub(crate) fn begins(&self, number: usize) {
        self.lock().newest = number;
    }

    /// The number of the latest controller.
    pub(crate) fn newest(&self) -> usize {
        self.lock().newest
    }

    /// Replaces a host's machine and returns the new address.
    pub(crate) fn replace(self: &Arc<Self>, host: &str) -> String {
        let number = self.lock().machines.len();
        let name = format!("{host}-{number}");
        self.add_machine(&name);
        self.note(format_args!("{name} takes the place of {host}"));
        name
    }

    pub(crate) fn happen(&self, event: &Happens) {
        self.note(format_args!("{event:?}"));
        match event {
            Happens::Reboot { machine, away } => {
                let host = self.lock().machines.get(machine).map(Arc::clone);
                if let Some(host) = host {
                    self.meet("reboot", machine);
                    host.reboot_for(away.duration());
                    self.cut(machine);
                }
            }
            Happens::Wipe { machine } => {
                let host = self.lock().machines.get(machine).map(Arc::clone);
                if let Some(host) = host {
                    self.meet("wiped place", machine);
                    self.lock().record.wiped.insert(machine.clone());
                    host.wipe();
                }
            }
            Happens::Sweep { machine } => {
                let host = self.lock().machines.get(machine).map(Arc::clone);
                if let Some(host) = host {
                    self.meet("swept directories", machine);
                    self.lock().record.sweep(machine);
                    host.sweep();
                }
            }
            Happens::Cut { machine } => {
                self.meet("cut", machine);
                self.cut(machine);
            }
            Happens::Block { address, lasts } => {
                let mut inner = self.lock();
                let until = lasts.map_or(far_away(), |lasts| Instant::now() + lasts.duration());
                if let Some((machine, blocked)) = inner.addresses.get_mut(address) {
                    *blocked = Some(until);
                    let machine = machine.clone();
                    drop(inner);
                    self.meet("blocked address", &machine);
                }
            }
        }
    }

    /// Breaks all connections to a machine.
    fn cut(&self, machine: &str) {
        let lines: Vec<Arc<Line>> = self.lock().lines.iter().filter_map(Weak::upgrade).collect();
        for line in lines
            .iter()
            .filter(|line| line.machine.name().as_str() == machine)
        {
            line.sever("the connection was reset");
        }
    }

    pub(crate) fn hold(&self, line: &Arc<Line>) {
        let mut inner = self.lock();
        inner.lines.retain(|line| line.strong_count() > 0);
        inner.lines.push(Arc::downgrade(line));
    }

    /// The machine at an address, or the fault of a blocked address. A machine that is away reports that itself.
    pub(crate) fn reach(&self, address: &str) -> Result<Arc<Host>, What> {
        let inner = self.lock();
        let Some((machine, blocked)) = inner.addresses.get(address) else {
            return Err(What::Silence);
        };
        if blocked.is_some_and(|until| until > Instant::now()) {
            return Err(What::Silence);
        }
        let host = inner.machines.get(machine).map(Arc::clone).ok_or(What::Silence)?;
        if host.away().is_some() {
            return Err(What::Refused);
        }
        Ok(host)
    }

    /// Machines that obeyed a controller that had been replaced.
    pub(crate) fn overruled(&self) -> Vec<String> {
        let inner = self.lock();
        let overruled = inner.machines.iter().filter(|(_, host)| host.is_overruled());
        overruled.map(|(name, _)| name.clone()).collect()
    }

    /// Ends all faults.
    pub(crate) fn calm(&self) {
        self.note(format_args!("faults end"));
        self.lock().calm = true;
    }

    /// Counts an effect for a host. Returns how often it has occurred, and the fault for it.
    pub(crate) fn meets(&self, host: &str, effect: Effect) -> (u32, Option<What>) {
        let mut inner = self.lock();
        let count = inner.counts.entry((host.to_owned(), effect)).or_default();
        *count += 1;
        let nth = *count;
        if inner.calm {
            return (nth, None);
        }
        let fault = self
            .scenario
            .faults
            .iter()
            .enumerate()
            .find(|(_, fault): &(usize, &Fault)| {
                (fault.host.as_str(), fault.at, fault.nth) == (host, effect, nth)
            });
        let Some((at, fault)) = fault else {
            return (nth, None);
        };
        let what = fault.what;
        inner.fired.insert(at);
        let state = inner.record.state_of(host);
        inner.met.insert((what.kind(), state));
        (nth, Some(what))
    }

    fn meet(&self, kind: &'static str, host: &str) {
        let mut inner = self.lock();
        let state = inner.record.state_of(host);
        inner.met.insert((kind, state));
    }

    /// Records that two controllers may write to the same files from now on.
    pub(crate) fn shares_files(&self) {
        self.lock().record.shared_files = true;
    }

    /// Counts for the table how a controller ends.
    pub(crate) fn meet_everywhere(&self, kind: &'static str) {
        for host in &self.scenario.hosts {
            self.meet(kind, &host.name);
        }
    }

    /// A delay of at most `most_ms`, derived from the place.
    pub(crate) fn delay(&self, host: &str, what: &str, n: u64, most_ms: u64) -> Duration {
        let drawn = chance(self.scenario.seed, host, what, n) % (most_ms + 1);
        Duration::from_millis(drawn)
    }

    pub(crate) fn token(&self) -> Token {
        let mut inner = self.lock();
        inner.tokens += 1;
        let number = inner.tokens;
        let seed = self.scenario.seed;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&chance(seed, "", "token", number).to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Token::new(bytes)
    }

    /// Adds to a late request the attempt that it belongs to.
    pub(crate) fn noted(&self, line: Vec<u8>) -> Vec<u8> {
        let latest = Command::find(&line).and_then(|command| {
            let latest = self.lock().record.latest_plain(&command.host, &command.step)?;
            Some((command, latest))
        });
        match latest {
            Some((command, latest)) => command.noted(&line, latest),
            None => line,
        }
    }

    pub(crate) fn committed(&self, events: &[Arc<Event>]) {
        for event in events {
            let words = serde_json::to_string(&event.kind).unwrap_or_default();
            let host = event.host.as_ref().map_or("", |host| host.as_str());
            self.note(format_args!(
                "#{} epoch {} {host} {words}",
                event.seq, event.epoch
            ));
            self.lock().record.committed(event);
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, words: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        let line = format!("{:>10.3} {words}", at.as_secs_f64());
        let mut inner = self.lock();
        inner.trace.write(line.as_bytes());
        if let Some(lines) = &mut inner.lines_of_trace {
            lines.push(line);
        }
    }

    pub(crate) fn violate(&self, rule: Rule, words: String) {
        self.note(format_args!("BROKEN {rule:?}: {words}"));
        self.lock().record.violate(rule, words);
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().record.violations.clone()
    }

    pub(crate) fn trace(&self) -> (u64, Vec<String>) {
        let mut inner = self.lock();
        let lines = inner.lines_of_trace.take().unwrap_or_default();
        (inner.trace.finish(), lines)
    }

    pub(crate) fn met(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.lock().met.clone()
    }

    pub(crate) fn fired(&self) -> BTreeSet<usize> {
        self.lock().fired.clone()
    }

    /// Sets the roll of the next round.
    pub(crate) fn will_open(&self, roll: Vec<String>) {
        self.lock().record.bounds.will_open(roll);
    }

    /// Receives a task's view of its host's history, when all of it is on record.
    pub(crate) fn on_record(&self, host: &HostName, history: &HostHistory) {
        self.lock().record.on_record(host, history);
    }

    /// The pairs of attempt state and event that occurred.
    pub(crate) fn events_met(&self) -> BTreeSet<Met> {
        self.lock().record.events_met()
    }

    pub(crate) fn said(&self) -> Vec<(Place, Bytes)> {
        self.lock().record.said()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().record.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("World").finish_non_exhaustive()
    }
}

// === impl Ground ===

impl Stage for Ground {
    fn perform(&self, host: &Host, token: Option<&str>, line: &[u8]) -> Option<Performance> {
        let command = Command::find(line)?;
        let world = self.world.upgrade()?;
        let boots = host.boots();
        let (start, run, mut says) = {
            let mut inner = world.lock();
            let before = inner.record.starts.iter().filter(|start| {
                (&start.machine, &start.host, &start.step) == (&self.machine, &command.host, &command.step)
            });
            let run = u32::try_from(before.count())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let says = Bytes::from(command.says(run));
            let (round, attempt) = command.late.unwrap_or_default();
            let start = inner.record.start(Start {
                host: command.host.clone(),
                step: command.step.clone(),
                machine: self.machine.clone(),
                boots,
                boot: host.boot_id(),
                mark: host.mark_of(&self.run),
                token: token.map(str::to_owned),
                round,
                attempt,
                late: command.late.is_some(),
                began: Instant::now(),
                over: None,
                lasts: command.lasts,
                ends: command.ends(run),
                says: says.clone(),
                fatal: command.is_fatal(run),
            });
            (start, run, says)
        };
        world.note(format_args!(
            "START {} for {} on {} boot {boots} token {token:?}, run {run}: {:?}",
            command.step,
            command.host,
            self.machine,
            command.ends(run)
        ));
        let mut acts = Vec::new();
        let piece = says.len().div_ceil(3).max(1);
        for part in 0..3 {
            let said = says.split_to(says.len().min(piece));
            if !said.is_empty() {
                acts.push(Act::Stdout(said));
            }
            if part == 0 && command.err > 0 {
                acts.push(Act::Stderr(Bytes::from(vec![b'e'; command.err])));
            }
            if part < 2 && !command.lasts.is_zero() {
                acts.push(Act::Wait(command.lasts / 2));
            }
        }
        let ending = match command.ends(run) {
            Ends::Exit(status) => Ending::Exit(status),
            Ends::Vanish => Ending::Vanish,
            Ends::Hang => Ending::Hang,
            Ends::Reboot => {
                acts.push(Act::Reboot);
                Ending::Hang
            }
        };
        if command.ends(run) == Ends::Hang {
            // The performance of durable work ends at a hang, but the hanging process remains.
            acts.push(Act::Wait(Duration::from_hours(1000)));
        }
        let guard = Running {
            world: self.world.clone(),
            start,
        };
        Some(Performance::new(acts, ending).guarded(Arc::new(guard)))
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Ground").field(&self.machine).finish()
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        let Some(world) = self.world.upgrade() else { return };
        let words = {
            let mut inner = world.lock();
            let start = &mut inner.record.starts[self.start];
            start.over = Some(Instant::now());
            format!("OVER {} for {} on {}", start.step, start.host, start.machine)
        };
        world.note(format_args!("{words}"));
    }
}

/// Later than the end of any scenario.
pub(crate) fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(24 * 3650)
}
