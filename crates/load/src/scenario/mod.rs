//! The scenario: which requests users send, how often, and which answers are expected.

mod check;
mod model;
mod names;
mod parse;
pub(crate) mod quantity;
mod schedule;
mod schema;
mod template;

pub(crate) use reveille_document::MAX_FILE_BYTES;

pub(crate) use self::model::{
    Body, Bootstrap, Capture, Class, Expect, Http, JsonPart, OnEnd, Order, Source, Step, Task, Version, Wait,
    resolve,
};
pub use self::model::{Given, Metric, Resolve, Scenario, Stage, Threshold};
pub(crate) use self::names::{BUILT_IN, METHODS};
pub(crate) use self::schedule::Arrivals as ArrivalsOf;
pub use self::schedule::{Kind as SegmentKind, Schedule, Segment};
pub use self::schema::schema;
pub(crate) use self::template::{Holds, Text};
