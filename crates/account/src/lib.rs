//! The words of Reveille, and the arithmetic of its promise.
//!
//! A *run* dispatches *hosts*; every host that was dispatched ends with exactly one [`Outcome`]. The *account* holds
//! the outcomes against the *roll* (the hosts that were planned, written down before anything started) and either
//! balances or says by how much it does not. Everything that happens in between is an [`Event`]; the ledger commits
//! events, and every screen and file is derived from them.
//!
//! This crate has no input or output of its own, so that all others can speak it.
//!
//! ```
//! use reveille_account::{Account, Class, Status};
//!
//! let mut account = Account::planned(3);
//! account.add(Status::Success);
//! account.add(Status::Success);
//! account.add(Class::ConnectRefused.status());
//! assert!(account.balanced());
//! assert_eq!(account.to_string(), "3 planned = 2 success + 1 failed");
//! ```

mod account;
mod class;
mod event;
mod exit;
mod fault;
mod history;
mod id;
mod origin;
mod outcome;
mod reach;
mod source;

pub use account::Account;
pub use class::{Class, Status, UnknownClass};
pub use event::{Chosen, Event, EventKind, Learned, Phase, PhaseTimings, RunState, StepRef, Stream};
pub use exit::Exit;
pub use fault::{Fault, Line};
pub use history::{HaltReason, Loss, MachineRef, Rung, Site};
pub use id::{HostName, RunId, RunIdError, Token, TokenError, WorkerId};
pub use origin::{Given, Origin};
pub use outcome::Outcome;
pub use reach::{BecomeMethod, HostKeyPolicy, TransportKind, UnknownWord};
pub use source::{Mistakes, SourceError};
