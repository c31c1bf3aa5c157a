//! From an address to an authenticated session, phase by phase.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reveille_account::{Class, Phase, PhaseTimings};
use russh::Preferred;
use russh::client::{AuthResult, Config, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::ConnectError;
use crate::known_hosts::{HostKeyPolicy, HostKeyProblem, KnownHosts, Received};
use crate::session::Session;
use crate::target::{Deadlines, Target};
use crate::wire::{Switch, Wire};

/// Bytes a peer may send on a channel before we have read them. Together with the few messages that russh queues it
/// bounds what a flooding host costs.
const WINDOW: u32 = 256 * 1024;
/// Messages of a channel that russh queues before it stops reading the connection.
const CHANNEL_QUEUE: usize = 8;
/// Keys offered at most; sshd gives up after six by default.
const KEYS_OFFERED: usize = 5;

/// Makes sessions. Shared by all hosts of a run.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    deadlines: Deadlines,
    known_hosts: Arc<KnownHosts>,
}

/// An open byte stream to a host (or through its jump host) on which nothing has been said yet.
pub struct Dialed {
    stream: Box<dyn Duplex>,
    jump: Option<Box<Session>>,
    took: Duration,
}

/// A phase on its way, on the heap.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, ConnectError>> + Send + 'a>>;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

// === impl Client ===

impl Client {
    /// A client that checks host keys against `known_hosts`.
    pub fn new(deadlines: Deadlines, known_hosts: Arc<KnownHosts>) -> Self {
        let config = Config {
            client_id: russh::SshId::Standard(Cow::Borrowed(concat!(
                "SSH-2.0-Reveille_",
                env!("CARGO_PKG_VERSION")
            ))),
            window_size: WINDOW,
            channel_buffer_size: CHANNEL_QUEUE,
            keepalive_interval: Some(deadlines.keep_alive),
            keepalive_max: 3,
            nodelay: true,
            ..Config::default()
        };
        Self {
            config: Arc::new(config),
            deadlines,
            known_hosts,
        }
    }

    /// The deadlines in force.
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Opens the byte stream to `target`; through its jump host, if it has one, which is connected to first.
    pub fn dial<'a>(&'a self, target: &'a Target) -> Boxed<'a, Dialed> {
        Box::pin(async move {
            let started = Instant::now();
            let Some(jump) = &target.jump else {
                let stream = self.dial_tcp(target).await?;
                return Ok(Dialed {
                    stream: Box::new(stream),
                    jump: None,
                    took: started.elapsed(),
                });
            };
            let through = |error: ConnectError| ConnectError {
                message: format!("jump host {}: {}", jump.endpoint(), error.message),
                ..error
            };
            let dialed = self.dial(jump).await.map_err(through)?;
            let (session, _) = self.handshake(jump, dialed).await.map_err(through)?;
            let stream = session
                .forward(&target.address, target.port, self.deadlines.connect)
                .await
                .map_err(through)?;
            Ok(Dialed {
                stream: Box::new(stream),
                jump: Some(Box::new(session)),
                took: started.elapsed(),
            })
        })
    }

    /// Identification, key exchange, host key, authentication.
    pub fn handshake<'a>(&'a self, target: &'a Target, dialed: Dialed) -> Boxed<'a, (Session, PhaseTimings)> {
        // Boxed, so that the large futures of a handshake are gone while a session is merely held.
        Box::pin(self.handshake_phases(target, dialed))
    }

    async fn dial_tcp(&self, target: &Target) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolve(target).await?;
        let dialing = async {
            let mut last = None;
            for address in &addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = Some((address, error)),
                }
            }
            Err(last)
        };
        let stream = match timeout(self.deadlines.connect, dialing).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(Some((address, error)))) => return Err(tcp_error(address, &error)),
            Ok(Err(None)) => {
                return Err(ConnectError::new(
                    Phase::Resolve,
                    Class::Dns,
                    format!("{} has no address", target.address),
                ));
            }
            Err(_) => {
                let message = format!(
                    "no answer from {} within {:?}",
                    target.endpoint(),
                    self.deadlines.connect
                );
                return Err(ConnectError::new(Phase::Tcp, Class::ConnectTimeout, message));
            }
        };
        // Small packets go both ways; waiting to fill them costs a round trip each.
        stream
            .set_nodelay(true)
            .map_err(|error| ConnectError::new(Phase::Tcp, Class::SshInitiatedFailed, error.to_string()))?;
        Ok(stream)
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = target.address.parse() {
            return Ok(vec![SocketAddr::new(ip, target.port)]);
        }
        let failed = |why: String| {
            ConnectError::new(
                Phase::Resolve,
                Class::Dns,
                format!("can't resolve {}: {why}", target.address),
            )
        };
        match timeout(
            self.deadlines.resolve,
            tokio::net::lookup_host((target.address.as_str(), target.port)),
        )
        .await
        {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {:?}", self.deadlines.resolve))),
        }
    }

    async fn handshake_phases(
        &self,
        target: &Target,
        dialed: Dialed,
    ) -> Result<(Session, PhaseTimings), ConnectError> {
        let Dialed { stream, jump, took } = dialed;
        let started = Instant::now();
        let (wire, switch) = Wire::new(stream);
        let guard = CutOnDrop(Some(switch.clone()));
        let report = Arc::new(Report::default());
        let handler = Handler {
            address: target.address.clone(),
            port: target.port,
            policy: target.host_keys,
            known_hosts: Arc::clone(&self.known_hosts),
            report: Arc::clone(&report),
        };
        let config = self.config_for(target);
        let whole = self.deadlines.banner + self.deadlines.key_exchange;
        let connecting = russh::client::connect_stream(config, wire, handler);
        let mut handle = tokio::select! {
            result = timeout(whole, connecting) => match result {
                Ok(Ok(handle)) => handle,
                Ok(Err(error)) => return Err(handshake_error(error, &switch)),
                Err(_) => return Err(stalled(&switch, whole)),
            },
            () = self.no_banner(&switch) => return Err(stalled(&switch, self.deadlines.banner)),
        };
        let exchanged = Instant::now();
        let banner_at = switch.introduction().banner_at.unwrap_or(exchanged);
        if let Ok(result) = timeout(
            self.deadlines.authentication,
            self.authenticate(&mut handle, target, &report),
        )
        .await
        {
            result?;
        } else {
            let message = format!(
                "authentication did not finish within {:?}",
                self.deadlines.authentication
            );
            return Err(ConnectError::new(
                Phase::Authentication,
                Class::AuthStalled,
                message,
            ));
        }
        let phases = PhaseTimings {
            tcp_ms: millis(took),
            banner_ms: millis(banner_at.saturating_duration_since(started)),
            key_exchange_ms: millis(exchanged.saturating_duration_since(banner_at)),
            authentication_ms: millis(exchanged.elapsed()),
        };
        guard.disarm();
        Ok((
            Session::new(handle, switch, report, self.deadlines.channel, jump),
            phases,
        ))
    }

    /// Ends when the banner's deadline passes without a banner; never when it comes.
    async fn no_banner(&self, switch: &Switch) {
        tokio::time::sleep(self.deadlines.banner).await;
        if switch.introduction().banner_at.is_some() {
            std::future::pending::<()>().await;
        }
    }

    /// The shared configuration, or one that asks first for the kinds of key that are known for this host.
    fn config_for(&self, target: &Target) -> Arc<Config> {
        let known = match target.host_keys {
            HostKeyPolicy::Off => Vec::new(),
            _ => self.known_hosts.algorithms(&target.address, target.port),
        };
        let first = self.config.preferred.key.first().map(Algorithm::as_str);
        if known.is_empty() || known.iter().any(|algorithm| Some(algorithm.as_str()) == first) {
            return Arc::clone(&self.config);
        }
        let is_known = |algorithm: &Algorithm| {
            known
                .iter()
                .any(|name| name == algorithm.as_str() || (name == "ssh-rsa" && algorithm.clone().is_rsa()))
        };
        let (mut keys, others): (Vec<_>, Vec<_>) = self
            .config
            .preferred
            .key
            .iter()
            .cloned()
            .partition(|algorithm| is_known(algorithm));
        keys.extend(others);
        let preferred = Preferred {
            key: Cow::Owned(keys),
            ..self.config.preferred.clone()
        };
        let config = &self.config;
        Arc::new(Config {
            client_id: russh::SshId::Standard(Cow::Borrowed(concat!(
                "SSH-2.0-Reveille_",
                env!("CARGO_PKG_VERSION")
            ))),
            window_size: config.window_size,
            channel_buffer_size: config.channel_buffer_size,
            keepalive_interval: config.keepalive_interval,
            keepalive_max: config.keepalive_max,
            nodelay: true,
            preferred,
            ..Config::default()
        })
    }

    async fn authenticate(
        &self,
        handle: &mut Handle<Handler>,
        target: &Target,
        report: &Report,
    ) -> Result<(), ConnectError> {
        let failed = |message: String| ConnectError::new(Phase::Authentication, Class::AuthFailed, message);
        if target.identities.is_empty() {
            return Err(failed(format!(
                "no key to offer for {}; name one with --key or start an agent",
                target.user
            )));
        }
        let mut offered = 0;
        let mut methods = String::new();
        for key in &target.identities.keys {
            if offered == KEYS_OFFERED {
                break;
            }
            offered += 1;
            let hash = if key.algorithm().is_rsa() {
                rsa_hash(handle).await
            } else {
                None
            };
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            let result = handle.authenticate_publickey(target.user.as_str(), key).await;
            if accepted(
                handle,
                result.map_err(|error| error.to_string()),
                report,
                &mut methods,
            )? {
                return Ok(());
            }
        }
        if let Some(socket) = &target.identities.agent {
            let unusable =
                |error: russh::keys::Error| failed(format!("the SSH agent at {}: {error}", socket.display()));
            let mut agent = AgentClient::connect_uds(socket).await.map_err(unusable)?;
            for identity in agent.request_identities().await.map_err(unusable)? {
                let AgentIdentity::PublicKey { key, .. } = identity else {
                    continue;
                };
                if target
                    .identities
                    .keys
                    .iter()
                    .any(|own| own.public_key().key_data() == key.key_data())
                {
                    continue;
                }
                if offered == KEYS_OFFERED {
                    break;
                }
                offered += 1;
                let hash = if key.algorithm().is_rsa() {
                    rsa_hash(handle).await
                } else {
                    None
                };
                let result = handle
                    .authenticate_publickey_with(target.user.as_str(), key, hash, &mut agent)
                    .await;
                if accepted(
                    handle,
                    result.map_err(|error| error.to_string()),
                    report,
                    &mut methods,
                )? {
                    return Ok(());
                }
            }
        }
        let keys = if offered == 1 { "the key" } else { "every key" };
        let accepts = if methods.is_empty() {
            String::new()
        } else {
            format!("; it accepts {methods}")
        };
        Err(failed(format!(
            "{} refused {keys} offered for {} ({offered} tried){accepts}",
            target.endpoint(),
            target.user
        )))
    }
}

/// What one authentication try came to. A closed connection is only a refusal if the host said so.
fn accepted(
    handle: &Handle<Handler>,
    result: Result<AuthResult, String>,
    report: &Report,
    methods: &mut String,
) -> Result<bool, ConnectError> {
    match result {
        Ok(AuthResult::Success) => return Ok(true),
        Ok(AuthResult::Failure {
            remaining_methods, ..
        }) if !handle.is_closed() => {
            *methods = remaining_methods
                .iter()
                .map(Into::<&str>::into)
                .collect::<Vec<_>>()
                .join(", ");
            return Ok(false);
        }
        Err(error) if !handle.is_closed() => {
            return Err(ConnectError::new(Phase::Authentication, Class::AuthFailed, error));
        }
        _ => {}
    }
    Err(match report.said() {
        Some(said) => ConnectError::new(
            Phase::Authentication,
            Class::AuthFailed,
            format!("the host ended authentication: {said}"),
        ),
        None => ConnectError::new(
            Phase::Authentication,
            Class::SshInitiatedFailed,
            "the connection was closed during authentication",
        ),
    })
}

async fn rsa_hash(handle: &Handle<Handler>) -> Option<HashAlg> {
    // A host that does not say what it takes is asked for SHA-512, as OpenSSH does.
    handle
        .best_supported_rsa_hash()
        .await
        .ok()
        .flatten()
        .unwrap_or(Some(HashAlg::Sha512))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn tcp_error(address: &SocketAddr, error: &io::Error) -> ConnectError {
    let class = match error.kind() {
        io::ErrorKind::ConnectionRefused => Class::ConnectRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Class::SshInitiatedFailed,
        _ => Class::ConnectTimeout,
    };
    let message = match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{address} refused the connection"),
        _ => format!("can't connect to {address}: {error}"),
    };
    ConnectError::new(Phase::Tcp, class, message)
}

fn stalled(switch: &Switch, after: Duration) -> ConnectError {
    if switch.introduction().banner_at.is_some() {
        let message = format!("key exchange did not finish within {after:?}");
        ConnectError::new(Phase::KeyExchange, Class::HandshakeStalled, message)
    } else {
        let message = format!("no SSH banner within {after:?}{}", heard(switch));
        ConnectError::new(Phase::Banner, Class::HandshakeStalled, message)
    }
}

/// What the peer said instead of a banner, made safe for a screen.
fn heard(switch: &Switch) -> String {
    let bytes = switch.introduction().bytes;
    if bytes.is_empty() {
        return String::new();
    }
    let shown: String = String::from_utf8_lossy(&bytes)
        .chars()
        .take(120)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!(" (received: {:?})", shown.trim_end())
}

fn handshake_error(error: HandlerError, switch: &Switch) -> ConnectError {
    let introduced = switch.introduction().banner_at.is_some();
    let phase = if introduced {
        Phase::KeyExchange
    } else {
        Phase::Banner
    };
    let closed = |message: String| {
        if !introduced && speaks_otherwise(&switch.introduction().bytes) {
            return ConnectError::new(phase, Class::ProtocolError, message);
        }
        ConnectError {
            // Closed before a word: most often the host's limit on unauthenticated connections.
            throttled: !introduced,
            ..ConnectError::new(phase, Class::SshInitiatedFailed, message)
        }
    };
    match error {
        HandlerError::HostKey(problem) => {
            let class = match problem {
                HostKeyProblem::Unknown { .. } => Class::HostKeyUnknown,
                HostKeyProblem::NotRecorded(_) => Class::Internal,
                HostKeyProblem::Mismatch { .. } | HostKeyProblem::Revoked { .. } => Class::HostKeyMismatch,
            };
            ConnectError::new(Phase::KeyExchange, class, problem.to_string())
        }
        HandlerError::Ssh(russh::Error::Disconnect | russh::Error::HUP) => closed(format!(
            "the connection was closed during {}{}",
            phase.as_str(),
            heard_before(introduced, switch)
        )),
        HandlerError::Ssh(russh::Error::IO(error)) if error.kind() == io::ErrorKind::InvalidData => {
            ConnectError::new(phase, Class::ProtocolError, format!("{error}{}", heard(switch)))
        }
        HandlerError::Ssh(russh::Error::IO(error)) => closed(format!(
            "{} during {}{}",
            error,
            phase.as_str(),
            heard_before(introduced, switch)
        )),
        HandlerError::Ssh(error) => {
            let seen = heard_before(introduced, switch);
            ConnectError::new(phase, Class::ProtocolError, format!("{error}{seen}"))
        }
    }
}

/// Whether text that came instead of a banner is another service's, not an SSH server's reason to close: sshd says
/// "Exceeded MaxStartups", or "Not allowed at this time" to those it penalises.
fn speaks_otherwise(bytes: &[u8]) -> bool {
    let said = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let reasons = ["ssh", "maxstartups", "not allowed", "too many", "refused"];
    !said.trim().is_empty() && !reasons.iter().any(|reason| said.contains(reason))
}

fn heard_before(introduced: bool, switch: &Switch) -> String {
    if introduced { String::new() } else { heard(switch) }
}

/// Cuts the wire unless the handshake went well.
struct CutOnDrop(Option<Switch>);

impl CutOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(switch) = &self.0 {
            switch.cut();
        }
    }
}

/// What russh's task hears and we want to know later.
#[derive(Debug, Default)]
pub(crate) struct Report {
    said: Mutex<Option<String>>,
}

impl Report {
    /// The host's own words when it ended the connection, or why russh did.
    pub(crate) fn said(&self) -> Option<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, words: String) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
    }
}

pub(crate) struct Handler {
    address: String,
    port: u16,
    policy: HostKeyPolicy,
    known_hosts: Arc<KnownHosts>,
    report: Arc<Report>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error(transparent)]
    HostKey(#[from] HostKeyProblem),
}

impl russh::client::Handler for Handler {
    type Error = HandlerError;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, HandlerError> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = presented else {
            return Ok(false);
        };
        let received = Received {
            algorithm: key.algorithm().as_str().to_owned(),
            blob: key.to_bytes().map_err(|error| HandlerError::Ssh(error.into()))?,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        };
        self.known_hosts
            .check(&self.address, self.port, received, self.policy)
            .await?;
        Ok(true)
    }

    async fn disconnected(
        &mut self,
        reason: russh::client::DisconnectReason<HandlerError>,
    ) -> Result<(), HandlerError> {
        match reason {
            russh::client::DisconnectReason::ReceivedDisconnect(info) => {
                let words: String = info
                    .message
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                if !words.is_empty() {
                    self.report.note(words);
                }
            }
            russh::client::DisconnectReason::Error(HandlerError::Ssh(russh::Error::KeepaliveTimeout)) => {
                self.report
                    .note("the host stopped answering keep-alives".to_owned());
            }
            // A plain end of the stream says nothing that the caller does not know.
            russh::client::DisconnectReason::Error(_) => {}
        }
        Ok(())
    }
}
