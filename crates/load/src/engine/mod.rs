//! The engine: users, connections, and the conductor who starts them and adds up.
//!
//! ```text
//!  conductor ── bootstrap, once ──► shared values
//!     │  begin, shared values, reset, stop            deltas, once a second
//!     ├──────────────► shard (a thread of this process)  ────────┐
//!     └──────────────► worker (a process) ─► its shards  ────────┴──► totals
//! ```
//!
//! A *shard* is one thread with a runtime of its own; nothing is shared with other shards while the test runs. Every
//! shard knows the whole schedule and takes its part of it. What goes between conductor and shards are [`message`]s, that
//! could as well travel over a network.

mod bootstrap;
mod client;
mod conductor;
mod cookies;
mod exchange;
mod http1;
mod http2;
mod judge;
mod memory;
mod message;
mod net;
mod once;
mod open;
mod request;
mod script;
mod shard;
mod target;
mod user;
mod values;
mod worker;

pub use self::conductor::{Ask, Ended, Halt, Observer, Options, Outcome, Point, Source, conduct};
pub(crate) use self::exchange::Exchange;
pub(crate) use self::net::authorities;
pub(crate) use self::once::Once;
pub(crate) use self::script::check as check_script;
pub(crate) use self::target::Target;
pub use self::worker::serve as serve_worker;
