//! Maps messages of `ssh` to our classes. They are in English (`LC_ALL=C`) and have been stable for many years.

use reveille_account::{Class, Phase};
use reveille_text::harmless::line_up_to;

use crate::error::ConnectError;
use crate::target::Target;

/// How much of its messages to show, in characters.
const SHOWN: usize = 400;

/// The meanings of messages; the first match counts.
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
    // The shell did not find the program.
    ("exec: ", Phase::Tcp, Class::Internal),
];

/// A failed connection.
pub(super) fn failure(said: &str, target: &Target) -> ConnectError {
    let (phase, class) = MEANINGS
        .iter()
        .find(|(words, ..)| said.contains(words))
        .map_or((Phase::Tcp, Class::SshInitiatedFailed), |(_, phase, class)| {
            (*phase, *class)
        });
    let words = last_words(said).unwrap_or_else(|| "no message".to_owned());
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

/// Why an existing connection refused a session.
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
