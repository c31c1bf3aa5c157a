//! The engine: users, their connections, and the conductor, which starts them and adds up.
//!
//! ```text
//!  conductor ── bootstrap, once ──► shared values
//!     │  begin, shared values, reset, stop            reports, once a second
//!     ├──────────────► shard (a thread of this process)  ────────┐
//!     └──────────────► worker (a process) ─► its shards  ────────┴──► totals
//! ```
//!
//! A *shard* is one thread with a runtime of its own. It shares nothing with other shards while the test runs. Each shard
//! knows the whole schedule and takes its part of it. The conductor and the shards exchange messages (`message.rs`), which
//! could also travel over a network.

mod ask;
mod bootstrap;
mod client;
mod conductor;
mod cookies;
mod driver;
mod exchange;
mod http1;
mod http2;
mod judge;
mod memory;
mod message;
mod net;
mod once;
mod open;
mod options;
mod request;
mod shard;
mod signal;
mod stream;
mod user;
mod values;
mod worker;

pub use self::ask::{Ask, Asks};
pub use self::conductor::{Ended, Halt, Observer, Outcome, Point, conduct};
pub(crate) use self::exchange::Exchange;
pub(crate) use self::once::Once;
pub use self::options::{Options, Source};
pub use self::worker::serve as serve_worker;
