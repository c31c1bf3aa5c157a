//! The drill: a fleet of SSH servers to rehearse against, with faults.
//!
//! A [`Fleet`] answers as thousands of hosts from one process and one listening socket: each host has an address of its
//! own in 127.0.0.0/8, and the address that a connection was made to says which host is meant. The protocol is real
//! SSH; the shell behind it is a play. A host that nobody talks to costs some bytes and no task.
//!
//! What goes in: a [`FleetSpec`] with the number of hosts, a seed and [`Fault`]s, each a kind and whom it strikes. What
//! comes out: addresses, host keys and a client key to put into an inventory, and at the end a [report](Fleet::report)
//! of what was injected where and whether anybody ran into it. [`FaultKind::expected`] says what a run should make of
//! each, so that *injected* can be held against *reported*.
//!
//! Three things can be wrong with a host, and each is played where it belongs: its wire (before SSH starts), its
//! session (authentication, channels), or the command itself. The last is described by a [`Performance`]. A [`Script`]
//! plays it: [`Shell`] on the channel it was asked for on, [`Supervisor`] as durable work that outlives its connection.
//! [`RealShell`] plays nothing: it runs commands on this machine, and only the connection can have a fault.
//!
//! Only connections to and from the loopback network are answered. The addresses need Linux, where all of 127.0.0.0/8
//! is local.
//!
//! ```
//! use reveille_drill::{Fault, Fleet, FleetSpec};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let fleet = Fleet::start(FleetSpec {
//!     hosts: 100,
//!     faults: vec!["refuse=5%".parse()?, "kex_stall=3".parse()?],
//!     ..FleetSpec::default()
//! })?;
//! assert!(fleet.inventory().starts_with("drill-0001 ansible_host=127."));
//! let struck = fleet.report().iter().filter(|host| host.fault.is_some()).count();
//! assert_eq!(struck, 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod fault;
mod fleet;
mod host;
mod kept;
mod keys;
mod kind;
mod listen;
mod listening;
pub mod memory;
mod performance;
mod real;
mod session;
mod shell;
mod supervisor;
mod wire;
mod words;

pub use channel::{Call, ChannelIo, Gone, Script, ScriptFuture, Shell};
pub use fault::{Fault, FaultError, Targets};
pub use fleet::{Fleet, FleetError, FleetSpec};
pub use host::{Host, HostReport};
pub use kind::{Expected, FaultKind, Shows};
pub use performance::{Act, Ending, Performance};
pub use real::{RealShell, end_marked};
pub use supervisor::Supervisor;
