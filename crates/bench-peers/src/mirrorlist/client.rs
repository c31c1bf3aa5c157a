//! Our own load: some connections, each of which sends a request as soon as the previous one is answered. It checks
//! every answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use xtask::failure::{Failure, Result};

use super::http::Connection;

/// What is requested, by how many, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    /// Taken in turn.
    pub(super) requests: Arc<[Vec<u8>]>,
    pub(super) connections: usize,
    pub(super) lasts: Duration,
    /// Words of which each answer must have exactly one.
    pub(super) exclusive: [&'static str; 2],
}

/// The result of a load.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// In microseconds, to 1 %.
    pub(super) latencies: Histogram<u64>,
    pub(super) failed: u64,
    pub(super) mixed: u64,
    /// Answers with the first and the second of the words.
    pub(super) seen: [u64; 2],
    pub(super) took: Duration,
}

// === impl Load ===

impl Load {
    /// Applies the load, on one thread.
    pub(super) fn apply(&self) -> Result<Outcome> {
        let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
        let outcome = Arc::new(Mutex::new(Outcome {
            latencies: Histogram::new(2).map_err(|error| failed(&error))?,
            failed: 0,
            mixed: 0,
            seen: [0; 2],
            took: Duration::ZERO,
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let started = Instant::now();
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for number in 0..self.connections {
                clients.spawn(self.clone().client(number, started, Arc::clone(&outcome)));
            }
            while let Some(joined) = clients.join_next().await {
                joined.map_err(|error| failed(&error))?;
            }
            Ok::<(), Failure>(())
        })?;
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcome.took = started.elapsed();
        Ok(outcome)
    }

    async fn client(self, number: usize, started: Instant, outcome: Arc<Mutex<Outcome>>) {
        let mut connection = Connection::to(self.address);
        let mut turn = number;
        while started.elapsed() < self.lasts {
            let request = &self.requests[turn % self.requests.len()];
            turn += self.connections;
            let before = Instant::now();
            let answer = connection.ask(request).await;
            let took = before.elapsed();
            let body = answer.ok().filter(|answer| answer.status == 200);
            let has = body.map(|answer| {
                let text = String::from_utf8_lossy(answer.body);
                self.exclusive.map(|word| text.contains(word))
            });
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.latencies += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            match has {
                None => outcome.failed += 1,
                Some([true, false]) => outcome.seen[0] += 1,
                Some([false, true]) => outcome.seen[1] += 1,
                Some(_) => outcome.mixed += 1,
            }
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn a_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}
