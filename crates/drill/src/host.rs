//! A host of the fleet: who it is, what is wrong with it, what was done to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use reveille_account::HostName;

use crate::kept::Kept;
use crate::shell;
use crate::{FaultKind, Performance};

/// A host. It has no task of its own.
#[derive(Debug)]
pub struct Host {
    pub(crate) name: HostName,
    pub(crate) index: u32,
    pub(crate) fault: Option<FaultKind>,
    seed: u64,
    /// The longest that a command takes to answer.
    latency: Duration,
    /// Commands that go well before the host's fault shows in them.
    good: u32,
    connections: AtomicU32,
    commands: AtomicU32,
    exercised: AtomicU32,
    /// How often each token was run; empty until a script counts them.
    tokens: Mutex<BTreeMap<String, u32>>,
    /// What outlives connections.
    pub(crate) kept: Kept,
}

/// What was injected into a host, and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The host.
    pub name: HostName,
    /// What is wrong with it.
    pub fault: Option<FaultKind>,
    /// How often somebody ran into that. Always 0 for a host that refuses connections: it does not see them.
    pub exercised: u32,
    /// Connections that were made to it.
    pub connections: u32,
    /// Commands that were performed.
    pub commands: u32,
    /// How often the command of each token was performed, as far as the script counts them. More than 1 is a command
    /// that ran twice.
    pub tokens: BTreeMap<String, u32>,
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
        }
    }

    /// Its name.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<FaultKind> {
        self.fault
    }

    /// Performs a command line: what the fake shell makes of it, with the host's fault in it.
    ///
    /// Each call counts as one command that ran.
    pub fn perform(&self, line: &[u8]) -> Performance {
        let calls = self.commands.fetch_add(1, Ordering::Relaxed);
        let mut random = Rng::with_seed(self.seed ^ (u64::from(calls) << 32) ^ u64::from(self.index));
        let performance =
            shell::interpret(self.name.as_str(), line).delayed(self.latency.mul_f64(random.f64()));
        let (Some(kind), Some(bad)) = (self.fault, calls.checked_sub(self.good)) else {
            return performance;
        };
        let (performance, spoiled) = performance.spoil(kind, bad, &mut random);
        if spoiled {
            self.exercise();
        }
        performance
    }

    /// Counts that the command of a token ran. Scripts that know tokens call it.
    pub fn count_token(&self, token: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens.entry(token.to_owned()).or_default() += 1;
    }

    /// Stays the same for as long as the fleet runs: its hosts do not reboot.
    pub(crate) fn boot_id(&self) -> String {
        format!(
            "{:08x}-d1a1-4000-8000-{:012x}",
            self.seed & 0xffff_ffff,
            self.index
        )
    }

    /// Counts a connection and tells how many there were before.
    pub(crate) fn connected(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts that somebody ran into the fault.
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

/// Hosts in a block of addresses with the same three first bytes; the last byte avoids 0 and 255.
const BLOCK: u32 = 254;

/// The most hosts of a fleet: the addresses from 127.1.0.1 on.
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
    fn addresses_are_loopback_and_tell_the_host() {
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
