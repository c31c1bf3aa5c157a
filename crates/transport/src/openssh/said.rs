//! What `ssh` says, in our classes. Its messages are English (`LC_ALL=C`), and have been the same for many years.

use reveille_account::{Class, Phase};
use reveille_text::harmless::line_up_to;

use crate::error::ConnectError;
use crate::target::Target;

/// Characters of its words that are shown.
const SHOWN: usize = 400;

/// What a message means. The first that is found counts.
const MEANINGS: &[(&str, Phase, Class)] = &[
    ("Could not resolve hostname", Phase::Resolve, Class::Dns),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        Phase::KeyExchange,
        Class::HostKeyMismatch,
    ),
    (
        "REVOKED HOST KEY DETECTED",
        Phase::KeyExchange,
        Class::HostKeyMismatch,
    ),
    (
        "Host key verification failed",
        Phase::KeyExchange,
        Class::HostKeyUnknown,
    ),
    (
        "Too many authentication failures",
        Phase::Authentication,
        Class::AuthFailed,
    ),
    ("Permission denied (", Phase::Authentication, Class::AuthFailed),
    ("Unable to negotiate", Phase::KeyExchange, Class::ProtocolError),
    ("administratively prohibited", Phase::Tcp, Class::ChannelRefused),
    (
        "Connection timed out during banner exchange",
        Phase::Banner,
        Class::HandshakeStalled,
    ),
    ("Connection refused", Phase::Tcp, Class::ConnectRefused),
    ("Connection timed out", Phase::Tcp, Class::ConnectTimeout),
    ("Operation timed out", Phase::Tcp, Class::ConnectTimeout),
    ("No route to host", Phase::Tcp, Class::ConnectTimeout),
    ("Network is unreachable", Phase::Tcp, Class::ConnectTimeout),
    ("Bad configuration option", Phase::Tcp, Class::ProtocolError),
    (
        "kex_exchange_identification",
        Phase::Banner,
        Class::SshInitiatedFailed,
    ),
    ("banner exchange", Phase::Banner, Class::SshInitiatedFailed),
    (
        "Connection closed by",
        Phase::KeyExchange,
        Class::SshInitiatedFailed,
    ),
    (
        "Connection reset by",
        Phase::KeyExchange,
        Class::SshInitiatedFailed,
    ),
    // The shell that starts it does not find it.
    ("exec: ", Phase::Tcp, Class::Internal),
];

/// A connection that did not come about.
pub(super) fn failure(said: &str, target: &Target) -> ConnectError {
    let (phase, class) = MEANINGS
        .iter()
        .find(|(words, ..)| said.contains(words))
        .map_or((Phase::Tcp, Class::SshInitiatedFailed), |(_, phase, class)| {
            (*phase, *class)
        });
    let words = last_words(said).unwrap_or_else(|| "it said nothing".to_owned());
    let offending = said
        .lines()
        .find(|line| line.contains(" key in ") && line.starts_with("Offending"))
        .map(|line| format!("{}; ", line.trim()))
        .unwrap_or_default();
    ConnectError {
        throttled: class == Class::SshInitiatedFailed && phase == Phase::Banner,
        ..ConnectError::new(
            phase,
            class,
            format!("ssh to {}: {offending}{words}", target.endpoint()),
        )
    }
}

/// Why a session was not opened on a connection that stands.
pub(super) fn refusal(said: &str) -> Option<String> {
    let line = said.lines().find(|line| {
        [
            "refused by peer",
            "open failed",
            "exec request failed",
            "mux_client_request_session",
        ]
        .iter()
        .any(|words| line.contains(words))
    })?;
    Some(format!(
        "the host refused to open a session: {}",
        line_up_to(line, SHOWN)
    ))
}

/// The last line that is not a notice.
pub(super) fn last_words(said: &str) -> Option<String> {
    said.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
        .map(|line| line_up_to(line, SHOWN))
}
