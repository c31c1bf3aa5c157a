//! Connects to targets, over any transport.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use reveille_account::{HostKeyPolicy, PhaseTimings};

use crate::error::ConnectError;
use crate::known_hosts::{KnownHosts, KnownName};
use crate::local::Local;
use crate::native::config::Configs;
use crate::native::handshake::{Meeting, Opened};
use crate::native::{Duplex, dial};
use crate::openssh::Master;
use crate::session::{Link, Session};
use crate::target::{Deadlines, OpenSsh, Target, Transport};

/// Opens sessions. All hosts of a run share it.
#[derive(Debug)]
pub struct Client {
    configs: Configs,
    deadlines: Deadlines,
    known_hosts: Arc<KnownHosts>,
    #[cfg(feature = "memory")]
    network: Option<Arc<dyn crate::memory::Network>>,
}

/// An open, unused byte stream to a host (possibly through its jump host), or its substitute.
pub struct Dialed(Way);

enum Way {
    Native(Opened),
    OpenSsh(Arc<OpenSsh>),
    Local,
    #[cfg(feature = "memory")]
    Memory(crate::memory::Held),
}

/// A boxed phase of connecting.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, ConnectError>> + Send + 'a>>;

// === impl Client ===

impl Client {
    /// A client that checks host keys against `known_hosts`.
    pub fn new(deadlines: Deadlines, known_hosts: Arc<KnownHosts>) -> Self {
        Self {
            configs: Configs::new(deadlines),
            deadlines,
            known_hosts,
            #[cfg(feature = "memory")]
            network: None,
        }
    }

    /// A client whose sessions stay in this process, whatever transport a target sets.
    #[cfg(feature = "memory")]
    pub fn in_memory(deadlines: Deadlines, network: Arc<dyn crate::memory::Network>) -> Self {
        Self {
            network: Some(network),
            ..Self::new(deadlines, Arc::default())
        }
    }

    /// The client's deadlines.
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Opens the byte stream to `target`; connects to its jump host first, if it has one.
    pub fn dial<'a>(&'a self, target: &'a Target) -> Boxed<'a, Dialed> {
        Box::pin(async move {
            #[cfg(feature = "memory")]
            if let Some(network) = &self.network {
                let connection = network.dial(target).await?;
                return Ok(Dialed(Way::Memory(crate::memory::Held(connection))));
            }
            let started = Instant::now();
            let (stream, jump): (Box<dyn Duplex>, _) = match (&target.transport, &target.jump) {
                (Transport::Local, _) => return Ok(Dialed(Way::Local)),
                // `ssh` connects by itself, through its own jump hosts.
                (Transport::OpenSsh(how), _) => return Ok(Dialed(Way::OpenSsh(Arc::clone(how)))),
                (Transport::Native, None) => (Box::new(dial::tcp(&self.deadlines, target).await?), None),
                (Transport::Native, Some(jump)) => {
                    let (stream, session) = self.through(jump, target).await?;
                    (stream, Some(Box::new(session)))
                }
            };
            Ok(Dialed(Way::Native(Opened {
                stream,
                jump,
                took: started.elapsed(),
            })))
        })
    }

    /// Identification, key exchange, host key, authentication.
    pub fn handshake<'a>(&'a self, target: &'a Target, dialed: Dialed) -> Boxed<'a, (Session, PhaseTimings)> {
        // Boxed, so that the large futures of a handshake are freed before the session is held.
        match dialed.0 {
            Way::Native(opened) => Box::pin(async move {
                let (native, phases) = self.meeting(target).shake_hands(target, opened).await?;
                Ok((self.session(Link::Native(native)), phases))
            }),
            Way::OpenSsh(how) => Box::pin(async move {
                let (master, phases) =
                    Master::start(&how, target, &self.known_hosts, &self.deadlines).await?;
                Ok((self.session(Link::OpenSsh(master)), phases))
            }),
            #[cfg(feature = "memory")]
            Way::Memory(held) => Box::pin(async move {
                if let Some(network) = &self.network {
                    network.handshake(target, &held.0).await?;
                }
                Ok((self.session(Link::Memory(held)), PhaseTimings::default()))
            }),
            Way::Local => Box::pin(async move {
                let link = Link::Local(Local::default());
                Ok((self.session(link), PhaseTimings::default()))
            }),
        }
    }

    /// Opens a stream to `target` through `jump`, and returns it with the jump host's session.
    async fn through(
        &self,
        jump: &Target,
        target: &Target,
    ) -> Result<(Box<dyn Duplex>, Session), ConnectError> {
        let through = |error: ConnectError| ConnectError {
            message: format!("jump host {}: {}", jump.endpoint(), error.message),
            ..error
        };
        let dialed = self.dial(jump).await.map_err(through)?;
        let (session, _) = self.handshake(jump, dialed).await.map_err(through)?;
        let within = target.connect_within(&self.deadlines);
        let forwarding = session.forward(&target.address, target.port, within);
        let stream = forwarding.await.map_err(through)?;
        Ok((stream, session))
    }

    fn meeting<'a>(&'a self, target: &'a Target) -> Meeting<'a> {
        let known_hosts = target.known_hosts.as_ref().unwrap_or(&self.known_hosts);
        let name = KnownName::new(&target.address, target.port, target.host_key_alias.as_deref());
        let config = match target.host_keys {
            HostKeyPolicy::Off => self.configs.get(Vec::new(), false, target.keep_alive),
            _ => self.configs.get(
                known_hosts.algorithms(&name),
                known_hosts.has_authority(&name),
                target.keep_alive,
            ),
        };
        Meeting {
            config,
            deadlines: &self.deadlines,
            known_hosts,
            name,
        }
    }

    fn session(&self, link: Link) -> Session {
        Session::new(link, self.deadlines.channel)
    }
}
