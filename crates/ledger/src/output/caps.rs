//! How much output is kept, of an attempt and of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of tails that all writers of a run may hold in memory together; a tail that finds none left is 16 KiB long.
pub(super) const TAIL_MEMORY: u64 = 64 << 20;

/// How much of an attempt's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputCaps {
    /// Bytes kept from the start, of both streams together.
    pub head: u64,
    /// Bytes kept from the end, of both streams together.
    pub tail: u64,
}

/// What the writers of a run share: the run's cap and the memory for tails.
#[derive(Debug, Clone)]
pub struct OutputShare {
    pub(super) left: Arc<AtomicU64>,
    pub(super) tails: Arc<AtomicU64>,
    /// What a power cut would leave, for simulations.
    #[cfg(feature = "memory")]
    durable: Durable,
}

/// How much of each file survives a power cut.
#[cfg(feature = "memory")]
pub(crate) type Durable = Arc<std::sync::Mutex<std::collections::BTreeMap<std::path::PathBuf, u64>>>;

// === impl OutputCaps ===

impl Default for OutputCaps {
    /// 10 MiB: the first 8 and the last 2.
    fn default() -> Self {
        Self {
            head: 8 << 20,
            tail: 2 << 20,
        }
    }
}

// === impl OutputShare ===

impl OutputShare {
    /// The outputs of all hosts together may take this many bytes.
    pub fn new(run_cap: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(run_cap)),
            tails: Arc::new(AtomicU64::new(TAIL_MEMORY)),
            #[cfg(feature = "memory")]
            durable: Durable::default(),
        }
    }

    /// No cap for the run; what is synced is told to `durable`.
    #[cfg(feature = "memory")]
    pub(crate) fn telling(durable: &Durable) -> Self {
        Self {
            durable: Arc::clone(durable),
            ..Self::default()
        }
    }

    /// So much of a file is on the disk.
    #[cfg(feature = "memory")]
    pub(super) fn synced(&self, path: &std::path::Path, length: u64) {
        let mut durable = self
            .durable
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        durable.insert(path.to_owned(), length);
    }

    pub(crate) fn set_left(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that may still be written.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

impl Default for OutputShare {
    /// No cap for the run.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

/// Takes up to `wanted` and tells how much.
pub(super) fn take(from: &AtomicU64, wanted: u64) -> u64 {
    let before = from.update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.saturating_sub(wanted)
    });
    before.min(wanted)
}
