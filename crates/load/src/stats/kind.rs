//! The kinds of failure; the list is closed, so that a broken service can't fill the memory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The host's name has no address.
    Resolve,
    /// Nobody listens.
    Refused,
    /// No way leads there.
    Unreachable,
    /// No connection within its time.
    ConnectTimeout,
    /// TLS could not be agreed on, or the certificate is not trusted.
    Tls,
    /// The connection was reset.
    Reset,
    /// The connection was closed before an answer came.
    Closed,
    /// No answer began within the time.
    Timeout,
    /// An answer began and did not end within the time.
    BodyTimeout,
    /// What came is not HTTP.
    Protocol,
    /// The connection ended in the middle of an answer.
    Incomplete,
    /// The answer is longer than `max_body`.
    TooLarge,
    /// More redirects than allowed, or one that leads nowhere.
    Redirect,
    /// The status is not the expected one.
    Status,
    /// A check failed.
    Check,
    /// A value to capture was not there.
    Capture,
    /// A template has no value.
    Template,
    /// A script failed.
    Script,
    /// The tester itself is out of descriptors, ports or memory.
    Tester,
    /// Anything else.
    Other,
}

impl Kind {
    /// The name in machine output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Resolve => "resolve",
            Kind::Refused => "refused",
            Kind::Unreachable => "unreachable",
            Kind::ConnectTimeout => "connect_timeout",
            Kind::Tls => "tls",
            Kind::Reset => "reset",
            Kind::Closed => "closed",
            Kind::Timeout => "timeout",
            Kind::BodyTimeout => "body_timeout",
            Kind::Protocol => "protocol",
            Kind::Incomplete => "incomplete",
            Kind::TooLarge => "too_large",
            Kind::Redirect => "redirect",
            Kind::Status => "status",
            Kind::Check => "check",
            Kind::Capture => "capture",
            Kind::Template => "template",
            Kind::Script => "script",
            Kind::Tester => "tester",
            Kind::Other => "other",
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Resolve => "the host's name has no address",
            Kind::Refused => "connection refused: nobody listens",
            Kind::Unreachable => "no way leads to the host",
            Kind::ConnectTimeout => "no connection within its time",
            Kind::Tls => "TLS failed",
            Kind::Reset => "connection reset",
            Kind::Closed => "connection closed before an answer",
            Kind::Timeout => "no answer within the time",
            Kind::BodyTimeout => "the answer did not end within the time",
            Kind::Protocol => "the answer is not HTTP",
            Kind::Incomplete => "the connection ended in the middle of the answer",
            Kind::TooLarge => "the answer is longer than `max_body`",
            Kind::Redirect => "too many redirects, or one that leads nowhere",
            Kind::Status => "unexpected status",
            Kind::Check => "a check failed",
            Kind::Capture => "a value to capture was not there",
            Kind::Template => "a template has no value",
            Kind::Script => "a script failed",
            Kind::Tester => "the tester is out of descriptors, ports or memory",
            Kind::Other => "another failure",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
