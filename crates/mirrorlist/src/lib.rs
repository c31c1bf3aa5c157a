//! Mirrorlist: which mirrors are best for a client.
//!
//! Package clients of Fedora, EPEL, CentOS Stream, Rocky, openEuler, and Debian if one likes, ask a server for a list of
//! mirrors before they fetch anything: dnf for a `mirrorlist` or a `metalink` (the same with checksums), apt for a list of
//! its `mirror` method. This crate is that server, compatible with MirrorManager's in what it reads and answers.
//!
//! What comes in is files: the snapshot that MirrorManager writes, or a list of mirrors in YAML; prefixes with their AS
//! numbers; countries with their continents; a country database. They are compiled into a [`Snapshot`], an index that is
//! made for reading and never changes. Each request is answered on one snapshot from its beginning to its end, and a new
//! one takes its place in one step, while requests are under way.
//!
//! ```text
//! files ─► Snapshot ──────────────┐ one pointer
//! request ─► Query ─► Target ─► Selection ─► Answer
//!             words    directory  hosts,      list, metalink,
//!                      and file   best first  redirect
//! ```
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
