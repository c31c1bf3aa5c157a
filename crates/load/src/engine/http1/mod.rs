//! The client side of HTTP/1.1.
//!
//! A load tester has thousands of connections that mostly wait. Here such a connection is a socket: everything is read
//! through one buffer of the shard, and only the beginning of an unfinished head is kept.
//!
//! ```text
//!  exchange ── head, body ──► stream
//!     ▲                         │ shared buffer
//!     └── head, content ◄── decoder: head ──► body (length | chunked | to the end) ──► done
//! ```
//!
//! The [`Decoder`] uses no sockets: it takes bytes in any pieces and returns an answer, an error, or nothing yet. It is
//! strict: an answer that others might read differently is a failure.

mod body;
mod decoder;
mod exchange;
mod head;
mod wrong;

pub(crate) use self::exchange::{Buffers, Connection};
pub(crate) use self::head::Request;
