//! The client's side of HTTP/1.1.
//!
//! A load tester has thousands of connections that mostly wait. Here such a connection is a socket and two flags: what is
//! read goes through one buffer of the shard, and only what an answer leaves unfinished is kept with its connection.
//!
//! ```text
//!  exchange ── head, body ──► stream
//!     ▲                         │ shared buffer
//!     └── head, content ◄── decoder: head ──► body (length | chunked | to the end) ──► done
//! ```
//!
//! The [`Decoder`] knows no sockets: bytes go in, in any pieces, and an answer, a mistake or nothing yet comes out. It is
//! strict: what other readers might understand in another way is a failure of the service.

mod body;
mod decoder;
mod exchange;
mod head;

pub(crate) use self::exchange::{Buffers, Connection};
pub(crate) use self::head::Request;

/// Why something is not an answer in HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(String);

impl Wrong {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
