//! What is counted, by a shard since its last report and by the conductor for all shards.
//!
//! `L` is a histogram where numbers are counted, and its entries where they travel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, Latencies, Sparse};

/// All numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Numbers<L = Latencies> {
    /// Raised with each reset.
    pub(crate) epoch: u32,
    pub(crate) rows: Vec<Row<L>>,
    pub(crate) resolve: L,
    pub(crate) connect: L,
    pub(crate) tls: L,
    pub(crate) counters: Counters,
    pub(crate) classes: Vec<ClassTime>,
    /// One example of each kind of failure in a row.
    pub(crate) examples: Vec<(usize, Kind, String)>,
}

/// One row of the statistics.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Row<L = Latencies> {
    pub(crate) counts: RowCounts,
    pub(crate) actual: L,
    pub(crate) intended: L,
    pub(crate) first_byte: L,
    pub(crate) body: L,
    pub(crate) kinds: BTreeMap<Kind, u64>,
    pub(crate) statuses: BTreeMap<u16, u64>,
}

/// Defines structs of sums, which add up field by field.
macro_rules! sums {
    ($($(#[$about:meta])* struct $name:ident { $($(#[$meaning:meta])* $field:ident: $number:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
        pub(crate) struct $name {
            $($(#[$meaning])* pub(crate) $field: $number,)*
        }

        impl $name {
            pub(crate) fn add(&mut self, more: &Self) {
                $(self.$field += more.$field;)*
            }
        }
    )*};
}

sums! {
    /// Sums of a row.
    struct RowCounts {
        started: u64,
        completed: u64,
        failed: u64,
        unfinished: u64,
        bytes: u64,
        /// Entries of the intended latencies that stand for requests a stall kept from being sent.
        missed: u64,
    }

    /// Sums of everything.
    struct Counters {
        arrivals_due: u64,
        arrivals_started: u64,
        /// Arrivals that started later than the tolerance.
        arrivals_late: u64,
        /// Arrivals that were due and had not started when their stage ended.
        arrivals_never: u64,
        connections: u64,
        /// Requests that were sent again because a kept connection was closed.
        resent: u64,
        redirects: u64,
        iterations: u64,
        /// Seconds that users waited between tasks.
        waited: f64,
        /// Number of those waits.
        waits: u64,
        /// Iterations that started later than their user's pace.
        behind: u64,
        /// Users that found no row of data.
        out_of_data: u64,
    }
}

/// Users of a class: how many now, and their sum over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassTime {
    pub(crate) users: u64,
    pub(crate) user_seconds: f64,
}

// === impl Numbers ===

impl Numbers {
    pub(crate) fn new(rows: usize, classes: usize) -> Self {
        Self {
            rows: (0..rows).map(|_| Row::default()).collect(),
            classes: vec![ClassTime::default(); classes],
            ..Self::default()
        }
    }

    /// Returns all numbers and sets them to zero. Users keep running.
    pub(crate) fn take(&mut self) -> Numbers<Sparse> {
        let classes = self.classes.clone();
        for class in &mut self.classes {
            class.user_seconds = 0.0;
        }
        Numbers {
            epoch: self.epoch,
            rows: self.rows.iter_mut().map(Row::take).collect(),
            resolve: self.resolve.take(),
            connect: self.connect.take(),
            tls: self.tls.take(),
            counters: std::mem::take(&mut self.counters),
            classes,
            examples: std::mem::take(&mut self.examples),
        }
    }
}

// === impl Row ===

impl Row {
    /// Returns the numbers and sets them to zero.
    fn take(&mut self) -> Row<Sparse> {
        Row {
            counts: std::mem::take(&mut self.counts),
            actual: self.actual.take(),
            intended: self.intended.take(),
            first_byte: self.first_byte.take(),
            body: self.body.take(),
            kinds: std::mem::take(&mut self.kinds),
            statuses: std::mem::take(&mut self.statuses),
        }
    }

    pub(crate) fn add(&mut self, more: &Row<Sparse>) {
        self.counts.add(&more.counts);
        self.actual.add(&more.actual);
        self.intended.add(&more.intended);
        self.first_byte.add(&more.first_byte);
        self.body.add(&more.body);
        for (kind, count) in &more.kinds {
            *self.kinds.entry(*kind).or_default() += count;
        }
        for (status, count) in &more.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }

    /// Requests that completed or failed.
    pub(crate) fn ended(&self) -> u64 {
        self.counts.completed + self.counts.failed
    }
}
