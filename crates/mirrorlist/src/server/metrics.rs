//! Metrics for Prometheus.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Shared;
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
    requests: Family<SourceLabel, Counter>,
    /// The same counters, for a look-up without a lock.
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

const SOURCES: [(Source, &str); 7] = [
    (Source::Location, "location"),
    (Source::Netblock, "netblock"),
    (Source::Asn, "asn"),
    (Source::Country, "country"),
    (Source::GeoIp, "geoip"),
    (Source::Continent, "continent"),
    (Source::Global, "global"),
];

const NOWHERE: &str = "none";

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            by_source: HashMap::new(),
            latency: Histogram::new(LATENCIES),
            connections: Counter::default(),
            reloads: Family::default(),
            loaded: Gauge::default(),
            created: Gauge::default(),
            directories: Gauge::default(),
            hosts: Gauge::default(),
            prefixes: Gauge::default(),
            dropped: Gauge::default(),
        };
        for source in SOURCES
            .map(|(_, name)| name)
            .into_iter()
            .chain(Refusal::KINDS.iter().copied())
            .chain([NOWHERE])
        {
            let counter = metrics.requests.get_or_create_owned(&SourceLabel { source });
            metrics.by_source.insert(source, counter);
        }
        for result in ["success", "failure"] {
            metrics.reloads.get_or_create_owned(&ResultLabel { result });
        }
        let mut registry = Registry::with_prefix("mirrorlist");
        registry.register(
            "requests",
            "Requests by the source of the first mirrors, or by the reason why there were none",
            metrics.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "Time from a request to its answer, without the network",
            metrics.latency.clone(),
        );
        registry.register("connections", "Accepted connections", metrics.connections.clone());
        registry.register("reloads", "Reloads by their result", metrics.reloads.clone());
        registry.register(
            "snapshot_loaded_timestamp_seconds",
            "Time when the current snapshot was loaded",
            metrics.loaded.clone(),
        );
        registry.register(
            "snapshot_created_timestamp_seconds",
            "Time when the current data were created",
            metrics.created.clone(),
        );
        registry.register(
            "snapshot_directories",
            "Directories in the current snapshot",
            metrics.directories.clone(),
        );
        registry.register(
            "snapshot_hosts",
            "Mirrors in the current snapshot",
            metrics.hosts.clone(),
        );
        registry.register(
            "snapshot_prefixes",
            "Prefixes with an AS number",
            metrics.prefixes.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines that were lost because the disk was full or too slow",
            metrics.dropped.clone(),
        );
        metrics.registry = registry;
        metrics
    }

    pub(crate) fn answered(&self, source: Result<Option<Source>, &'static str>, took: Duration) {
        let name = match source {
            Ok(None) => NOWHERE,
            Ok(Some(source)) => SOURCES
                .iter()
                .find(|(known, _)| *known == source)
                .map_or(NOWHERE, |(_, name)| name),
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

    /// All metrics as text.
    pub(crate) fn text(&self, shared: &Shared) -> String {
        let dropped: u64 = [&shared.log, &shared.access_log]
            .into_iter()
            .flatten()
            .map(super::LineLog::dropped)
            .sum();
        self.dropped.set(i64::try_from(dropped).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
