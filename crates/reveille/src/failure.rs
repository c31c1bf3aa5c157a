//! Why a command ends without a result.

use reveille_account::{Exit, SourceError};
use reveille_fleet::RecipeError;
use reveille_inventory::InventoryError;

/// A failure, worded for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Bad usage or bad input: nothing was dispatched.
    #[error("{0}")]
    Usage(String),
    /// Mistakes in a file.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Mistakes(Vec<SourceError>),
    /// The inventory or a pattern is wrong.
    #[error("{0}")]
    Inventory(#[from] InventoryError),
    /// How to reach a host can't be decided.
    #[error("{0}")]
    Way(#[from] reveille_way::Error),
    /// A run can't be started, resumed or retried.
    #[error("{0}")]
    Recipe(#[from] RecipeError),
    /// The ledger can't be used.
    #[error("{0}")]
    Ledger(#[from] reveille_ledger::Error),
    /// The run as a whole failed.
    #[error("{0}")]
    Fleet(#[from] reveille_fleet::Failure),
    /// A file, thread or other resource of the system failed.
    #[error("{0}")]
    System(String),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// The same after hosts were dispatched: then it is no mistake in the input.
    pub(crate) fn after_dispatch(self) -> Self {
        match self.exit() {
            Exit::Usage => Self::System(self.to_string()),
            _ => self,
        }
    }

    /// The exit status for this failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Ledger(error) | Failure::Recipe(RecipeError::Ledger(error)) => {
                if is_input(error) {
                    Exit::Usage
                } else {
                    Exit::Internal
                }
            }
            Failure::Recipe(RecipeError::Damaged { .. }) | Failure::Fleet(_) | Failure::System(_) => {
                Exit::Internal
            }
            Failure::Usage(_)
            | Failure::Mistakes(_)
            | Failure::Inventory(_)
            | Failure::Way(_)
            | Failure::Recipe(_) => Exit::Usage,
        }
    }
}

/// Whether the ledger refused the user's input, before anything was dispatched.
fn is_input(error: &reveille_ledger::Error) -> bool {
    use reveille_ledger::Error;
    matches!(
        error,
        Error::StateDirectory { .. }
            | Error::NetworkFilesystem { .. }
            | Error::NoLedger { .. }
            | Error::NotALedger { .. }
            | Error::NewerSchema { .. }
            | Error::NoSuchRun(_)
            | Error::AmbiguousRun { .. }
            | Error::Held { .. }
            | Error::TwiceOnRoll { .. }
            | Error::ForeignTarget { .. }
    )
}
