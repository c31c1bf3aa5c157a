//! `~/.ssh/config`: what the user has told `ssh` about hosts, read as OpenSSH reads it.
//!
//! [`SshConfig::load`] reads the user's file and the system's once; [`SshConfig::resolve`] then answers for each host, by the
//! rule that the first value wins. `Host` blocks without wildcards are found by name, so that tens of thousands of hosts and
//! blocks are no matter. A mistake has file, line, column and caret; like `ssh`, nothing is resolved with a file that has
//! one.
//!
//! What is understood: `Host`, `Match` (`all`, `canonical`, `final`, `host`, `originalhost`, `user`, `localuser`, `tagged`,
//! `exec`), `Include`, tokens (`%h` and the like), `~` and `${NAME}`, and the options that are fields of [`Resolved`]. Every
//! other option of OpenSSH is passed over; an unknown one is a mistake unless `IgnoreUnknown` names it.
//!
//! ```
//! use reveille_ssh_config::{Local, Query, SshConfig};
//!
//! let config = SshConfig::parse(
//!     "Host web*\n  HostName %h.example.org\n  User deploy\n  ProxyJump bastion\nHost *\n  Port 2222\n",
//!     "config",
//! )?;
//! let local = Local::current();
//! let resolved = config.resolve(&Query::new("web1", &local))?;
//! assert_eq!(resolved.host_name, "web1.example.org");
//! assert_eq!((resolved.user.as_deref(), resolved.port), (Some("deploy"), Some(2222)));
//! // A jump host has options of its own.
//! let hop = &resolved.proxy_jump.expect("one jump")[0];
//! assert_eq!(config.resolve(&Query::new(&hop.address, &local))?.port, Some(2222));
//! # Ok::<(), reveille_ssh_config::Error>(())
//! ```

mod block;
mod config;
mod error;
mod exec;
mod file;
mod hop;
mod keywords;
mod query;
mod resolve;
mod resolved;
mod tokens;
mod wildcard;
mod words;

pub use config::SshConfig;
pub use error::Error;
pub use hop::{Hop, port};
pub use query::{Local, Query};
pub use resolved::{AddressFamily, IdentityAgent, Resolved, StrictHostKeyChecking, Written};
pub use words::seconds;
