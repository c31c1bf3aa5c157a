//! Memory, start, and requests a second.

use std::process::Command;
use std::time::Duration;

use reveille_mirrorlist::synthetic::{CACHE, NETBLOCKS, repository};
use xtask::failure::{Failure, Result};
use xtask::tell;

use super::Lab;
use super::server::Server;
use crate::load::numbers::Numbers;
use crate::table::{Spread, Table};

/// Connections of the main load.
const CONNECTIONS: u32 = 8;

/// Clients at once, a connection for each request.
const CONCURRENCY: [u32; 5] = [8, 10, 100, 200, 400];

/// Requests with a connection each.
const REQUESTS: u32 = 5000;

/// The header that names the client.
const CLIENT: &str = "X-Forwarded-For: 5.6.7.8";

/// How often a start is measured.
const STARTS: usize = 5;

pub(super) fn run(lab: &Lab) -> Result<String> {
    let ours = measure(lab, || Server::ours(lab, &lab.data, &[]))?;
    let mut table;
    if let Some(reference) = &lab.reference {
        let theirs = measure(lab, || Server::reference(lab, reference, &lab.data))?;
        table = Table::new(" | ours | reference");
        for ((what, ours), (_, theirs)) in ours.iter().zip(theirs) {
            table.row(format_args!("{what} | {ours} | {theirs}"));
        }
    } else {
        table = Table::new(" | ours");
        for (what, ours) in ours {
            table.row(format_args!("{what} | {ours}"));
        }
    }
    Ok(format!(
        "{table}\nCPU is the server's. Starts: the median of {STARTS}. `wrk -t 1 -c {CONNECTIONS} -d {}s`; `ab -n {REQUESTS} \
         -c N`, a connection for each request. The client is in Japan and in no network of a mirror. The snapshot has {} \
         MB, the prefixes {} MB.\n",
        lab.seconds,
        megabytes(lab, CACHE),
        megabytes(lab, NETBLOCKS)
    ))
}

/// The size of a file of the data.
fn megabytes(lab: &Lab, file: &str) -> u64 {
    std::fs::metadata(lab.data.join(file)).map_or(0, |metadata| metadata.len() / 1_000_000)
}

/// Measures a server, and starts it several times for that.
fn measure(lab: &Lab, start: impl Fn() -> Result<Server>) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    let mut add = |name: &str, value: String| {
        tell::line(&format!("{name}: {value}"));
        rows.push((name.to_owned(), value));
    };
    let mut starts = Vec::new();
    let mut server = start()?;
    while starts.len() < STARTS {
        starts.push(server.start);
        drop(server);
        server = start()?;
    }
    add("start to the first answer, CPU", spread(&starts, |start| start.0));
    add(
        "start to the first answer, wall",
        spread(&starts, |start| start.1),
    );
    let (end, start) = (lab.last(), repository(0));
    let url = |path: &str, (repo, arch): &(String, &str)| {
        format!("http://{}/{path}?repo={repo}&arch={arch}", server.address)
    };
    for (what, path, place) in [
        ("mirrorlist, directory at the end", "mirrorlist", &end),
        ("mirrorlist, directory at the start", "mirrorlist", &start),
        ("metalink, end", "metalink", &end),
        ("metalink, start", "metalink", &start),
    ] {
        let value = wrk(lab, &server, &url(path, place))?;
        add(&format!("{what}, {CONNECTIONS} connections"), value);
    }
    for concurrency in CONCURRENCY {
        let value = ab(&url("mirrorlist", &end), concurrency)?;
        add(&format!("ab, {concurrency} at once: worst request"), value);
    }
    let (now, most) = server.memory();
    add("memory", format!("{now:.0} MB (peak {most:.0} MB)"));
    Ok(rows)
}

fn spread(starts: &[(Duration, Duration)], time: impl Fn(&(Duration, Duration)) -> Duration) -> String {
    let Spread { least, median, most } = Spread::of(starts.iter().map(|start| time(start).as_secs_f64()));
    format!("{median:.2} s ({least:.2} to {most:.2})")
}

/// Requests a second, the server's processor time for each, and the 99th percentile.
fn wrk(lab: &Lab, server: &Server, url: &str) -> Result<String> {
    let before = server.cpu();
    let words = format!("-t 1 -c {CONNECTIONS} -d {}s --latency {url}", lab.seconds);
    let output = Command::new("wrk")
        .args(["-H", CLIENT])
        .args(words.split(' '))
        .output()?;
    let used = server.cpu().saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    match Numbers::of_wrk(&text) {
        Some(numbers) if numbers.failed == 0.0 => Ok(format!(
            "{:.0}/s, {:.3} ms CPU, p99 {:.2} ms",
            numbers.rate,
            used.as_secs_f64() * 1000.0 / numbers.completed,
            numbers.latencies[1].unwrap_or(f64::NAN)
        )),
        Some(_) => Err(Failure::failed(format!("requests failed: {text}"))),
        None => Err(Failure::failed(format!("can't read what wrk printed: {text}"))),
    }
}

fn ab(url: &str, concurrency: u32) -> Result<String> {
    let output = ab_command(url, REQUESTS, concurrency).output()?;
    if !output.status.success() {
        // A server that resets connections ends ab; this is a result.
        let text = String::from_utf8_lossy(&output.stdout);
        let done = text.rsplit("Total of ").next().unwrap_or_default();
        let done = done.split(' ').next().unwrap_or_default();
        return Ok(format!("connections reset after {done} requests"));
    }
    let found = read_ab(&output.stdout)?;
    Ok(format!(
        "{:.3} s, {} failed",
        found.worst.as_secs_f64(),
        found.failed
    ))
}

/// What `ab` reports.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) quantile_99: Duration,
    pub(super) worst: Duration,
}

/// `ab` with a number of requests, some of them at once, each with a connection.
pub(super) fn ab_command(url: &str, requests: u32, at_once: u32) -> Command {
    let mut command = Command::new("ab");
    command
        .args(["-q", "-n", &requests.to_string(), "-c", &at_once.to_string()])
        // Answers may differ in length.
        .args(["-l", "-H", CLIENT, url]);
    command
}

pub(super) fn read_ab(output: &[u8]) -> Result<Found> {
    let text = String::from_utf8_lossy(output);
    let value = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let of = |name: &str| {
        value(name).ok_or_else(|| Failure::failed(format!("can't read what ab printed: {text}")))
    };
    Ok(Found {
        requests: of("Complete requests:")?,
        failed: of("Failed requests:")? + value("Non-2xx responses:").unwrap_or(0),
        quantile_99: Duration::from_millis(of("99%")?),
        worst: Duration::from_millis(of("100%")?),
    })
}
