//! Something that is done once, and whose result everyone gets.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// Runs at most one thing for each key and gives its result, a failure too, to everyone who asks. Clones share it.
///
/// If whoever runs it is dropped in the middle, the next one who waits runs it; so it may be *started* more than once,
/// but it ends once.
#[derive(Debug)]
pub struct RunOnce<K, T> {
    cells: Arc<Mutex<HashMap<K, Arc<OnceCell<T>>>>>,
}

// === impl RunOnce ===

impl<K: Eq + Hash, T: Clone> RunOnce<K, T> {
    /// Nothing has run yet.
    pub fn new() -> Self {
        Self {
            cells: Arc::default(),
        }
    }

    /// The result for `key`; `run` makes it if nobody has and nobody is about to.
    pub async fn get<F: Future<Output = T>>(&self, key: K, run: impl FnOnce() -> F) -> T {
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_init(run).await.clone()
    }

    /// The result for `key`, if there is one by now.
    pub fn done(&self, key: &K) -> Option<T> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get(key).and_then(|cell| cell.get().cloned())
    }
}

impl<K, T> Clone for RunOnce<K, T> {
    fn clone(&self) -> Self {
        Self {
            cells: Arc::clone(&self.cells),
        }
    }
}

impl<K: Eq + Hash, T: Clone> Default for RunOnce<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_too() {
        let once: RunOnce<&str, Result<u32, String>> = RunOnce::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let (once, runs) = (once.clone(), Arc::clone(&runs));
            tasks.spawn(async move {
                once.get("bootstrap", || async {
                    sleep(Duration::from_secs(5)).await;
                    runs.fetch_add(1, Ordering::SeqCst);
                    Err("no token".to_owned())
                })
                .await
            });
        }
        for result in tasks.join_all().await {
            assert_eq!(result, Err("no token".to_owned()));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(once.get("other", || async { Ok(7) }).await, Ok(7));
        assert_eq!(once.done(&"other"), Some(Ok(7)));
        assert_eq!(once.done(&"third"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_runner_goes_the_next_one_runs_it() {
        let once: RunOnce<(), u32> = RunOnce::new();
        let first = tokio::spawn({
            let once = once.clone();
            async move { once.get((), std::future::pending).await }
        });
        tokio::task::yield_now().await;
        let second = tokio::spawn({
            let once = once.clone();
            async move { once.get((), || async { 2 }).await }
        });
        tokio::task::yield_now().await;
        first.abort();
        assert_eq!(second.await.unwrap(), 2);
    }
}
