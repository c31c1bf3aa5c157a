//! Streams to services, and failures.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::stats::Kind;

/// A connection to an origin below HTTP, without or with TLS.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    pub(super) fn connecting(error: &io::Error, address: IpAddr, port: u16) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::TimedOut => Kind::ConnectTimeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Kind::Unreachable,
            _ => Self::stream_kind(error, Kind::Other),
        };
        Self::new(kind, format!("connecting to {address} port {port}: {error}"))
    }

    /// The kind of an error of a connection. `ended` is the kind of an unexpected end.
    pub(crate) fn stream_kind(error: &io::Error, ended: Kind) -> Kind {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Kind::Reset
            }
            io::ErrorKind::UnexpectedEof => ended,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Kind::Tester,
            _ => match error.raw_os_error() {
                // EMFILE, ENFILE and ENOBUFS are shortages of this machine.
                Some(24 | 23 | 105) => Kind::Tester,
                _ => Kind::Other,
            },
        }
    }
}
