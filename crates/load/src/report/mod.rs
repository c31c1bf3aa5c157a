//! What people and programs are told of a test; everything is made from one [`Summary`].

mod csv;
mod explain;
mod html;
mod human;
mod junit;
mod prometheus;
mod sample;
mod summary;

pub use self::csv::csv;
pub use self::html::html;
pub use self::human::{compare, human};
pub use self::junit::junit;
pub(crate) use self::prometheus::Exporter;
pub(crate) use self::sample::sample;
pub(crate) use self::summary::Series;
pub use self::summary::{Latency, Requests, Summary, TaskSummary};
