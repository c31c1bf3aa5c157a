//! What is counted, and how it adds up.
//!
//! A shard counts into its own `Tally` without locks. Once a second it reports what came since the last report as a
//! `Delta`, and the conductor adds the deltas up in [`Totals`]. Each started request ends in exactly one of three ways,
//! so that the account balances at any time:
//!
//! ```text
//! started = completed + failed + unfinished (cut off at the end) + in flight
//! ```

mod kind;
mod latency;
mod numbers;
mod tally;
mod totals;

pub use self::kind::Kind;
pub(crate) use self::latency::{Latencies, Sparse};
pub(crate) use self::numbers::Row;
pub(crate) use self::tally::{Delta, End, Health, Phases, Tally};
pub use self::totals::{Second, Totals};
