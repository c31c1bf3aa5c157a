//! The fleet: started from a specification, stopped when dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use reveille_account::HostName;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, kex};
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::host::{self, MOST_HOSTS};
use crate::keys::{Whose, client_key, host_key};
use crate::listen::{BACKLOG_ALONE, IDENTIFICATION, Service, bind};
use crate::{Fault, FaultKind, Host, HostReport, Script, Supervisor, Targets};

/// How many connections may wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 16_384;

/// The specification of a fleet.
#[derive(Clone)]
pub struct FleetSpec {
    /// The number of hosts.
    pub hosts: u32,
    /// Decides which hosts have faults, and their latencies and host keys.
    pub seed: u64,
    /// The faults; a host has at most one.
    pub faults: Vec<Fault>,
    /// The longest that a healthy host takes to answer a command.
    pub latency: Duration,
    /// How many commands of a host succeed before its fault shows; only for faults of commands.
    pub good_commands: u32,
    /// Whether each host has its own key, which costs one signature key per connection.
    pub key_per_host: bool,
    /// The script that answers commands.
    pub script: Arc<dyn Script>,
}

/// A running fleet. It stops when it is dropped.
pub struct Fleet {
    hosts: Vec<Arc<Host>>,
    port: u16,
    seed: u64,
    key_per_host: bool,
    client_key: PrivateKey,
    /// Bound but not listening: connections to its port are refused, and no other process can take it.
    refusing: TcpSocket,
    refusing_port: u16,
    /// The ports of hosts with their own listener, by index.
    alone: HashMap<u32, u16>,
    stop: watch::Sender<bool>,
}

/// Why a fleet can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// There are not enough addresses.
    #[error("a practice fleet can have at most {MOST_HOSTS} hosts, not {0}")]
    TooManyHosts(u32),
    /// A fault names a host that does not exist, or that has another fault.
    #[error("{fault} can't affect {host}: the fleet has no such host, or it has another fault")]
    NoSuchHost {
        /// The fault.
        fault: FaultKind,
        /// The host.
        host: HostName,
    },
    /// The faults affect more hosts than there are.
    #[error("not enough hosts without another fault for {fault}: {left} of {wanted}")]
    TooFewHosts {
        /// The fault.
        fault: FaultKind,
        /// The number of hosts that it needs.
        wanted: u64,
        /// The number of hosts without a fault.
        left: u64,
    },
    /// A key can't be created.
    #[error("can't make a key for the practice fleet: {0}")]
    Key(String),
    /// No port is available for listening.
    #[error("can't listen for the practice fleet: {0}")]
    Listen(#[from] io::Error),
}

// === impl FleetSpec ===

impl Default for FleetSpec {
    /// Ten healthy hosts that answer within 50 ms.
    fn default() -> Self {
        Self {
            hosts: 10,
            seed: 0,
            faults: Vec::new(),
            latency: Duration::from_millis(50),
            good_commands: 0,
            key_per_host: false,
            script: Arc::new(Supervisor),
        }
    }
}

// === impl Fleet ===

impl Fleet {
    /// Starts a fleet on the tokio runtime that this is called in.
    pub fn start(spec: FleetSpec) -> Result<Self, FleetError> {
        if spec.hosts > MOST_HOSTS {
            return Err(FleetError::TooManyHosts(spec.hosts));
        }
        let hosts = hosts(&spec)?;
        let client_key = client_key().map_err(|error| FleetError::Key(error.to_string()))?;

        let any_port = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let refusing = TcpSocket::new_v4()?;
        refusing.bind(any_port)?;
        let refusing_port = refusing.local_addr()?.port();
        // One socket gets all addresses of 127.0.0.0/8 only if it listens on every address; connections with other
        // networks are closed when they are accepted.
        let socket = TcpSocket::new_v4()?;
        socket.bind(any_port)?;
        let listener = socket.listen(BACKLOG)?;
        let port = listener.local_addr()?.port();

        let (stop, stopped) = watch::channel(false);
        let service = Service {
            hosts: hosts.clone(),
            seed: spec.seed,
            key_per_host: spec.key_per_host,
            config: Arc::new(config(host_key(spec.seed, Whose::Fleet))),
            changed: Arc::new(config(host_key(spec.seed, Whose::Changed))),
            make_config: config,
            client_key: Arc::new(client_key.public_key().clone()),
            script: spec.script,
            stop: stopped,
        };
        let service = Arc::new(service);
        let mut alone = HashMap::new();
        for host in &hosts {
            if matches!(host.fault, Some(FaultKind::Reboot(_))) {
                let any_port = SocketAddr::V4(SocketAddrV4::new(host::address(host.index), 0));
                let listener = bind(any_port)?.listen(BACKLOG_ALONE)?;
                alone.insert(host.index, listener.local_addr()?.port());
                let service = Arc::clone(&service);
                let host = Arc::clone(host);
                tokio::spawn(async move {
                    if let Err(error) = service.listen_alone(listener, Arc::clone(&host)).await {
                        tracing::warn!(host = %host.name, %error, "a host of the drill can't listen");
                    }
                });
            }
        }
        tokio::spawn(service.listen(listener));
        Ok(Self {
            hosts,
            port,
            seed: spec.seed,
            key_per_host: spec.key_per_host,
            client_key,
            refusing,
            refusing_port,
            alone,
            stop,
        })
    }

    /// The port of all hosts, except those that refuse connections or reboot.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name, address and port of each host.
    pub fn addresses(&self) -> impl Iterator<Item = (HostName, SocketAddrV4)> {
        self.hosts.iter().map(|host| {
            let port = if host.fault == Some(FaultKind::Refuse) {
                self.refusing_port
            } else {
                self.alone.get(&host.index).copied().unwrap_or(self.port)
            };
            let address = SocketAddrV4::new(host::address(host.index), port);
            (host.name.clone(), address)
        })
    }

    /// An INI inventory of the hosts, without the path of the client key.
    pub fn inventory(&self) -> String {
        let mut lines = String::new();
        for (name, address) in self.addresses() {
            // Writing to a string can't fail.
            let _ = writeln!(
                lines,
                "{name} ansible_host={} ansible_port={} ansible_user=drill",
                address.ip(),
                address.port()
            );
        }
        lines
    }

    /// The hosts' keys as a known_hosts file, with the former key of hosts whose key has changed.
    pub fn known_hosts(&self) -> Result<String, FleetError> {
        let text = |key: &PrivateKey| {
            key.public_key()
                .to_openssh()
                .map_err(|error| FleetError::Key(error.to_string()))
        };
        let fleet = text(&host_key(self.seed, Whose::Fleet))?;
        let mut lines = String::new();
        for (host, (_, address)) in self.hosts.iter().zip(self.addresses()) {
            let own = if self.key_per_host {
                Cow::Owned(text(&host_key(self.seed, Whose::Host(host.index)))?)
            } else {
                Cow::Borrowed(&fleet)
            };
            let _ = writeln!(lines, "[{}]:{} {own}", address.ip(), address.port());
        }
        Ok(lines)
    }

    /// The key that every host accepts for any user, as an OpenSSH private key file. It is created for this fleet and
    /// has no other use.
    pub fn client_key(&self) -> Result<String, FleetError> {
        self.client_key
            .to_openssh(LineEnding::LF)
            .map(|text| text.to_string())
            .map_err(|error| FleetError::Key(error.to_string()))
    }

    /// Removes a host's directory of durable work, as a cleaner of old files or a recreated disk would. Running work
    /// continues.
    pub fn wipe(&self, host: usize) {
        if let Some(host) = self.hosts.get(host) {
            host.kept.wipe();
        }
    }

    /// The fault of each host, and what happened to the host so far.
    pub fn report(&self) -> Vec<HostReport> {
        self.hosts.iter().map(|host| host.report()).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Fleet")
            .field("hosts", &self.hosts.len())
            .field("port", &self.port)
            .field("refusing", &self.refusing)
            .finish_non_exhaustive()
    }
}

/// Creates the hosts, with their faults.
fn hosts(spec: &FleetSpec) -> Result<Vec<Arc<Host>>, FleetError> {
    let width = spec.hosts.to_string().len().max(4);
    let names: Vec<HostName> = (1..=spec.hosts)
        .map(|number| HostName::from(format!("drill-{number:0width$}")))
        .collect();
    let mut faults: Vec<Option<FaultKind>> = vec![None; names.len()];
    // Named hosts first, so that they are not chosen randomly for another fault.
    for fault in &spec.faults {
        if let Targets::Hosts(wanted) = &fault.targets {
            for host in wanted {
                let free = names
                    .binary_search(host)
                    .ok()
                    .and_then(|index| faults.get_mut(index))
                    .filter(|fault| fault.is_none());
                let Some(free) = free else {
                    return Err(FleetError::NoSuchHost {
                        fault: fault.kind,
                        host: host.clone(),
                    });
                };
                *free = Some(fault.kind);
            }
        }
    }
    let mut healthy: Vec<usize> = (0..names.len())
        .filter(|index| faults[*index].is_none())
        .collect();
    Rng::with_seed(spec.seed).shuffle(&mut healthy);
    for fault in &spec.faults {
        if let Targets::Some(portion) = fault.targets {
            let wanted = match portion {
                reveille_pace::Portion::Count(count) => count,
                share @ reveille_pace::Portion::Share(_) => share.of(spec.hosts.into()),
            };
            let left = healthy.len();
            let chosen = usize::try_from(wanted)
                .ok()
                .and_then(|wanted| left.checked_sub(wanted))
                .ok_or(FleetError::TooFewHosts {
                    fault: fault.kind,
                    wanted,
                    left: left as u64,
                })?;
            for index in healthy.drain(chosen..) {
                faults[index] = Some(fault.kind);
            }
        }
    }
    let numbered = (0..).zip(names.into_iter().zip(faults));
    Ok(numbered
        .map(|(index, (name, fault))| {
            let (seed, latency, good) = (spec.seed, spec.latency, spec.good_commands);
            Arc::new(Host::new(name, index, fault, seed, latency, good))
        })
        .collect())
}

/// The cheapest handshake that clients accept, without delays.
fn config(key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed(IDENTIFICATION)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ]),
            key: Cow::Borrowed(&[Algorithm::Ed25519]),
            ..Preferred::default()
        },
        inactivity_timeout: None,
        ..Config::default()
    }
}
