//! Many clients at the same moment, and many in a minute.

use std::process::Stdio;
use std::time::Instant;

use xtask::failure::Result;

use super::Lab;
use super::server::Server;
use super::speed::{Found, ab_command, read_ab};
use crate::table::Table;

/// Proxies in front of the server, as many as Fedora has; a process each.
const PROXIES: u32 = 12;

/// Requests at the same moment.
const AT_ONCE: u32 = 4000;

/// Requests that one network made within a minute.
const MINUTE: u32 = 50_000;

/// Requests of each proxy at once in that minute.
const EACH: u32 = 8;

pub(super) fn run(lab: &Lab) -> Result<String> {
    let server = Server::ours(lab, &lab.data, &[])?;
    let (repo, arch) = lab.last();
    let url = format!("http://{}/mirrorlist?repo={repo}&arch={arch}", server.address);
    let mut table = Table::new(" | requests | failed | took | p99 | worst");
    let share = AT_ONCE.div_ceil(PROXIES);
    for (what, requests, at_once) in [
        ("4,000 at the same moment", share, share),
        (
            "50,000, as fast as they are answered",
            MINUTE.div_ceil(PROXIES),
            EACH,
        ),
    ] {
        let started = Instant::now();
        let total = load(&url, requests, at_once)?;
        table.row(format_args!(
            "{what} | {} | {} | {:.1} s | {} ms | {} ms",
            total.requests,
            total.failed,
            started.elapsed().as_secs_f64(),
            total.quantile_99.as_millis(),
            total.worst.as_millis()
        ));
    }
    Ok(format!(
        "{table}\n{PROXIES} processes of `ab`, a connection for each request, all clients in one network; p99 is that of the \
         process with the highest. In the first row, all processes send all requests at the same moment.\n"
    ))
}

/// One load of all processes.
fn load(url: &str, requests: u32, at_once: u32) -> Result<Found> {
    let mut running = Vec::new();
    for _ in 0..PROXIES {
        let mut command = ab_command(url, requests, at_once);
        running.push(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    }
    let mut total = Found::default();
    for process in running {
        let found = read_ab(&process.wait_with_output()?.stdout)?;
        total.requests += found.requests;
        total.failed += found.failed;
        total.quantile_99 = total.quantile_99.max(found.quantile_99);
        total.worst = total.worst.max(found.worst);
    }
    Ok(total)
}
