//! What is counted, and how it adds up.
//!
//! A shard counts into its own [`Tally`] without locks and hands on what came since the last time as a [`Delta`], once a
//! second; the conductor adds deltas up in [`Totals`]. Each request that was started ends in exactly one of three ways,
//! so that the account balances at any time:
//!
//! ```text
//! started = completed + failed + unfinished (cut off at the end) + in flight
//! ```

mod kind;
mod latency;
mod tally;
mod totals;

pub use self::kind::Kind;
pub(crate) use self::latency::{Latencies, Sparse};
pub(crate) use self::tally::{Delta, End, Health, Phases, Tally};
pub use self::totals::{RowTotals, Second, Totals};
