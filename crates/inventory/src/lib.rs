//! The inventory: which hosts there are, how they are grouped, what is known of them and how they are reached.
//!
//! A *host* is a name, unique in the inventory. A *group* is a set of hosts and of other groups; every host is in
//! `all`, and in `ungrouped` if it is in no other. A *var* is a value with a name, attached to a host or to a group.
//!
//! What comes in are [`Source`]s, as the user gave them: lists of hosts (`web[01-40],db1`), files in Ansible's INI form (of
//! which a plain file of names is the simplest case) or its YAML form, directories of them, and programs that write JSON.
//! `group_vars/` and `host_vars/` beside them are read too, and what is encrypted is decrypted with the passwords of
//! [`LoadOptions`]. Several sources merge, later ones winning. What goes out is one [`Inventory`], which keeps the order of
//! first appearance, answers patterns ([`Inventory::select`]), merges the vars of a host when asked ([`Inventory::vars`])
//! and reads from them how to connect ([`Inventory::connection`]).
//!
//! Vars merge as Ansible merges them: groups of the sources, from `all` to the nearest, siblings by
//! `ansible_group_priority` and then by name; `group_vars/all` and the other files of `group_vars/`; the host's own;
//! `host_vars/`. Merged vars are never stored, so that 50,000 hosts cost little more than their names.
//!
//! Values from a vault, and vars whose names say so, are secret ([`Inventory::is_secret`]): they appear in no message and no
//! `Debug` output, and [`Inventory::public_vars`] leaves them out.
//!
//! A mistake in a file is reported with file, line, column and caret, as many as there are up to a bound. What belongs to
//! Ansible and is not understood here becomes a warning; no meaning is dropped in silence.
//!
//! ```
//! use reveille_inventory::{Inventory, Source, no_runs};
//!
//! let text = "
//! [web]
//! web[01:03] ansible_user=deploy
//!
//! [db]
//! db1 ansible_host=10.0.0.5
//!
//! [site:children]
//! web
//! db
//!
//! [site:vars]
//! ansible_port=2222
//! ";
//! let loaded = Inventory::load(&[Source::Text { name: "hosts.ini".into(), text: text.into() }])?;
//! let inventory = loaded.inventory;
//! assert_eq!(inventory.len(), 4);
//!
//! let hosts = inventory.select(&["site:!web03"], &no_runs)?;
//! let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
//! assert_eq!(names, ["web01", "web02", "db1"]);
//!
//! let connection = inventory.connection("db1")?;
//! assert_eq!(connection.address.value, "10.0.0.5");
//! assert_eq!(connection.port.expect("a port").value, 2222);
//! # Ok::<(), reveille_inventory::InventoryError>(())
//! ```

mod connection;
mod error;
mod host_vars;
mod model;
mod names;
mod pattern;
mod read;
mod secret;
mod template;
mod words;

pub use connection::{Connection, SshOptions};
pub use error::InventoryError;
pub use model::Inventory;
pub use names::MAX_NAMES;
pub use pattern::{RunName, RunOutcome, RunSelector, no_runs};
pub use read::{LoadOptions, Loaded, MAX_FILE_BYTES, Source, VaultPasswords};
pub use reveille_text::{Secret, is_secret};
