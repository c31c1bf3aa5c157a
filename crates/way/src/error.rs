//! Errors of finding the way to a host.

use reveille_inventory::InventoryError;

/// An error in the input, worded for the operator. Nothing was dispatched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The inventory, or a pattern, is not valid.
    #[error("{0}")]
    Inventory(#[from] InventoryError),
    /// The configuration of `ssh` is not valid.
    #[error("{0}")]
    SshConfig(#[from] reveille_ssh_config::Error),
    /// Another error; the text contains what is wrong and what to try.
    #[error("{0}")]
    Input(String),
}

// === impl Error ===

impl Error {
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }
}
