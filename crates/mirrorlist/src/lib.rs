//! Mirrorlist: which mirrors are best for a client.
//!
//! Package clients of Fedora, EPEL, CentOS Stream, Rocky, openEuler and Debian ask a server for a list of mirrors
//! before they fetch anything: dnf for a `mirrorlist` or a `metalink` (the same with checksums), apt for a list of its
//! `mirror` method. This crate is that server, compatible with MirrorManager's in what it reads and answers.
//!
//! The main types: [`Sources`], the files to read; [`Snapshot`], everything that an answer depends on, compiled for
//! reading and never changed; [`Catalog`], its index of hosts and directories; [`Rules`], which mirrors are chosen;
//! [`server::Running`], the server.
//!
//! ```text
//! files ─► Snapshot ──────────────┐ one pointer
//! request ─► Query ─► Target ─► Selection ─► Answer
//!             words    directory  hosts,      list, metalink,
//!                      and file   best first  redirect
//! ```
//!
//! A reload: `server/reload.rs` has one thread read the files anew (`throttled_read.rs` rests while requests come).
//! `snapshot.rs` compiles MirrorManager's snapshot (`wire/read.rs`, `catalog/build.rs`) or a list in YAML
//! (`mirrors/list.rs`), prefixes (`networks.rs`), countries (`geoip.rs`, `continents.rs`). If all of it is right, one
//! pointer is swapped; if not, the old snapshot serves on. Parts whose files have not changed are shared.
//!
//! A request: `server/workers.rs` reads it, `server/service.rs` limits and logs, `forwarded.rs` finds the client behind
//! proxies. `query.rs` reads the parameters, `target.rs` finds the directory, `select.rs` chooses hosts and `order.rs`
//! shuffles them by weight, `answer.rs` and `render/mod.rs` write the answer. A request is answered on one snapshot
//! from beginning to end.
//!
//! ```no_run
//! use reveille_mirrorlist::{Data, Snapshot, Sources};
//!
//! let sources = Sources {
//!     data: Data::Cache("/var/lib/mirrormanager/mirrorlist_cache.proto".into()),
//!     netblocks: Some("/var/lib/mirrormanager/global_netblocks.txt".into()),
//!     countries: None,
//!     geoip: None,
//! };
//! let snapshot = Snapshot::load(&sources, None)?;
//! println!("{} directories", snapshot.catalog().counts().directories);
//! # Ok::<(), reveille_mirrorlist::BadFile>(())
//! ```

mod answer;
mod catalog;
mod continents;
mod error;
mod explain;
mod forwarded;
#[cfg(any(test, feature = "synthetic"))]
#[doc(hidden)]
pub mod fuzz;
mod geoip;
mod large_vec;
pub mod mirrors;
mod networks;
mod order;
mod query;
mod refusal;
mod render;
mod select;
pub mod server;
mod snapshot;
#[cfg(any(test, feature = "synthetic"))]
pub mod synthetic;
mod target;
mod throttled_read;
mod wire;

pub use catalog::{Catalog, Counts};
pub use continents::Continents;
pub use error::BadFile;
pub use explain::explain;
pub use forwarded::TrustedProxies;
pub use geoip::GeoIp;
pub use networks::Networks;
pub use select::Rules;
pub use snapshot::{Data, Snapshot, Sources, Stamps};
