//! Metrics for Prometheus.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::refusal::Refusal;
use crate::select::Source;
use crate::snapshot::Snapshot;

/// Upper bounds of the histogram's buckets, in seconds.
const LATENCIES: [f64; 12] = [
    0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0,
];

/// Counters and gauges.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// The counters of requests, for a look-up without a lock.
    by_source: HashMap<&'static str, Counter>,
    latency: Histogram,
    connections: Counter,
    reloads: Family<ResultLabel, Counter>,
    loaded: Gauge,
    created: Gauge<f64, AtomicU64>,
    directories: Gauge,
    hosts: Gauge,
    prefixes: Gauge,
    dropped: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The label of answers without mirrors.
const NOWHERE: &str = "none";

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests: Family<SourceLabel, Counter> = Family::default();
        let sources = Source::ALL.map(Source::name).into_iter();
        let by_source = sources
            .chain(Refusal::KINDS.iter().copied())
            .chain([NOWHERE])
            .map(|source| (source, requests.get_or_create_owned(&SourceLabel { source })))
            .collect();
        let reloads: Family<ResultLabel, Counter> = Family::default();
        for result in ["success", "failure"] {
            reloads.get_or_create_owned(&ResultLabel { result });
        }
        let mut registry = Registry::with_prefix("mirrorlist");
        let to = &mut registry;
        let what = "Requests by the source of the first mirrors, or by the reason why there were none";
        register(to, "requests", what, requests);
        let what = "Time from a request to its answer, without the network";
        let latency = register(to, "request_seconds", what, Histogram::new(LATENCIES));
        let connections = register(to, "connections", "Accepted connections", Counter::default());
        let reloads = register(to, "reloads", "Reloads by their result", reloads);
        let what = "Time when the current snapshot was loaded";
        let loaded = register(to, "snapshot_loaded_timestamp_seconds", what, Gauge::default());
        let what = "Time when the current data were created";
        let created = register(to, "snapshot_created_timestamp_seconds", what, Gauge::default());
        let what = "Directories in the current snapshot";
        let directories = register(to, "snapshot_directories", what, Gauge::default());
        let what = "Mirrors in the current snapshot";
        let hosts = register(to, "snapshot_hosts", what, Gauge::default());
        let what = "Prefixes with an AS number";
        let prefixes = register(to, "snapshot_prefixes", what, Gauge::default());
        let what = "Log lines that were lost because the disk was full or too slow";
        let dropped = register(to, "log_lines_dropped", what, Gauge::default());
        Self {
            registry,
            by_source,
            latency,
            connections,
            reloads,
            loaded,
            created,
            directories,
            hosts,
            prefixes,
            dropped,
        }
    }

    pub(crate) fn answered(&self, source: Result<Option<Source>, &'static str>, took: Duration) {
        let name = match source {
            Ok(source) => source.map_or(NOWHERE, Source::name),
            Err(refusal) => refusal,
        };
        if let Some(counter) = self.by_source.get(name) {
            counter.inc();
        }
        self.latency.observe(took.as_secs_f64());
    }

    pub(crate) fn connection(&self) {
        self.connections.inc();
    }

    pub(crate) fn reloaded(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn loaded(&self, snapshot: &Snapshot) {
        let counts = snapshot.catalog().counts();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.loaded.set(jiff::Timestamp::now().as_second());
        self.created.set(snapshot.catalog().created() as f64);
        self.directories.set(number(counts.directories));
        self.hosts.set(number(counts.hosts));
        self.prefixes.set(number(snapshot.networks().prefixes()));
    }

    /// All metrics as text; `dropped` lines of logs were lost.
    pub(crate) fn text(&self, dropped: u64) -> String {
        self.dropped.set(i64::try_from(dropped).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, what: &str, metric: M) -> M {
    registry.register(name, what, metric.clone());
    metric
}
