//! A limit on concurrency.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Lets a limited number of holders in at once, first come first served. The limit can change while the gate is in use;
/// a lower one only delays later permits. Clones share the gate.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

/// The right to be inside a [`Gate`], until it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// `None` once it was given back.
    gate: Option<Gate>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    used: usize,
    /// Waiters in order; some may have given up.
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

// === impl Gate ===

impl Gate {
    /// A gate that lets in `limit` at once. 0 lets nobody in until the limit changes.
    pub fn new(limit: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                limit,
                used: 0,
                waiting: VecDeque::new(),
            })),
        }
    }

    /// Waits for a permit. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self) -> Permit {
        loop {
            let receiver = {
                let mut state = self.lock();
                if state.used < state.limit && state.waiting.is_empty() {
                    state.used += 1;
                    return self.permit();
                }
                if state.waiting.len() == state.waiting.capacity() {
                    // Remove waiters that gave up before the queue grows.
                    state.waiting.retain(|sender| !sender.is_closed());
                }
                let (sender, receiver) = oneshot::channel();
                state.waiting.push_back(sender);
                receiver
            };
            // Senders are dropped only together with the gate, which `self` keeps alive.
            if let Ok(permit) = receiver.await {
                return permit;
            }
        }
    }

    /// Returns a permit if one is free and nobody waits.
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut state = self.lock();
        let free = state.used < state.limit && state.waiting.is_empty();
        free.then(|| {
            state.used += 1;
            self.permit()
        })
    }

    /// Changes the limit.
    pub fn set_limit(&self, limit: usize) {
        self.lock().limit = limit;
        self.admit();
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.lock().limit
    }

    /// Permits in use; may exceed a limit that was lowered.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    /// The number of waiters, including some that have given up.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn permit(&self) -> Permit {
        Permit {
            gate: Some(self.clone()),
        }
    }

    /// Lets waiters in while there is room.
    fn admit(&self) {
        loop {
            let sender = {
                let mut state = self.lock();
                if state.used >= state.limit {
                    return;
                }
                let Some(sender) = state.waiting.pop_front() else {
                    return;
                };
                state.used += 1;
                sender
            };
            // Outside the lock, because a permit that is returned takes it.
            if let Err(permit) = sender.send(self.permit()) {
                permit.give_back();
            }
        }
    }

    /// Ignores poisoning: the counts are consistent even after a panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Permit ===

impl Permit {
    /// Gives the permit back without admitting the next waiter, which would recurse for each waiter that gave up.
    fn give_back(mut self) {
        if let Some(gate) = self.gate.take() {
            gate.lock().used -= 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.lock().used -= 1;
            gate.admit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn never_more_than_the_limit_and_in_order() {
        let gate = Gate::new(3);
        let inside = Arc::new(AtomicUsize::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for number in 0..50 {
            let (gate, inside, order) = (gate.clone(), Arc::clone(&inside), Arc::clone(&order));
            tasks.spawn(async move {
                sleep(Duration::from_millis(number)).await;
                let _permit = gate.acquire().await;
                order.lock().unwrap().push(number);
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                sleep(Duration::from_secs(1)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
        tasks.join_all().await;
        assert!(order.lock().unwrap().is_sorted());
        assert_eq!((gate.used(), gate.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_changes_while_in_use() {
        let gate = Gate::new(2);
        let first = gate.acquire().await;
        let second = gate.acquire().await;
        gate.set_limit(1);
        drop(first);
        assert!(gate.try_acquire().is_none());
        let waiter = tokio::spawn({
            let gate = gate.clone();
            async move { gate.acquire().await }
        });
        tokio::task::yield_now().await;
        gate.set_limit(2);
        let third = waiter.await.unwrap();
        assert_eq!(gate.used(), 2);
        drop((second, third));
        gate.set_limit(0);
        assert!(timeout(Duration::from_secs(9), gate.acquire()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_does_not_block_the_queue() {
        let gate = Gate::new(1);
        let held = gate.acquire().await;
        for _ in 0..10_000 {
            assert!(timeout(Duration::ZERO, gate.acquire()).await.is_err());
        }
        let waiter = tokio::spawn({
            let gate = gate.clone();
            async move { gate.acquire().await }
        });
        tokio::task::yield_now().await;
        drop(held);
        drop(waiter.await.unwrap());
        assert_eq!((gate.used(), gate.waiting()), (0, 0));
    }
}
