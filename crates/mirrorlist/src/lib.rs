//! Mirrorlist: the mirrors that are best for a client.
//!
//! Package clients of Fedora, EPEL, CentOS Stream, Rocky, openEuler and Debian ask a server for a list of mirrors
//! before they fetch anything: dnf for a `mirrorlist` or a `metalink` (a list with checksums), apt for a list for its
//! `mirror` method. This crate is such a server. It reads the files of MirrorManager and answers as MirrorManager's
//! server does.
//!
//! The main types: [`Sources`], the files to read; [`Snapshot`], everything that an answer depends on, compiled once
//! and never changed; [`Catalog`], its index of hosts and directories; [`Rules`], how mirrors are chosen;
//! [`server::Running`], the server.
//!
//! ```text
//! files ─► Snapshot ──────────────┐ one pointer
//! request ─► Query ─► Target ─► Selection ─► Answer
//!             words    directory  hosts,      list, metalink,
//!                      and file   best first  redirect
//! ```
//!
//! A reload: the thread of `server/reload.rs` reads the files (`throttled_read.rs` pauses while requests come).
//! `snapshot.rs` compiles MirrorManager's snapshot (`wire/read.rs`, `catalog/build.rs`) or a list in YAML
//! (`mirrors/list.rs`), prefixes (`networks.rs`), and countries (`geoip.rs`, `continents.rs`). If all files are valid,
//! one pointer is swapped; otherwise the old snapshot stays in use. Parts whose files have not changed are shared.
//!
//! A request: `server/workers.rs` reads it, `server/service.rs` limits and logs, `forwarded.rs` finds the client behind
//! proxies. `query.rs` reads the parameters, `target.rs` finds the directory, `select.rs` chooses hosts and `order.rs`
//! shuffles them by weight, `answer.rs` and `render/mod.rs` write the answer. A request uses one snapshot from
//! beginning to end.
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
mod xml;

pub use catalog::{Catalog, Counts};
pub use continents::Continents;
pub use error::BadFile;
pub use explain::{Explanation, explain};
pub use forwarded::TrustedProxies;
pub use geoip::GeoIp;
pub use networks::Networks;
pub use select::Rules;
pub use snapshot::{Data, Snapshot, Sources, Stamps};
