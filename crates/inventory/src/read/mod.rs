//! Merges sources into one inventory: each kind of source has a reader, and all readers fill one builder.

mod builder;
mod entry;
mod file;
mod ini;
mod list;
mod literal;
mod program;
mod script;
mod source;
mod vars_files;
mod vault;
mod yaml;

use std::path::PathBuf;
use std::time::Duration;

use reveille_account::SourceError;

use self::builder::Builder;
use crate::InventoryError;
use crate::model::Inventory;

pub use self::file::MAX_FILE_BYTES;
pub use self::source::Source;
pub use self::vault::VaultPasswords;

/// An inventory, and the warnings of reading it.
#[derive(Debug)]
pub struct Loaded {
    /// The inventory.
    pub inventory: Inventory,
    /// Settings without effect, each with its place.
    pub warnings: Vec<SourceError>,
}

/// How sources are read.
///
/// ```
/// use reveille_inventory::{Inventory, LoadOptions, Secret, Source, VaultPasswords};
///
/// let mut vault = VaultPasswords::default();
/// vault.add(None, Secret::new("hunter2"));
/// let options = LoadOptions { vault, ..LoadOptions::default() };
/// let loaded = Inventory::load_with(&[Source::List("web[1:3]".into())], options)?;
/// assert_eq!(loaded.inventory.len(), 3);
/// # Ok::<(), reveille_inventory::InventoryError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The vault passwords.
    pub vault: VaultPasswords,
    /// How long an executable inventory may take.
    pub script_limit: Duration,
    /// Whether only names are wanted: no program is run, no vault is opened, and neither `group_vars/` nor `host_vars/`
    /// is read.
    pub names_only: bool,
}

// === impl LoadOptions ===

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            vault: VaultPasswords::default(),
            script_limit: program::TIME_LIMIT,
            names_only: false,
        }
    }
}

// === impl Inventory ===

impl Inventory {
    /// Reads all sources into one inventory, without vault passwords.
    pub fn load(sources: &[Source]) -> Result<Loaded, InventoryError> {
        Self::load_with(sources, LoadOptions::default())
    }

    /// Reads all sources into one inventory.
    pub fn load_with(sources: &[Source], options: LoadOptions) -> Result<Loaded, InventoryError> {
        let names_only = options.names_only;
        let mut builder = Builder::new(options);
        for source in sources {
            source::read(source, &mut builder)?;
        }
        if !names_only {
            let directories: Vec<PathBuf> = sources.iter().filter_map(source::vars_directory).collect();
            vars_files::read(&directories, &mut builder)?;
        }
        let loaded = builder.finish()?;
        if loaded.inventory.is_empty() {
            let name = sources
                .first()
                .map_or_else(|| "no inventory".to_owned(), Source::name);
            return Err(InventoryError::NoHosts { name });
        }
        Ok(loaded)
    }
}
