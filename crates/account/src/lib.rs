//! The words of Reveille, and the arithmetic of its promise.
//!
//! A *run* dispatches *hosts*; every host that is dispatched ends with exactly one [`Outcome`]. The *account* compares
//! the outcomes with the *roll*, the planned hosts that were recorded before anything started: it balances, or it
//! states by how much it does not. Everything that happens in between is an [`Event`]; the ledger commits events, and
//! every screen and file is derived from them. This crate has no input or output, so that all others can use its words.
//!
//! The main types:
//!
//! - [`Event`] and [`EventKind`]: one thing that happened, with run, round, host, epoch, sequence number and times.
//! - [`Class`] and [`Status`]: why a host ended as it did. The class decides the status.
//! - [`Outcome`]: the one final status of a host in a round.
//! - [`Account`]: the sum of the outcomes; [`Account::exit`] makes the program's exit status of it.
//! - [`SourceError`]: a mistake in a file that people write, with file, line, column and caret.
//!
//! A host through the crate: `id.rs` names it ([`HostName`]), `event.rs` and `history.rs` have the words for what
//! happens to it, `class.rs` the table of classes (also the source of `reveille explain` and `docs/classes.md`),
//! `outcome.rs` its end, `account.rs` adds it up, and `exit.rs` ends the program. Beside that are the words about
//! values that people set: `reach.rs` (transport, become method, host key policy), `origin.rs` (where a value comes
//! from), `fault.rs` and `source.rs` (mistakes).
//!
//! ```
//! use reveille_account::{Account, Class, Status};
//!
//! let mut account = Account::planned(3);
//! account.add(Status::Success);
//! account.add(Status::Success);
//! account.add(Class::ConnectRefused.status());
//! assert!(account.balanced());
//! assert_eq!(account.to_string(), "3 planned = 2 succeeded + 1 failed");
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
pub use event::{
    Chosen, Event, EventKind, Learned, Phase, PhaseTimings, RunState, StepRef, Stream, UNDECIDED, WOULD,
};
pub use exit::Exit;
pub use fault::{Fault, Line};
pub use history::{HaltReason, Loss, MachineRef, Rung, Site};
pub use id::{HostName, RunId, RunIdError, Token, TokenError, WorkerId};
pub use origin::{Given, Origin};
pub use outcome::Outcome;
pub use reach::{BecomeMethod, HostKeyPolicy, TransportKind, UnknownWord};
pub use source::{Mistakes, SourceError};
