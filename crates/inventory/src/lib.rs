//! The inventory: which hosts there are, how they are grouped, which vars they have and how these say to reach them.
//!
//! A *host* is a name, unique in the inventory. A *group* is a set of hosts and of other groups; every host is in
//! `all`, and in `ungrouped` if it is in no other. A *var* is a value with a name, attached to a host or to a group.
//!
//! The main types: [`Source`], a list of hosts (`web[01-40],db1`), a file in Ansible's INI or YAML form, a directory or
//! a program; [`LoadOptions`], with the passwords of vaults; [`Inventory`], hosts, groups and vars; [`Connection`],
//! what a host's vars set about reaching it; [`InventoryError`], with file, line, column and caret.
//!
//! A source through the crate:
//!
//! 1. `read/source.rs` decides which reader it needs: `read/list.rs`, `read/ini.rs`, `read/yaml/mod.rs` or
//!    `read/script.rs`. `read/vars_files.rs` adds `group_vars/` and `host_vars/`; `read/file.rs` bounds each file and
//!    decrypts vaults.
//! 2. Each reader fills `read/builder.rs`, which merges the sources (later ones win) into `model.rs`.
//! 3. [`Inventory::select`] (`pattern.rs`) answers patterns, in the order of first appearance.
//! 4. [`Inventory::vars`] merges the vars of a host as Ansible does: groups from `all` to the nearest, siblings by
//!    `ansible_group_priority` and name; `group_vars/all` and the other files of `group_vars/`; the host's own;
//!    `host_vars/`. Merged vars are not stored, so 50,000 hosts cost little more than their names. `host_vars.rs` fills
//!    in templates.
//! 5. [`Inventory::connection`] (`connection/mod.rs`, `connection/variables.rs`) reads how to reach a host.
//!
//! Vault values, and vars named like passwords, are secret ([`Inventory::is_secret`]): no message and no `Debug` output
//! shows them. Parts of Ansible's forms that are not supported become warnings; nothing is dropped in silence.
//!
//! ```
//! use reveille_inventory::{Inventory, Source, no_runs};
//!
//! let text = "[web]\nweb[01:03] ansible_user=deploy\n[db]\ndb1 ansible_host=10.0.0.5\n\
//!             [site:children]\nweb\ndb\n[site:vars]\nansible_port=2222\n";
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
