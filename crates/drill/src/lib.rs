//! The drill: a fleet of SSH servers to rehearse against, with faults.
//!
//! A [`Fleet`] answers as thousands of hosts from one process and one listening socket: each host has an address in
//! 127.0.0.0/8, and the destination address of a connection selects the host. The protocol is real SSH; the shell behind
//! it is simulated. An idle host costs some bytes and no task. Only connections from the loopback network are answered,
//! and the addresses need Linux, where all of 127.0.0.0/8 is local.
//!
//! The main types: [`FleetSpec`], the number of hosts, a seed and [`Fault`]s; [`Fleet`], with inventory, keys and a
//! [report](Fleet::report) of each host's fault and how often it showed; [`FaultKind`], whose [`FaultKind::expected`]
//! has the classes that a run should report; [`Host`]; [`Performance`], the actions of a command.
//!
//! A connection through the crate:
//!
//! 1. `listen.rs` accepts it and finds the [`Host`] (`host.rs`) by address. It plays faults before SSH; `wire.rs` plays
//!    those of the wire.
//! 2. `session.rs` is the SSH side: authentication, channels and their faults.
//! 3. A command becomes a [`Performance`] (`performance.rs`); a [`Script`] (`channel.rs`) plays it: [`Shell`]
//!    (`shell.rs`) on its channel, [`Supervisor`] (`supervisor.rs`) as durable work, which `kept.rs` keeps beyond the
//!    connection. [`RealShell`] (`real.rs`) plays nothing: it runs commands on this machine.
//!
//! `kind.rs` has the table of all faults. The crate shares no code with `transport`, so that each tests the other.
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
//! let faulty = fleet.report().iter().filter(|host| host.fault.is_some()).count();
//! assert_eq!(faulty, 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod cut;
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

pub use channel::{Call, ChannelIo, Script, ScriptFuture, Shell};
pub use fault::{Fault, Targets};
pub use fleet::{Fleet, FleetError, FleetSpec};
pub use host::{Host, HostReport, Stage};
pub use kind::{Expected, FaultError, FaultKind, Shows};
pub use memory::Gone;
pub use performance::{Act, Ending, Performance};
pub use real::{RealShell, end_marked};
pub use supervisor::Supervisor;
