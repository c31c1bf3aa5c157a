//! The numbers during a test, for Prometheus.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::scenario::Scenario;
use crate::stats::{Row, Second, Totals};

/// How long a scrape may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a scraper's request, in bytes.
const MAX_QUESTION: usize = 8192;

/// Answers scrapes with the numbers of the last second.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    text: Arc<Mutex<String>>,
}

// === impl Exporter ===

impl Exporter {
    /// Listens. Returns the address with the port that the system chose if it was 0.
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
                // Scrapes are answered one after another; a slow one is cut off.
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

/// The numbers in the text format of Prometheus. Its client library has no summaries, which quantiles are.
fn render(scenario: &Scenario, second: &Second, totals: &Totals) -> String {
    let mut text = String::new();
    head(&mut text, "users", "gauge", "Running users.");
    text += &format!("reveille_load_users {}\n", second.users);
    let mut counter = |name: &str, help: &str, value: fn(&Row) -> u64| {
        head(&mut text, name, "counter", help);
        for (row, task) in totals.numbers.rows.iter().zip(&scenario.rows) {
            let (task, value) = (label(task), value(row));
            text += &format!("reveille_load_{name}{{task=\"{task}\"}} {value}\n");
        }
    };
    counter("started_total", "Started requests.", |row| row.counts.started);
    counter("completed_total", "Requests answered as expected.", |row| {
        row.counts.completed
    });
    counter("failed_total", "Requests not answered as expected.", |row| {
        row.counts.failed
    });
    for (start, latencies) in [("intended", &totals.all.intended), ("actual", &totals.all.actual)] {
        let name = format!("latency_{start}_seconds");
        head(
            &mut text,
            &name,
            "summary",
            &format!("Latency from the {start} start."),
        );
        for quantile in [0.5, 0.95, 0.99] {
            let value = latencies.quantile(quantile).as_secs_f64();
            text += &format!("reveille_load_{name}{{quantile=\"{quantile}\"}} {value}\n");
        }
        let (sum, count) = (latencies.sum().as_secs_f64(), latencies.count());
        text += &format!("reveille_load_{name}_sum {sum}\nreveille_load_{name}_count {count}\n");
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    *text += &format!("# HELP reveille_load_{name} {help}\n# TYPE reveille_load_{name} {kind}\n");
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
