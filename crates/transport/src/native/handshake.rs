//! Identification, key exchange, host key, authentication.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use reveille_account::{Class, Phase, PhaseTimings};
use reveille_text::duration;
use reveille_text::harmless::line_up_to;
use russh::client::Config;
use tokio::time::timeout;

use super::authenticate::authenticate;
use super::handler::{Handler, HandlerError, Report};
use super::{Duplex, Guard, Native};
use crate::error::ConnectError;
use crate::known_hosts::{HostKeyProblem, KnownHosts, KnownName};
use crate::session::Session;
use crate::target::{Deadlines, Target};
use crate::wire::{Switch, Wire};

/// How much of a host's list of algorithms messages show, in characters.
const OFFERS_LIMIT: usize = 400;
/// How much of the text in place of a banner messages show, in characters.
const HEARD_LIMIT: usize = 120;

/// A stream for a handshake.
pub(crate) struct Opened {
    pub(crate) stream: Box<dyn Duplex>,
    pub(crate) jump: Option<Box<Session>>,
    pub(crate) took: Duration,
}

/// The settings for a handshake.
pub(crate) struct Meeting<'a> {
    pub(crate) config: Arc<Config>,
    pub(crate) deadlines: &'a Deadlines,
    pub(crate) known_hosts: &'a Arc<KnownHosts>,
    pub(crate) name: KnownName,
}

impl Meeting<'_> {
    /// Turns an open stream into a connection.
    pub(crate) async fn shake_hands(
        self,
        target: &Target,
        opened: Opened,
    ) -> Result<(Native, PhaseTimings), ConnectError> {
        let Opened { stream, jump, took } = opened;
        let started = Instant::now();
        let (wire, switch) = Wire::new(stream);
        // Also cuts the wire if the handshake fails.
        let guard = Guard(switch.clone());
        let report = Arc::new(Report::default());
        let handler = Handler {
            name: self.name.clone(),
            policy: target.host_keys,
            known_hosts: Arc::clone(self.known_hosts),
            report: Arc::clone(&report),
        };
        let whole = self.deadlines.banner + self.deadlines.key_exchange;
        let connecting = russh::client::connect_stream(Arc::clone(&self.config), wire, handler);
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
        let within = self.deadlines.authentication;
        let authenticating = authenticate(&mut handle, target, &report);
        timeout(within, authenticating).await.unwrap_or_else(|_| {
            Err(ConnectError::new(
                Phase::Authentication,
                Class::AuthStalled,
                format!("authentication did not finish within {}", duration::shown(within)),
            ))
        })?;
        let phases = PhaseTimings {
            tcp_ms: millis(took),
            banner_ms: millis(banner_at.saturating_duration_since(started)),
            key_exchange_ms: millis(exchanged.saturating_duration_since(banner_at)),
            authentication_ms: millis(exchanged.elapsed()),
        };
        let native = Native {
            _guard: guard,
            handle,
            keeps_back: report.keeps_passwords_back(target),
            report,
            jump,
            used: AtomicBool::new(false),
        };
        Ok((native, phases))
    }

    /// Ends if the banner's deadline passes without a banner.
    async fn no_banner(&self, switch: &Switch) {
        tokio::time::sleep(self.deadlines.banner).await;
        if switch.introduction().banner_at.is_some() {
            std::future::pending::<()>().await;
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn stalled(switch: &Switch, after: Duration) -> ConnectError {
    if switch.introduction().banner_at.is_some() {
        let message = format!("key exchange did not finish within {}", duration::shown(after));
        ConnectError::new(Phase::KeyExchange, Class::HandshakeStalled, message)
    } else {
        let message = format!("no SSH banner within {}{}", duration::shown(after), heard(switch));
        ConnectError::new(Phase::Banner, Class::HandshakeStalled, message)
    }
}

/// The peer's text in place of a banner, safe to show.
fn heard(switch: &Switch) -> String {
    let bytes = switch.introduction().bytes;
    if bytes.is_empty() {
        return String::new();
    }
    let shown = line_up_to(&String::from_utf8_lossy(&bytes), HEARD_LIMIT);
    format!(" (received: {shown:?})")
}

fn handshake_error(error: HandlerError, switch: &Switch) -> ConnectError {
    let introduced = switch.introduction().banner_at.is_some();
    let (phase, seen) = if introduced {
        (Phase::KeyExchange, String::new())
    } else {
        (Phase::Banner, heard(switch))
    };
    let closed = |message: String| {
        if !introduced && speaks_otherwise(&switch.introduction().bytes) {
            return ConnectError::new(phase, Class::ProtocolError, message);
        }
        ConnectError {
            // Closed before the banner: most often the host's limit on unauthenticated connections.
            throttled: !introduced,
            ..ConnectError::new(phase, Class::SshInitiatedFailed, message)
        }
    };
    match error {
        HandlerError::HostKey(problem) => {
            let class = match problem {
                HostKeyProblem::Unknown { .. } => Class::HostKeyUnknown,
                HostKeyProblem::NotRecorded(_) => Class::Internal,
                HostKeyProblem::Mismatch { .. }
                | HostKeyProblem::Revoked { .. }
                | HostKeyProblem::Certificate { .. } => Class::HostKeyMismatch,
            };
            ConnectError::new(Phase::KeyExchange, class, problem.to_string())
        }
        HandlerError::Ssh(russh::Error::Disconnect | russh::Error::HUP) => closed(format!(
            "the connection was closed during {}{seen}",
            phase.as_str()
        )),
        HandlerError::Ssh(russh::Error::IO(error)) if error.kind() == io::ErrorKind::InvalidData => {
            ConnectError::new(phase, Class::ProtocolError, format!("{error}{}", heard(switch)))
        }
        HandlerError::Ssh(russh::Error::IO(error)) => {
            closed(format!("{error} during {}{seen}", phase.as_str()))
        }
        HandlerError::Ssh(russh::Error::NoCommonAlgo { kind, theirs, .. }) => {
            let what = match kind {
                russh::AlgorithmKind::Kex => "key exchange",
                russh::AlgorithmKind::Key => "host key algorithm",
                russh::AlgorithmKind::Cipher => "cipher",
                russh::AlgorithmKind::Compression => "compression",
                russh::AlgorithmKind::Mac => "MAC",
            };
            let offers = line_up_to(&theirs.join(", "), OFFERS_LIMIT);
            let message = format!("no {what} in common; the host offers only {offers}");
            ConnectError::new(phase, Class::ProtocolError, message)
        }
        HandlerError::Ssh(error) => ConnectError::new(phase, Class::ProtocolError, format!("{error}{seen}")),
    }
}

/// Whether the text in place of a banner comes from another service rather than from sshd, which reports "Exceeded
/// MaxStartups", or "Not allowed at this time" for its penalties.
fn speaks_otherwise(bytes: &[u8]) -> bool {
    let said = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let reasons = ["ssh", "maxstartups", "not allowed", "too many", "refused"];
    !said.trim().is_empty() && !reasons.iter().any(|reason| said.contains(reason))
}
