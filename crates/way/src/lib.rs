//! How a host is reached, and who said so.
//!
//! A host takes three forms on its way from the inventory to a session:
//!
//! 1. [`Connection`](reveille_inventory::Connection), in the crate `inventory`: what its vars set.
//! 2. [`Way`], here: everything decided. The ledger records it with the run, so that a run can be resumed from another
//!    directory and after the inventory has changed.
//! 3. [`Destination`], here: keys and known hosts read, passwords added, ready for
//!    [`Client::dial`](reveille_transport::Client::dial). It is never recorded.
//!
//! A host through the crate:
//!
//! 1. `sources.rs` and `asked.rs` hold what the operator named: the sources of the inventory, and [`Asked`], the
//!    options.
//! 2. [`Finder`] (`find.rs`) makes a [`Way`]. For each value it asks the command line first, then the inventory, then
//!    ssh_config, then the defaults; [`Reasons`] (`reasons.rs`) keep which of them answered. `routes.rs` adds further
//!    routes.
//! 3. [`Passwords`] (`passwords.rs`) come from files, from the inventory or from the [`Operator`]; they are never
//!    recorded.
//! 4. [`Destinations`] (`target.rs`) reads keys, certificates and known hosts, each file once for all hosts.
//!
//! ```
//! use reveille_inventory::{Inventory, Source};
//! use reveille_way::{Asked, Finder, Nobody, Reasons};
//!
//! let source = Source::Text { name: "hosts.ini".into(), text: "db1 ansible_port=2222\n".into() };
//! let inventory = Inventory::load(&[source])?.inventory;
//! let asked = Asked { ssh_config: Some("none".into()), ..Asked::default() };
//! let mut finder = Finder::new(&asked, &Nobody)?;
//! let mut reasons = Reasons::kept();
//! let way = finder.find(&inventory, "db1", &mut reasons)?;
//! assert_eq!(way.link.port, 2222);
//! assert!(reasons.to_string().contains("ansible_port at hosts.ini:1"));
//! # Ok::<(), reveille_way::Error>(())
//! ```

mod asked;
mod error;
mod find;
mod operator;
mod passwords;
mod reasons;
mod routes;
mod sources;
mod target;
mod way;

pub use asked::Asked;
pub use error::Error;
pub use find::Finder;
pub use operator::{Nobody, Operator};
pub use passwords::{PasswordSources, Passwords};
pub use reasons::{Reason, Reasons};
pub use routes::place;
pub use sources::InventorySources;
pub use target::{Destination, Destinations, Detour, Trust};
pub use way::{Agent, Link, Route, Way};
