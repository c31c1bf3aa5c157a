//! The rehearsal around a run: a practice fleet before it, and injected held against reported after it.

pub(crate) mod compare;
mod leftovers;
pub(crate) mod practice;
pub(crate) mod real;
