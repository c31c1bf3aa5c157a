//! Room for recoveries beside first dispatches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Gate, Permit};

/// The slots of a run. First dispatches and recoveries pass the same gate, but as long as there are recoveries a part of
/// the slots is not given to first dispatches. While nothing has to be recovered, all slots are theirs. Clones share it.
///
/// Waiting here is waiting for a turn, and uses up no try.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// Everyone passes this one.
    all: Gate,
    /// First dispatches pass this one before.
    fresh: Gate,
    state: Arc<Mutex<State>>,
    share: f64,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    /// Given back in this order: whoever gets past `fresh` finds room in `all`.
    _all: Permit,
    _fresh: Option<Permit>,
    _recovery: Option<Recovery>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Recoveries that wait or have a slot.
    recoveries: usize,
}

/// A recovery that waits or has a slot.
#[derive(Debug)]
struct Recovery(Reserve);

// === impl Reserve ===

impl Reserve {
    /// The part of the slots that is kept by default.
    pub const SHARE: f64 = 0.10;

    /// Keeps `share` (from 0 to 1) of `limit` slots, rounded up, but leaves one for first dispatches.
    pub fn new(limit: usize, share: f64) -> Self {
        Self {
            all: Gate::new(limit),
            fresh: Gate::new(limit),
            state: Arc::new(Mutex::new(State { limit, recoveries: 0 })),
            share: share.clamp(0.0, 1.0),
        }
    }

    /// Waits for a slot for a host's first dispatch.
    pub async fn dispatch(&self) -> Slot {
        let fresh = self.fresh.acquire().await;
        Slot {
            _all: self.all.acquire().await,
            _fresh: Some(fresh),
            _recovery: None,
        }
    }

    /// Waits for a slot for a recovery.
    pub async fn recover(&self) -> Slot {
        // Made first, so that the reserve is kept while it waits, and let go if the wait is given up.
        let recovery = Recovery::new(self);
        Slot {
            _all: self.all.acquire().await,
            _fresh: None,
            _recovery: Some(recovery),
        }
    }

    /// Changes the number of slots, as memory allows. Slots in use stay.
    pub fn set_limit(&self, limit: usize) {
        let mut state = self.lock();
        state.limit = limit;
        self.all.set_limit(limit);
        self.share_out(&state);
    }

    /// Slots.
    pub fn limit(&self) -> usize {
        self.lock().limit
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        self.all.used()
    }

    fn share_out(&self, state: &State) {
        let kept = if state.recoveries == 0 {
            0
        } else {
            self.kept(state.limit)
        };
        self.fresh.set_limit(state.limit - kept);
    }

    /// Slots kept of `limit`, less than all.
    fn kept(&self, limit: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of slots is one"
        )]
        let kept = (limit as f64 * self.share).ceil() as usize;
        kept.min(limit.saturating_sub(1))
    }

    /// A panic elsewhere leaves the numbers whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Recovery ===

impl Recovery {
    fn new(reserve: &Reserve) -> Self {
        let mut state = reserve.lock();
        state.recoveries += 1;
        reserve.share_out(&state);
        drop(state);
        Self(reserve.clone())
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.recoveries -= 1;
        self.0.share_out(&state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    async fn fill(reserve: &Reserve, slots: usize) -> Vec<Slot> {
        let mut held = Vec::new();
        for _ in 0..slots {
            held.push(timeout(SOON, reserve.dispatch()).await.unwrap());
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn all_slots_are_for_dispatches_until_something_is_recovered() {
        let reserve = Reserve::new(20, Reserve::SHARE);
        let mut held = fill(&reserve, 20).await;
        let waiting = tokio::spawn({
            let reserve = reserve.clone();
            async move { reserve.recover().await }
        });
        tokio::task::yield_now().await;
        held.pop();
        let recovery = timeout(SOON, waiting).await.unwrap().unwrap();
        held.pop();
        assert!(
            timeout(SOON, reserve.dispatch()).await.is_err(),
            "two of twenty are kept, one of them is free"
        );
        let second = timeout(SOON, reserve.recover()).await.unwrap();
        drop((recovery, second));
        assert_eq!(reserve.used(), 18);
        held.extend(fill(&reserve, 2).await);
        assert_eq!(reserve.used(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recovery_that_is_given_up_keeps_nothing() {
        let reserve = Reserve::new(1, Reserve::SHARE);
        let held = fill(&reserve, 1).await;
        assert!(timeout(SOON, reserve.recover()).await.is_err());
        drop(held);
        let held = fill(&reserve, 1).await;
        assert_eq!((held.len(), reserve.used()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_changes_while_in_use() {
        let reserve = Reserve::new(20, Reserve::SHARE);
        let recovery = reserve.recover().await;
        reserve.set_limit(4);
        let held = fill(&reserve, 3).await;
        assert!(timeout(SOON, reserve.dispatch()).await.is_err());
        drop(recovery);
        let last = fill(&reserve, 1).await;
        assert_eq!((reserve.used(), reserve.limit()), (4, 4));
        drop((held, last));
        reserve.set_limit(0);
        assert!(timeout(SOON, reserve.dispatch()).await.is_err());
    }
}
