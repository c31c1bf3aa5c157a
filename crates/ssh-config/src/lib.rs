//! `~/.ssh/config`: what the user has configured for `ssh`, read as OpenSSH reads it.
//!
//! [`SshConfig::load`] reads the user's file and the system's once; [`SshConfig::resolve`] then answers for each host,
//! by the rule that the first value wins. `Host` blocks without wildcards are found by name, so tens of thousands of
//! hosts and blocks cost little. A mistake has file, line, column and caret; like `ssh`, nothing is resolved with a
//! file that has one.
//!
//! The main types: [`SshConfig`]; [`Query`] (which host is asked for) and [`Local`] (who asks, on which machine);
//! [`Resolved`], the answer; [`Hop`], a jump host of `ProxyJump`.
//!
//! A host through the crate:
//!
//! 1. `file.rs` reads lines, follows `Include`, and makes blocks (`block.rs`) of `Host` and `Match`; `words.rs` splits
//!    lines as OpenSSH does, `keywords.rs` lists the options that change nothing here.
//! 2. `resolve.rs` reads the blocks that apply in their order (`wildcard.rs` for patterns, `exec.rs` for `Match exec`);
//!    `Match final` makes it read them a second time.
//! 3. `tokens.rs` fills in `%h` and the like, `~` and `${NAME}`; the answer is `resolved.rs`.
//!
//! Supported are `Host`, `Match` (`all`, `canonical`, `final`, `host`, `originalhost`, `user`, `localuser`, `tagged`,
//! `exec`), `Include`, tokens, and the options that are fields of [`Resolved`]. Every other option of OpenSSH is
//! ignored; an unknown one is a mistake unless `IgnoreUnknown` names it. A test compares answers with `ssh -G`.
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
