//! Why there is no way to a host.

use reveille_inventory::InventoryError;

/// A failure, worded for the operator. All of them are bad input: nothing was dispatched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The inventory, or a pattern, can't be used.
    #[error("{0}")]
    Inventory(#[from] InventoryError),
    /// The configuration of `ssh` can't be used.
    #[error("{0}")]
    SshConfig(#[from] reveille_ssh_config::Error),
    /// Something else is wrong; the text says what and what to try.
    #[error("{0}")]
    Input(String),
}

// === impl Error ===

impl Error {
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }
}
