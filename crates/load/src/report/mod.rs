//! Reports of a test, for people and programs. Everything is made from one [`Summary`].

mod csv;
mod explain;
mod html;
mod human;
mod junit;
mod prometheus;
mod sample;
mod summary;

pub(crate) use self::csv::csv;
pub(crate) use self::html::html;
pub(crate) use self::human::{compare, human};
pub(crate) use self::junit::junit;
pub(crate) use self::prometheus::Exporter;
pub(crate) use self::sample::sample;
pub(crate) use self::summary::json;
pub use self::summary::{Latency, Summary};
