//! What the connections of a server share.

use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::limit::Limiter;
use super::log::LineLog;
use super::metrics::Metrics;
use crate::forwarded::TrustedProxies;
use crate::select::Rules;
use crate::snapshot::Snapshot;
use crate::throttled_read::Answers;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) answers: Answers,
    pub(crate) rules: Rules,
    pub(crate) proxies: TrustedProxies,
    pub(crate) metrics: Metrics,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) log: Option<LineLog>,
    pub(crate) access_log: Option<LineLog>,
    pub(crate) max_stale: Option<Duration>,
}

/// Waits until the server stops or is dropped.
pub(super) async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

// === impl Shared ===

impl Shared {
    /// Both logs, as far as there are any.
    pub(super) fn logs(&self) -> impl Iterator<Item = &LineLog> {
        self.log.iter().chain(&self.access_log)
    }
}
