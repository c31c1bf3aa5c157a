//! Many clients in the same moment, and many in a minute.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Load, Outcome, Until};
use super::server::Server;
use super::{Lab, repository};
use crate::failure::{Failure, Result};

/// Proxies in front, as Fedora has them.
const PROXIES: usize = 12;

/// Requests in the same moment.
const AT_ONCE: usize = 4000;

pub(super) fn run(lab: &Lab) -> Result<String> {
    let server = Server::ours(lab, &lab.data, &[])?;
    let (repo, arch) = repository(lab.directories / 2 * 2 - 2);
    let requests: Arc<[Vec<u8>]> = (0..64)
        .map(|client| {
            format!(
                "GET /mirrorlist?repo={repo}&arch={arch} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 23.4.64.{client}\r\n\r\n"
            )
            .into_bytes()
        })
        .collect();
    let load = |connections, until| Load {
        address: server.address,
        requests: Arc::clone(&requests),
        connections,
        until,
        reconnect: true,
        exclusive: None,
    };
    let burst = apply(&load(AT_ONCE / PROXIES + 1, Until::Answered(1)), PROXIES)?;
    let minute = apply(&load(1, Until::Answered(50_000 / PROXIES as u64 + 1)), PROXIES)?;
    let row = |what: &str, outcome: &Outcome| {
        format!(
            "| {what} | {} | {} | {:.1} s | {:.1} ms | {:.1} ms |\n",
            outcome.latencies.number(),
            outcome.failed,
            outcome.took.as_secs_f64(),
            millis(outcome.latencies.quantile(0.99)),
            millis(outcome.latencies.worst())
        )
    };
    Ok(format!(
        "| | requests | failed | took | p99 | worst |\n|---|---|---|---|---|---|\n{}{}\n\
         {PROXIES} threads, a connection for each request, all clients in one network.\n",
        row("4,000 in the same moment", &burst),
        row("50,000, as fast as they are answered", &minute)
    ))
}

fn apply(load: &Load, threads: usize) -> Result<Outcome> {
    let mut total = Outcome::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| load.apply())).collect();
        for thread in running {
            let outcome = thread
                .join()
                .map_err(|_| Failure::failed("a thread of the load broke off"))??;
            total.add(&outcome);
        }
        Ok::<(), Failure>(())
    })?;
    Ok(total)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
