//! Maps messages of `ssh` to our classes. They are in English (`LC_ALL=C`) and have been stable for many years.

use reveille_account::Class::{
    self, AuthFailed, ChannelRefused, ConnectRefused, ConnectTimeout, Dns, HandshakeStalled, HostKeyMismatch,
    HostKeyUnknown, Internal, ProtocolError, SshInitiatedFailed,
};
use reveille_account::Phase::{self, Authentication, Banner, KeyExchange, Resolve, Tcp};
use reveille_text::harmless::line_up_to;

use crate::error::ConnectError;
use crate::target::Target;

/// How much of its messages to show, in characters.
const SHOWN: usize = 400;

/// The meanings of messages; the first match counts.
const MEANINGS: &[(&str, Phase, Class)] = &[
    ("Could not resolve hostname", Resolve, Dns),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        KeyExchange,
        HostKeyMismatch,
    ),
    ("REVOKED HOST KEY DETECTED", KeyExchange, HostKeyMismatch),
    ("Host key verification failed", KeyExchange, HostKeyUnknown),
    ("Too many authentication failures", Authentication, AuthFailed),
    ("Permission denied (", Authentication, AuthFailed),
    ("Unable to negotiate", KeyExchange, ProtocolError),
    ("administratively prohibited", Tcp, ChannelRefused),
    (
        "Connection timed out during banner exchange",
        Banner,
        HandshakeStalled,
    ),
    ("Connection refused", Tcp, ConnectRefused),
    ("Connection timed out", Tcp, ConnectTimeout),
    ("Operation timed out", Tcp, ConnectTimeout),
    ("No route to host", Tcp, ConnectTimeout),
    ("Network is unreachable", Tcp, ConnectTimeout),
    ("Bad configuration option", Tcp, ProtocolError),
    ("kex_exchange_identification", Banner, SshInitiatedFailed),
    ("banner exchange", Banner, SshInitiatedFailed),
    ("Connection closed by", KeyExchange, SshInitiatedFailed),
    ("Connection reset by", KeyExchange, SshInitiatedFailed),
    // The shell did not find the program.
    ("exec: ", Tcp, Internal),
];

/// A failed connection.
pub(super) fn failure(said: &str, target: &Target) -> ConnectError {
    let (phase, class) = MEANINGS
        .iter()
        .find(|(words, ..)| said.contains(words))
        .map_or((Tcp, SshInitiatedFailed), |(_, phase, class)| (*phase, *class));
    let words = last_words(said).unwrap_or_else(|| "no message".to_owned());
    let offending = said
        .lines()
        .find(|line| line.contains(" key in ") && line.starts_with("Offending"))
        .map(|line| format!("{}; ", line.trim()))
        .unwrap_or_default();
    ConnectError {
        throttled: class == SshInitiatedFailed && phase == Banner,
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
