//! Tries a password on one host first: a wrong one that every host gets at once would lock the account on all of them.
//!
//! ```text
//!  untried ── a host takes its turn ──► on trial ── worked ──► proven: all hosts at once
//!     ▲                                   │
//!     ├── the host ended for other reasons┤
//!     └── refused once                    └── refused by two hosts ──► dispatching stops
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The number of hosts that must refuse a password before dispatching stops.
const REFUSALS: u32 = 2;

/// Whether the passwords of a run are right.
#[derive(Debug)]
pub(crate) struct Trial {
    proven: watch::Sender<bool>,
    turns: Arc<Semaphore>,
    refused: AtomicU32,
}

/// A host's turn to try the password, until it is dropped. Irrelevant once the password is proven.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

// === impl Trial ===

impl Trial {
    /// A run without passwords has nothing to prove.
    pub(crate) fn new(passwords: bool) -> Self {
        Self {
            proven: watch::Sender::new(!passwords),
            turns: Arc::new(Semaphore::new(1)),
            refused: AtomicU32::new(0),
        }
    }

    /// Waits until the password is proven, or for the turn to try it.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        let mut proven = self.proven.subscribe();
        if *proven.borrow_and_update() {
            return None;
        }
        let turn = tokio::select! {
            biased;
            // The sender lives as long as this value.
            _ = async { proven.wait_for(|proven| *proven).await.is_ok() } => return None,
            turn = Arc::clone(&self.turns).acquire_owned() => turn,
        };
        // The semaphore is never closed.
        turn.ok().filter(|_| !*self.proven.borrow()).map(Turn)
    }

    /// Records that a host accepted the password.
    pub(crate) fn worked(&self) {
        self.proven
            .send_if_modified(|proven| !std::mem::replace(proven, true));
    }

    /// Records that a host refused the password. Returns true if dispatching must stop.
    pub(crate) fn refused(&self) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed) + 1 >= REFUSALS
    }

    /// Whether the password is proven, or there is none.
    pub(crate) fn is_proven(&self) -> bool {
        *self.proven.borrow()
    }

    /// Whether enough hosts refused it to stop dispatching.
    pub(crate) fn is_given_up(&self) -> bool {
        self.refused.load(Ordering::Relaxed) >= REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_until_it_is_proven() {
        let trial = Arc::new(Trial::new(true));
        let first = trial.turn().await.expect("the first turn");
        let waiting = tokio::spawn({
            let trial = Arc::clone(&trial);
            async move { trial.turn().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap().expect("the second turn");
        let others: Vec<_> = (0..10)
            .map(|_| {
                let trial = Arc::clone(&trial);
                tokio::spawn(async move { trial.turn().await.is_none() })
            })
            .collect();
        trial.worked();
        for other in others {
            assert!(other.await.unwrap());
        }
        drop(second);
        assert!(trial.turn().await.is_none());
        assert!(Trial::new(false).turn().await.is_none());
    }

    #[test]
    fn two_refusals_are_enough() {
        let trial = Trial::new(true);
        assert!(!trial.refused() && !trial.is_given_up());
        assert!(trial.refused() && trial.is_given_up());
    }
}
