//! Limits on SSH handshakes in progress, globally and for each endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Gate, Permit};

/// Limits handshakes in progress: a global limit, which protects this machine's CPU, and one for each endpoint (an
/// address, or a jump host that many hosts are behind). If an endpoint throttles, its limit is halved, down to 1, and
/// grows again by one per round of successes.
#[derive(Debug, Clone)]
pub struct Handshakes {
    shared: Arc<Shared>,
}

/// The right to one handshake, until it is dropped.
#[derive(Debug)]
pub struct HandshakePermit {
    /// Dropped before the endpoint is forgotten.
    permits: Option<(Permit, Permit)>,
    handshakes: Handshakes,
    endpoint: Arc<str>,
}

#[derive(Debug)]
struct Shared {
    global: Gate,
    each: usize,
    endpoints: Mutex<HashMap<Arc<str>, Endpoint>>,
}

#[derive(Debug)]
struct Endpoint {
    gate: Gate,
    /// Successes since the limit last changed.
    successes: usize,
    /// Permits in use or waited for.
    users: usize,
}

// === impl Handshakes ===

impl Handshakes {
    /// Permits at most `global` at once, and `each` at one endpoint; both at least one.
    pub fn new(global: usize, each: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                global: Gate::new(global.max(1)),
                each: each.max(1),
                endpoints: Mutex::default(),
            }),
        }
    }

    /// Waits for both limits, first come first served at each.
    pub async fn acquire(&self, endpoint: &str) -> HandshakePermit {
        let (endpoint, gate) = {
            let mut endpoints = self.lock();
            let name = match endpoints.get_key_value(endpoint) {
                Some((name, _)) => Arc::clone(name),
                None => Arc::from(endpoint),
            };
            let entry = endpoints
                .entry(Arc::clone(&name))
                .or_insert_with(|| Endpoint::new(self.shared.each));
            entry.users += 1;
            (name, entry.gate.clone())
        };
        // Created first, so that its drop cleans up after a wait that is given up.
        let mut permit = HandshakePermit {
            permits: None,
            handshakes: self.clone(),
            endpoint,
        };
        // Wait for the endpoint first: a waiter for a slow one must not hold a global permit.
        let local = gate.acquire().await;
        let global = self.shared.global.acquire().await;
        permit.permits = Some((global, local));
        permit
    }

    /// Records that the endpoint refused a connection as one too many. Returns its new limit.
    pub fn throttled(&self, endpoint: &str) -> usize {
        let mut endpoints = self.lock();
        let entry = endpoints
            .entry(Arc::from(endpoint))
            .or_insert_with(|| Endpoint::new(self.shared.each));
        let limit = (entry.gate.limit() / 2).max(1);
        entry.successes = 0;
        let gate = entry.gate.clone();
        drop(endpoints);
        gate.set_limit(limit);
        limit
    }

    /// Records a successful handshake with the endpoint. Returns its new limit if it changed.
    pub fn succeeded(&self, endpoint: &str) -> Option<usize> {
        let mut endpoints = self.lock();
        let entry = endpoints.get_mut(endpoint)?;
        let limit = entry.gate.limit();
        if limit >= self.shared.each {
            return None;
        }
        entry.successes += 1;
        if entry.successes < limit {
            return None;
        }
        entry.successes = 0;
        let gate = entry.gate.clone();
        drop(endpoints);
        gate.set_limit(limit + 1);
        Some(limit + 1)
    }

    /// The endpoint's current limit.
    pub fn limit(&self, endpoint: &str) -> usize {
        self.lock()
            .get(endpoint)
            .map_or(self.shared.each, |entry| entry.gate.limit())
    }

    /// Handshakes in progress or waiting at the endpoint.
    pub fn in_use(&self, endpoint: &str) -> usize {
        self.lock().get(endpoint).map_or(0, |entry| entry.users)
    }

    /// Whether the global limit is reached.
    pub fn is_used_up(&self) -> bool {
        self.shared.global.waiting() > 0 || self.shared.global.used() >= self.shared.global.limit()
    }

    /// Sets the global limit, at least one.
    pub fn set_global_limit(&self, limit: usize) {
        self.shared.global.set_limit(limit.max(1));
    }

    /// The number of endpoints kept: those in use and those with a lowered limit.
    pub fn endpoints(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Endpoint>> {
        self.shared
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl HandshakePermit ===

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.permits = None;
        let mut endpoints = self.handshakes.lock();
        let Some(entry) = endpoints.get_mut(&self.endpoint) else {
            return;
        };
        entry.users -= 1;
        // Thousands of hosts connect once, so keep lowered limits only.
        if entry.users == 0 && entry.gate.limit() == self.handshakes.shared.each {
            endpoints.remove(&self.endpoint);
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn new(limit: usize) -> Self {
        Self {
            gate: Gate::new(limit),
            successes: 0,
            users: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_slow_endpoint_does_not_slow_others() {
        let handshakes = Handshakes::new(3, 2);
        let first = handshakes.acquire("bastion").await;
        let second = handshakes.acquire("bastion").await;
        assert!(timeout(SOON, handshakes.acquire("bastion")).await.is_err());
        let other = timeout(SOON, handshakes.acquire("web1")).await.unwrap();
        assert!(
            timeout(SOON, handshakes.acquire("web2")).await.is_err(),
            "the global limit"
        );
        drop(first);
        let third = timeout(SOON, handshakes.acquire("bastion")).await.unwrap();
        drop((second, third, other));
        assert_eq!(handshakes.endpoints(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_and_successes_add() {
        let handshakes = Handshakes::new(100, 8);
        let held = handshakes.acquire("bastion").await;
        assert_eq!(handshakes.throttled("bastion"), 4);
        assert_eq!(handshakes.throttled("bastion"), 2);
        assert_eq!(handshakes.throttled("bastion"), 1);
        assert_eq!(handshakes.throttled("bastion"), 1);
        assert!(timeout(SOON, handshakes.acquire("bastion")).await.is_err());
        assert_eq!(handshakes.succeeded("bastion"), Some(2));
        assert_eq!(handshakes.succeeded("bastion"), None);
        assert_eq!(handshakes.succeeded("bastion"), Some(3));
        drop(held);
        assert_eq!(handshakes.limit("bastion"), 3, "a slowed endpoint is remembered");
        for _ in 0..100 {
            handshakes.succeeded("bastion");
        }
        assert_eq!(handshakes.limit("bastion"), 8);
        drop(handshakes.acquire("bastion").await);
        assert_eq!(handshakes.endpoints(), 0);
    }
}
