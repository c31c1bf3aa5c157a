//! Screens and reports. Everything here is derived from events or the ledger.

pub(crate) mod artifacts;
pub(crate) mod asking;
pub(crate) mod destination;
pub(crate) mod end;
pub(crate) mod events;
pub(crate) mod fold;
mod github;
pub(crate) mod groups;
pub(crate) mod live;
pub(crate) mod notify;
pub(crate) mod outlet;
pub(crate) mod result;
pub(crate) mod stream;
pub(crate) mod terminal;
pub(crate) mod view;
