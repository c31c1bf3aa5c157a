//! Many clients in the same moment, and many in a minute.

use std::process::Stdio;
use std::time::{Duration, Instant};

use reveille_mirrorlist::synthetic::repository;
use xtask::failure::Result;

use super::Lab;
use super::server::Server;
use super::speed::{Found, ab_command, read_ab};

/// Proxies in front, as Fedora has them; a process each.
const PROXIES: u32 = 12;

/// Requests in the same moment.
const AT_ONCE: u32 = 4000;

/// Requests that a network made within a minute.
const MINUTE: u32 = 50_000;

/// Requests of each proxy at once while it makes those of a minute.
const EACH: u32 = 8;

pub(super) fn run(lab: &Lab) -> Result<String> {
    let server = Server::ours(lab, &lab.data, &[])?;
    let (repo, arch) = repository(lab.directories / 2 * 2 - 2);
    let url = format!("http://{}/mirrorlist?repo={repo}&arch={arch}", server.address);
    let share = AT_ONCE.div_ceil(PROXIES);
    Ok(format!(
        "| | requests | failed | took | p99 | worst |\n|---|---|---|---|---|---|\n{}{}\n\
         {PROXIES} processes of `ab`, a connection for each request, all clients in one network; p99 is that of the \
         process with the longest. The first row is all requests of all processes in the same moment.\n",
        row("4,000 in the same moment", &url, share, share)?,
        row(
            "50,000, as fast as they are answered",
            &url,
            MINUTE.div_ceil(PROXIES),
            EACH
        )?
    ))
}

/// One load of all processes.
fn row(what: &str, url: &str, requests: u32, at_once: u32) -> Result<String> {
    let started = Instant::now();
    let mut running = Vec::new();
    for _ in 0..PROXIES {
        let mut command = ab_command(url, requests, at_once);
        running.push(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    }
    let mut total = Found::default();
    for process in running {
        let output = process.wait_with_output()?;
        let found = read_ab(&output.stdout)?;
        total.requests += found.requests;
        total.failed += found.failed;
        total.quantile_99 = total.quantile_99.max(found.quantile_99);
        total.worst = total.worst.max(found.worst);
    }
    Ok(format!(
        "| {what} | {} | {} | {:.1} s | {} ms | {} ms |\n",
        total.requests,
        total.failed,
        started.elapsed().as_secs_f64(),
        millis(total.quantile_99),
        millis(total.worst)
    ))
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}
