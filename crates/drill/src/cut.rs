//! Breaks a connection from elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// Breaks a connection: the peer sees a reset, as if the machine had disappeared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    reader: Option<Waker>,
}

// === impl Cut ===

impl Cut {
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cut = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Whether it belongs to the same connection.
    pub(crate) fn is(&self, other: &Cut) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Whether it is cut; if not, wakes the reader when it will be.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.cut {
            state.reader = Some(context.waker().clone());
        }
        state.cut
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cut
    }
}
