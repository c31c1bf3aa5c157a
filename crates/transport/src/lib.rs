//! How a command gets to one host and its output back.
//!
//! A [`Client`] dials a [`Target`], shakes hands, checks the host's key, authenticates, and gives a [`Session`]. Each
//! phase has its own deadline and ends, when it fails, in a [`ConnectError`] whose class says what an operator needs
//! to know. On a session a command runs in one of two ways:
//!
//! - *plainly*, with [`Session::exec`]: what every SSH tool does; when the connection is lost, so is the result;
//! - *durably*, with [`supervisor::Durable`]: a small POSIX `sh` supervisor, sent over standard input, keeps the
//!   command, its output and its exit status on the host, keyed by a token. Whoever comes back with the token is
//!   attached to what runs, and no token ever starts twice.
//!
//! Remote hosts are hostile until checked: what they send is bounded before it is kept, and a connection that nobody
//! wants any more is cut at the socket ([`wire`] says why that is needed).
//!
//! Everything about russh stays inside this crate.

mod agent;
mod authentication;
mod child;
mod client;
mod error;
mod escalate;
mod exec;
mod identity;
mod known_hosts;
mod local;
#[cfg(feature = "memory")]
pub mod memory;
mod native;
mod nonce;
mod openssh;
mod quote;
mod session;
mod signal;
pub mod supervisor;
mod target;
mod terminal;
pub mod transfer;
pub mod wire;

pub use authentication::Authentication;
pub use client::{Client, Dialed};
pub use error::{ConnectError, ExecError, Throttle};
pub use escalate::Become;
pub use exec::{Exec, Heard, Input};
pub use identity::{Ask, Identities, IdentityError, Keyring, Wanted};
pub use known_hosts::{HostKeyProblem, KnownHosts, KnownHostsError};
pub use quote::sh_quote;
pub use reveille_account::{BecomeMethod, HostKeyPolicy};
pub use reveille_text::Secret;
pub use session::Session;
pub use signal::signal_name;
pub use target::{Deadlines, KeepAlive, OpenSsh, Target, Transport};
