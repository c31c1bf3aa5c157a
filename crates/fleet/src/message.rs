//! What host tasks and the dispatcher tell each other.

use futures::future::{BoxFuture, Shared};
use reveille_account::Status;
use reveille_history::OnceState;
use tokio::sync::oneshot;

/// What host tasks tell the dispatcher.
pub(crate) enum Message {
    /// A host's turn has come; it is told whether it is dispatched.
    Turn {
        index: usize,
        reply: oneshot::Sender<Option<Dispatched>>,
    },
    /// A host's outcome is on record; its task may have something to clean yet.
    Ended { index: usize, status: Status },
    /// It is on record what became of a step that runs once for all hosts.
    OnceSettled { step: u32, state: OnceState },
    /// Two hosts refused the password.
    PasswordRefused,
}

/// The commit of a dispatch, which many may share.
pub(crate) type Dispatched = Shared<BoxFuture<'static, Result<u64, reveille_ledger::Error>>>;
