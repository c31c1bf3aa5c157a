//! The parts of `reveille drill`: the practice fleet, and the comparison of injected faults with reported classes.

pub(crate) mod compare;
mod leftovers;
pub(crate) mod practice;
pub(crate) mod real;
