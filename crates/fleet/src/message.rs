//! Messages between host tasks and the dispatcher.

use futures::future::{BoxFuture, Shared};
use reveille_account::Status;
use reveille_history::OnceState;
use tokio::sync::oneshot;

/// A message from a host task to the dispatcher.
pub(crate) enum Message {
    /// The host has its turn; the reply is whether it is dispatched.
    Turn {
        index: usize,
        reply: oneshot::Sender<Option<Dispatched>>,
    },
    /// The host's outcome is on record; its task may still clean up.
    Ended { index: usize, status: Status },
    /// The result of a `once` step is on record.
    OnceSettled { step: u32, state: OnceState },
    /// Two hosts refused the password.
    PasswordRefused,
}

/// The commit of a dispatch, which many may share.
pub(crate) type Dispatched = Shared<BoxFuture<'static, Result<u64, reveille_ledger::Error>>>;
