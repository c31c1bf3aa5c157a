//! Rate limits of clients.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most rate-limited clients in each part.
const CLIENTS: usize = 1 << 14;

/// Parts of the rate-limited clients, each with a lock.
const PARTS: usize = 16;

/// A leaky bucket for each client: a number of requests a second, and as many at once after a second without requests.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The time that a request costs.
    cost: Duration,
    started: Instant,
    parts: [Mutex<Part>; PARTS],
}

/// A part of the clients.
#[derive(Debug, Default)]
struct Part {
    /// When each client's bucket is empty again, counted from the start.
    clients: HashMap<IpAddr, Duration>,
    /// When clients with an empty bucket are removed next; not at each request, because there may be many.
    sweep: Duration,
}

/// The size of a rate limit's bucket.
const BURST: Duration = Duration::from_secs(1);

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(a_second: NonZeroUsize) -> Self {
        let a_second = u32::try_from(a_second.get()).unwrap_or(u32::MAX);
        Self {
            cost: BURST / a_second,
            started: Instant::now(),
            parts: std::array::from_fn(|_| Mutex::default()),
        }
    }

    pub(crate) fn may_pass(&self, client: IpAddr) -> bool {
        self.may_pass_at(client, self.started.elapsed())
    }

    fn may_pass_at(&self, client: IpAddr, now: Duration) -> bool {
        let client = network(client);
        let part = &self.parts[part(client)];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let Part { clients, sweep } = &mut *part;
        if clients.len() >= CLIENTS && !clients.contains_key(&client) {
            if now >= *sweep {
                clients.retain(|_, empty| *empty > now);
                *sweep = now + BURST / 4;
            }
            if clients.len() >= CLIENTS {
                // So many clients at once are not one client with many addresses.
                return true;
            }
        }
        let empty = clients.entry(client).or_default();
        let level = (*empty).max(now) + self.cost;
        if level > now + BURST {
            return false;
        }
        *empty = level;
        true
    }
}

/// A /64 of IPv6 usually belongs to one customer.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

fn part(client: IpAddr) -> usize {
    let sum: usize = match client {
        IpAddr::V4(address) => address.octets().iter().map(|octet| usize::from(*octet)).sum(),
        IpAddr::V6(address) => address.octets().iter().map(|octet| usize::from(*octet)).sum(),
    };
    sum % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With more clients than fit, all pass; when they are gone, clients are counted again.
    #[test]
    fn too_many_clients_pass_and_are_removed() {
        let limiter = Limiter::new(NonZeroUsize::new(1).unwrap());
        let clients = (0_u32..).map(|number| IpAddr::V4((0x0a00_0000 + number * 16).into()));
        let mut clients = clients.filter(|client| part(*client) == 0);
        let at = Duration::from_millis;
        for client in clients.by_ref().take(CLIENTS) {
            assert!(limiter.may_pass_at(client, at(0)));
        }
        let new = clients.next().unwrap();
        assert!(limiter.may_pass_at(new, at(1)) && limiter.may_pass_at(new, at(2)));
        assert!(limiter.may_pass_at(new, at(2000)) && !limiter.may_pass_at(new, at(2001)));
    }

    #[test]
    fn each_client_has_its_own_limit() {
        let limiter = Limiter::new(NonZeroUsize::new(10).unwrap());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let passed = |client, at| {
            (0..30)
                .filter(|_| limiter.may_pass_at(client, Duration::from_millis(at)))
                .count()
        };
        assert_eq!(passed(one, 0), 10);
        assert_eq!(passed(other, 0), 10);
        assert_eq!(passed(one, 500), 5);
        assert_eq!(passed(one, 5000), 10);
        let neighbours = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        assert_eq!(passed(neighbours[0], 0), 10);
        assert_eq!(passed(neighbours[1], 0), 0);
    }
}
