//! The numbers while a test runs, in the form that Prometheus reads.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::scenario::Scenario;
use crate::stats::{Second, Totals};

/// A scraper has this long for its question.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_QUESTION: usize = 8192;

/// Answers scrapes with the text of the last second.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    text: Arc<Mutex<String>>,
}

// === impl Exporter ===

impl Exporter {
    /// Listens; the address is the one that was given, with the port that was found if it was 0.
    pub(crate) async fn start(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let this = Self { text: Arc::default() };
        let text = Arc::clone(&this.text);
        tokio::task::spawn_local(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                };
                let body = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // One after another: whoever dawdles is cut off.
                let _ = tokio::time::timeout(PATIENCE, async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_QUESTION {
                        head.push(stream.read_u8().await?);
                    }
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await
                })
                .await;
            }
        });
        Ok((this, bound))
    }

    pub(crate) fn update(&self, scenario: &Scenario, second: &Second, totals: &Totals) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = render(scenario, second, totals);
    }
}

fn render(scenario: &Scenario, second: &Second, totals: &Totals) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str| {
        text.push_str(&format!(
            "# HELP reveille_load_{name} {help}\n# TYPE reveille_load_{name} {kind}\n"
        ));
    };
    metric("users", "gauge", "Running users.");
    text.push_str(&format!("reveille_load_users {}\n", second.users));
    let mut metric = |name: &str, help: &str, value: &dyn Fn(&crate::stats::RowTotals) -> u64| {
        text.push_str(&format!(
            "# HELP reveille_load_{name}_total {help}\n# TYPE reveille_load_{name}_total counter\n"
        ));
        for (row, task) in totals.rows.iter().zip(&scenario.rows) {
            text.push_str(&format!(
                "reveille_load_{name}_total{{task=\"{}\"}} {}\n",
                label(task),
                value(row)
            ));
        }
    };
    metric("started", "Requests that began.", &|row| row.counts.started);
    metric("completed", "Requests answered as expected.", &|row| {
        row.counts.completed
    });
    metric("failed", "Requests not answered as expected.", &|row| {
        row.counts.failed
    });
    for (name, latencies) in [("intended", &totals.all.intended), ("actual", &totals.all.actual)] {
        text.push_str(&format!(
            "# HELP reveille_load_latency_{name}_seconds Latency from the {name} start.\n# TYPE reveille_load_latency_{name}_seconds summary\n"
        ));
        for quantile in [0.5, 0.95, 0.99] {
            text.push_str(&format!(
                "reveille_load_latency_{name}_seconds{{quantile=\"{quantile}\"}} {}\n",
                latencies.quantile(quantile).as_secs_f64()
            ));
        }
        text.push_str(&format!(
            "reveille_load_latency_{name}_seconds_sum {}\nreveille_load_latency_{name}_seconds_count {}\n",
            latencies.mean().as_secs_f64() * latencies.count() as f64,
            latencies.count()
        ));
    }
    text
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
