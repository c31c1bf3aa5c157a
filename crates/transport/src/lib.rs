//! Transport: how a command gets to one host and its output back.
//!
//! The main types: [`Target`], where and as which user; [`Client`], which connects; [`Session`], an authenticated
//! connection; [`Exec`], a command that runs on it; [`supervisor::Durable`], one that survives the connection. A phase
//! that fails ends in a [`ConnectError`], whose class is worded for the operator.
//!
//! A command through the crate:
//!
//! 1. [`Client::dial`] opens the byte stream (`native/dial.rs`, `wire.rs`); [`Client::handshake`] exchanges keys
//!    (`native/handshake.rs`), checks the host's key (`known_hosts/mod.rs`) and authenticates
//!    (`native/authenticate.rs`). Each phase has its deadline. In place of native SSH the link may be the system's
//!    `ssh` (`openssh/mod.rs`) or a local shell (`local.rs`); everything above is the same.
//! 2. `quote.rs` quotes the command, `escalate/mod.rs` wraps it in sudo, su or doas if another user is to run it.
//! 3. It runs *plainly* ([`Session::exec`], `exec.rs`): if the connection is lost, so is the result. Or *durably*
//!    (`supervisor/mod.rs`): the script `supervisor/supervisor.sh` keeps the command, its output and its exit status on
//!    the host under a token. A later connection attaches to it, and no token ever starts twice.
//! 4. [`transfer`] copies files and directories over such commands; no SFTP server is needed.
//!
//! Each of these is an SSH `exec` request on a channel of the host's own connection:
//!
//! | what | command line that the host sees | standard input |
//! |---|---|---|
//! | plain command | `exec sh -c COMMAND` | empty, or `--stdin` |
//! | durable command | `exec sh` | the supervisor with nonce and token; after hello `go` and the command's text |
//! | kill, look, clean; durable command as another user | `exec sh -c 'IFS= read -r s;eval "$s"'` | the same, as one line |
//! | copies | the same line | a script, orders, the file's bytes (a fetched file comes back on stdout) |
//!
//! Hosts are hostile: what they send is bounded before it is kept, and an abandoned connection is cut at the socket
//! ([`wire`] explains why). Everything about russh stays inside `native`.
//!
//! Quoting is the smallest example:
//!
//! ```
//! use reveille_transport::sh_quote;
//!
//! assert_eq!(sh_quote("it's"), r"'it'\''s'");
//! ```

mod agent;
mod authentication;
mod child;
mod client;
mod error;
mod escalate;
mod exec;
mod heard;
mod identity;
mod known_hosts;
mod local;
#[cfg(feature = "memory")]
pub mod memory;
mod native;
mod nonce;
mod openssh;
mod passage;
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
pub use exec::{Exec, Input};
pub use heard::Heard;
pub use identity::{Ask, Identities, IdentityError, Keyring, Wanted, is_key};
pub use known_hosts::{HostKeyProblem, KnownHosts, KnownHostsError};
pub use quote::{sh_path, sh_quote};
pub use reveille_account::{BecomeMethod, HostKeyPolicy};
pub use reveille_text::Secret;
pub use session::Session;
pub use signal::signal_name;
pub use target::{Deadlines, KeepAlive, OpenSsh, Target, Transport};
