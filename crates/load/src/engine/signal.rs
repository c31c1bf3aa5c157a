//! Signals to users: to stop, or that there may be an arrival.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// A start that is no later than this is on time, because timers have a resolution of a millisecond.
pub(crate) const ON_TIME: Duration = Duration::from_millis(3);

/// How a user is reached.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    stop: Cell<bool>,
    /// There may be an arrival to take.
    pub(crate) go: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

// === impl Signal ===

impl Signal {
    pub(crate) fn stop(&self) {
        self.stop.set(true);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get()
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until `until`, or until the user is stopped.
    pub(crate) async fn sleep(&self, until: Instant) {
        let mut sleep = pin!(tokio::time::sleep_until(until.into()));
        poll_fn(|context| {
            if self.stop.get() || sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until there may be an arrival, or until the user is stopped.
    pub(crate) async fn called(&self) {
        poll_fn(|context| {
            if self.stop.get() || self.go.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
