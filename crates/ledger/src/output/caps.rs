//! Limits on the output kept, per attempt and per run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that the tails of a run's writers share; once it is used up, a tail is 16 KiB long.
pub(super) const TAIL_MEMORY: u64 = 64 << 20;

/// How much of an attempt's output to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputCaps {
    /// Bytes kept from the start, of both streams together.
    pub head: u64,
    /// Bytes kept from the end, of both streams together.
    pub tail: u64,
}

/// Shared by the writers of a run: the run's cap and the memory for tails.
#[derive(Debug, Clone)]
pub struct OutputShare {
    pub(super) left: Arc<AtomicU64>,
    pub(super) tails: Arc<AtomicU64>,
    /// What a power cut would leave; for simulations.
    #[cfg(feature = "memory")]
    durable: Durable,
}

/// The length of each file that survives a power cut.
#[cfg(feature = "memory")]
pub(crate) type Durable = Arc<std::sync::Mutex<std::collections::BTreeMap<std::path::PathBuf, u64>>>;

// === impl OutputCaps ===

impl Default for OutputCaps {
    /// 10 MiB: the first 8 MiB and the last 2 MiB.
    fn default() -> Self {
        Self {
            head: 8 << 20,
            tail: 2 << 20,
        }
    }
}

// === impl OutputShare ===

impl OutputShare {
    /// Caps the output of all hosts together at this many bytes.
    pub fn new(run_cap: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(run_cap)),
            tails: Arc::new(AtomicU64::new(TAIL_MEMORY)),
            #[cfg(feature = "memory")]
            durable: Durable::default(),
        }
    }

    /// No cap for the run; records in `durable` what was synced.
    #[cfg(feature = "memory")]
    pub(crate) fn telling(durable: &Durable) -> Self {
        Self {
            durable: Arc::clone(durable),
            ..Self::default()
        }
    }

    /// Records that `length` bytes of a file are on disk.
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

    /// The bytes left below the cap.
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

/// Takes up to `wanted` and returns the amount taken.
pub(super) fn take(from: &AtomicU64, wanted: u64) -> u64 {
    let before = from.update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.saturating_sub(wanted)
    });
    before.min(wanted)
}
