//! A host of the fleet: its identity, its fault, and what happened to it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use reveille_account::HostName;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cut::Cut;
use crate::kept::Kept;
use crate::kind::FaultKind;
use crate::performance::Performance;
use crate::shell::{self, Machine};

/// How far a host's clock jumps.
const JUMP: Duration = Duration::from_hours(1);
/// How long a reboot takes.
const REBOOT_TAKES: Duration = Duration::from_secs(1);

/// A host. It has no task.
#[derive(Debug)]
pub struct Host {
    pub(crate) name: HostName,
    pub(crate) index: u32,
    pub(crate) fault: Option<FaultKind>,
    seed: u64,
    /// The longest that a command takes to answer.
    latency: Duration,
    /// How many commands succeed before the host's fault shows.
    good: u32,
    connections: AtomicU32,
    commands: AtomicU32,
    exercised: AtomicU32,
    /// How often each token ran; empty until a script counts.
    tokens: Mutex<BTreeMap<String, u32>>,
    /// The state that outlives connections.
    pub(crate) kept: Kept,
    power: Mutex<Power>,
    /// Notified when the host goes down for a reboot; only a host's own listener waits for it.
    pub(crate) went_down: Notify,
    /// Decides what commands do, instead of the fake shell.
    stage: Option<Arc<dyn Stage>>,
    /// The token that was counted last, until its command is performed.
    counted: Mutex<Option<String>>,
}

/// The state of a boot, and the time of the next one.
#[derive(Debug, Default)]
struct Power {
    /// The number of earlier boots.
    boots: u32,
    /// The host was replaced by another machine.
    replaced: bool,
    /// The host does not listen before this.
    back: Option<Instant>,
    /// The connections of this boot.
    connections: Vec<Cut>,
    /// The host accepts nobody before this, as a penalty for a connection.
    penalty: Option<Instant>,
    /// How long a reboot takes, if set.
    away: Option<Duration>,
}

/// The fault of a host, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The host.
    #[serde(rename = "host")]
    pub name: HostName,
    /// Its fault.
    pub fault: Option<FaultKind>,
    /// How often the fault showed. Always 0 for a host that refuses connections, because it does not see them.
    pub exercised: u32,
    /// The number of connections.
    pub connections: u32,
    /// The number of commands performed.
    pub commands: u32,
    /// How often the command of each token was performed, as far as the script counts. More than 1 means that a command
    /// ran twice.
    pub tokens: BTreeMap<String, u32>,
}

/// Decides what commands do, instead of the fake shell, and learns of every start.
pub trait Stage: Debug + Send + Sync {
    /// What `line` does on the host; with the token if it is durable. None leaves it to the fake shell.
    fn perform(&self, host: &Host, token: Option<&str>, line: &[u8]) -> Option<Performance>;
}

// === impl Host ===

impl Host {
    pub(crate) fn new(
        name: HostName,
        index: u32,
        fault: Option<FaultKind>,
        seed: u64,
        latency: Duration,
        good: u32,
    ) -> Self {
        Self {
            name,
            index,
            fault,
            seed,
            latency,
            good,
            connections: AtomicU32::new(0),
            commands: AtomicU32::new(0),
            exercised: AtomicU32::new(0),
            tokens: Mutex::default(),
            kept: Kept::default(),
            power: Mutex::default(),
            went_down: Notify::new(),
            stage: None,
            counted: Mutex::default(),
        }
    }

    /// A host without a fleet and without a fault. `stage` decides what its commands do.
    pub fn on_stage(name: HostName, index: u32, seed: u64, stage: Arc<dyn Stage>) -> Self {
        Self {
            stage: Some(stage),
            ..Self::new(name, index, None, seed, Duration::ZERO, 0)
        }
    }

    /// Goes down for this long and comes back with a new boot; running work is lost.
    pub fn reboot_for(&self, away: Duration) {
        self.power().away = Some(away);
        self.reboot();
    }

    /// Removes its directory of durable work; running work continues.
    pub fn wipe(&self) {
        self.kept.wipe();
    }

    /// Removes the directories of tokens, but not those of runs; running work continues.
    pub fn sweep(&self) {
        self.kept.sweep();
    }

    /// Accepts every controller from now on, to simulate a host without fencing.
    pub fn let_everybody_in(&self) {
        self.kept.open();
    }

    /// Whether it obeyed a controller after another one had taken over.
    pub fn is_overruled(&self) -> bool {
        self.kept.is_overruled()
    }

    /// The mark of a run's directory, if there is one.
    pub fn mark_of(&self, run: &str) -> Option<String> {
        self.kept.known_mark(run)
    }

    /// The number of earlier boots.
    pub fn boots(&self) -> u32 {
        self.power().boots
    }

    /// Its name.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Its fault.
    pub fn fault(&self) -> Option<FaultKind> {
        self.fault
    }

    /// Performs a command line: the result of the fake shell, changed by the host's fault.
    ///
    /// Each call counts as one command.
    pub fn perform(&self, line: &[u8]) -> Performance {
        let token = self.counted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stage) = &self.stage
            && let Some(performance) = stage.perform(self, token.as_deref(), line)
        {
            self.commands.fetch_add(1, Ordering::Relaxed);
            return performance;
        }
        let calls = self.commands.fetch_add(1, Ordering::Relaxed);
        let mut random = Rng::with_seed(self.seed ^ (u64::from(calls) << 32) ^ u64::from(self.index));
        let bad = calls.checked_sub(self.good);
        let jumps = self.fault == Some(FaultKind::ClockJump);
        let clock = self.clock(jumps && bad.is_some_and(|bad| bad > 0));
        let machine = Machine {
            name: self.name.as_str(),
            clock,
            boot_id: self.boot_id(),
            id: self.machine_id(),
        };
        let performance = shell::interpret(&machine, line).delayed(self.latency.mul_f64(random.f64()));
        let (Some(kind), Some(bad)) = (self.fault, bad) else {
            return performance;
        };
        let (performance, spoiled) = match kind {
            FaultKind::ClockJump => performance.stamped(clock, clock + JUMP.as_secs() * u64::from(bad == 0)),
            FaultKind::Replaced(from) => performance.breaking(self.connections() < from),
            kind => performance.spoil(kind, bad, &mut random),
        };
        if spoiled {
            self.exercise();
        }
        performance
    }

    /// Counts a command that runs for real; returns whether its connection must break.
    pub(crate) fn begin(&self) -> bool {
        let calls = self.commands.fetch_add(1, Ordering::Relaxed);
        let Some(bad) = calls.checked_sub(self.good) else {
            return false;
        };
        self.shows(match self.fault {
            Some(FaultKind::DisconnectMid) => true,
            Some(FaultKind::DropOnce(times)) => bad < times,
            _ => false,
        })
    }

    /// Whether to break the connection of a client that came back to a command.
    pub(crate) fn breaks_again(&self) -> bool {
        self.shows(match self.fault {
            Some(FaultKind::DisconnectMid) => true,
            Some(FaultKind::Replaced(from)) => self.connections() < from,
            _ => false,
        })
    }

    /// Counts that the fault shows, if it does.
    fn shows(&self, fault: bool) -> bool {
        if fault {
            self.exercise();
        }
        fault
    }

    /// Whether the next command can't start because the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        self.fault == Some(FaultKind::DiskFull) && self.commands.load(Ordering::Relaxed) >= self.good
    }

    /// Seconds since the epoch by the host's clock.
    fn clock(&self, jumped: bool) -> u64 {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        now.as_secs() + if jumped { JUMP.as_secs() } else { 0 }
    }

    /// Counts a run of a token's command. Scripts that know tokens call this.
    pub fn count_token(&self, token: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens.entry(token.to_owned()).or_default() += 1;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
    }

    /// The id of the current boot.
    pub fn boot_id(&self) -> String {
        let power = self.power();
        format!(
            "{:08x}-d1a1-4000-8{:03x}-{:012x}",
            self.seed & 0xffff_ffff,
            power.boots & 0xfff,
            self.index
        )
    }

    /// The id of the machine, which changes when it is replaced.
    pub(crate) fn machine_id(&self) -> String {
        let replaced = u8::from(self.power().replaced);
        format!("{:016x}d{replaced}{:014x}", self.seed, self.index)
    }

    /// Reboots: connections and running commands are lost.
    pub(crate) fn reboot(&self) {
        let away = match self.fault {
            Some(FaultKind::Reboot(seconds)) => Duration::from_secs(seconds.into()),
            _ => self.power().away.unwrap_or(REBOOT_TAKES),
        };
        let connections = {
            let mut power = self.power();
            power.boots += 1;
            power.back = Some(Instant::now() + away);
            std::mem::take(&mut power.connections)
        };
        self.kept.reboot();
        self.went_down.notify_one();
        for cut in connections {
            cut.cut();
        }
    }

    /// Replaces the host by another machine.
    pub(crate) fn replace(&self) {
        let mut power = self.power();
        if !std::mem::replace(&mut power.replaced, true) {
            power.boots += 1;
            drop(power);
            self.kept.forget();
        }
    }

    /// Waits until the host goes down for a reboot. Only one task may wait.
    pub async fn went_down(&self) {
        self.went_down.notified().await;
    }

    /// When the host will listen again, if it is down.
    pub fn away(&self) -> Option<Instant> {
        self.power().back.filter(|back| *back > Instant::now())
    }

    /// Accepts nobody for a while.
    pub(crate) fn penalise(&self, duration: Duration) {
        self.power().penalty = Some(Instant::now() + duration);
    }

    /// Whether it accepts nobody.
    pub(crate) fn penalises(&self) -> bool {
        self.power().penalty.is_some_and(|until| until > Instant::now())
    }

    /// Counts a connection and returns the number of earlier ones. The connection is cut when the host goes down.
    pub(crate) fn connected(&self, cut: &Cut) -> u32 {
        self.power().connections.push(cut.clone());
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn disconnected(&self, cut: &Cut) {
        let mut power = self.power();
        power.connections.retain(|other| !other.is(cut));
        power.connections.shrink_to_fit();
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts that the fault showed.
    pub(crate) fn exercise(&self) {
        self.exercised.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn report(&self) -> HostReport {
        HostReport {
            name: self.name.clone(),
            fault: self.fault,
            exercised: self.exercised.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
            tokens: self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// The number of hosts per block of addresses with the same three first bytes; the last byte is never 0 or 255.
const BLOCK: u32 = 254;

/// The most hosts in a fleet: the addresses from 127.1.0.1 on.
pub(crate) const MOST_HOSTS: u32 = 254 * 256 * BLOCK;

/// The address of a host.
pub(crate) fn address(index: u32) -> Ipv4Addr {
    let block = index / BLOCK;
    Ipv4Addr::from(0x7f01_0000 + (block << 8) + 1 + index % BLOCK)
}

/// The host of an address.
pub(crate) fn index(address: Ipv4Addr) -> Option<u32> {
    let offset = u32::from(address).checked_sub(0x7f01_0000)?;
    let (block, last) = (offset >> 8, offset & 0xff);
    let within = last.checked_sub(1).filter(|within| *within < BLOCK)?;
    Some(block * BLOCK + within).filter(|index| *index < MOST_HOSTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_and_identify_the_host() {
        assert_eq!(address(0), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(address(254), Ipv4Addr::new(127, 1, 1, 1));
        for number in (0..70_000).chain([MOST_HOSTS - 1]) {
            let address = address(number);
            assert!(address.is_loopback());
            assert_eq!(index(address), Some(number));
        }
        assert_eq!(index(Ipv4Addr::LOCALHOST), None);
        assert_eq!(index(Ipv4Addr::new(127, 1, 0, 0)), None);
        assert_eq!(index(Ipv4Addr::BROADCAST), None);
    }
}
