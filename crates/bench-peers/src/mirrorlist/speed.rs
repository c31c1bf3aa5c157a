//! Memory, start, and requests a second.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use reveille_mirrorlist::synthetic::{CACHE, NETBLOCKS, repository};
use xtask::failure::{Failure, Result};
use xtask::tell;

use super::Lab;
use super::server::Server;

/// Connections of the main load.
const CONNECTIONS: u32 = 8;

/// Clients at once, a connection for each request.
const CONCURRENCY: [u32; 5] = [8, 10, 100, 200, 400];

/// Requests with a connection each.
const REQUESTS: u32 = 5000;

/// A start is measured so often.
const STARTS: usize = 5;

/// What a load came to.
#[derive(Debug, Clone, Default)]
struct Row {
    a_second: f64,
    cpu_ms: f64,
    quantile_99: String,
}

pub(super) fn run(lab: &Lab) -> Result<String> {
    let mut text = String::from("| | ours |");
    let mut columns = vec![measure(lab, || Server::ours(lab, &lab.data, &[]))?];
    if let Some(reference) = &lab.reference {
        text.push_str(" reference |");
        columns.push(measure(lab, || Server::reference(lab, reference, &lab.data))?);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    for row in 0..columns[0].len() {
        let _ = write!(text, "| {} |", columns[0][row].0);
        for column in &columns {
            let _ = write!(text, " {} |", column[row].1);
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "\nCPU is the server's. Starts: the median of {STARTS}. `wrk -t 1 -c {CONNECTIONS} -d {}s`; `ab -n {REQUESTS} -c N`, a connection for each \
         request. The client is in Japan, on no network of a mirror. The snapshot has {} MB, the prefixes {} MB.\n",
        lab.seconds,
        megabytes(lab, CACHE),
        megabytes(lab, NETBLOCKS)
    ));
    Ok(text)
}

/// How large a file of the data is.
fn megabytes(lab: &Lab, file: &str) -> u64 {
    std::fs::metadata(lab.data.join(file)).map_or(0, |metadata| metadata.len() / 1_000_000)
}

/// Measures a server, which is started some times for that.
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
    add(
        "start to the first answer, CPU",
        range(starts.iter().map(|(processor, _)| *processor)),
    );
    add(
        "start to the first answer, wall",
        range(starts.iter().map(|(_, wall)| *wall)),
    );
    let last = lab.directories / 2 * 2 - 2;
    for (what, path, directory) in [
        ("mirrorlist, directory at the end", "mirrorlist", last),
        ("mirrorlist, directory at the start", "mirrorlist", 0),
        ("metalink, end", "metalink", last),
        ("metalink, start", "metalink", 0),
    ] {
        let (repo, arch) = repository(directory);
        let url = format!("http://{}/{path}?repo={repo}&arch={arch}", server.address);
        let row = wrk(lab, &server, &url)?;
        add(
            &format!("{what}, {CONNECTIONS} connections"),
            format!(
                "{:.0}/s, {:.3} ms CPU, p99 {}",
                row.a_second, row.cpu_ms, row.quantile_99
            ),
        );
    }
    for concurrency in CONCURRENCY {
        let (repo, arch) = repository(last);
        let url = format!("http://{}/mirrorlist?repo={repo}&arch={arch}", server.address);
        add(
            &format!("ab, {concurrency} at once: worst request"),
            ab(&url, concurrency)?,
        );
    }
    let (now, most) = server.memory();
    add("memory", format!("{now:.0} MB ({most:.0} MB at most)"));
    Ok(rows)
}

/// The median, the least and the most.
fn range(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let (least, most) = (times.first().unwrap_or(&0.0), times.last().unwrap_or(&0.0));
    let median = times.get(times.len() / 2).unwrap_or(&0.0);
    format!("{median:.2} s ({least:.2} to {most:.2})")
}

fn wrk(lab: &Lab, server: &Server, url: &str) -> Result<Row> {
    let before = server.cpu();
    let output = Command::new("wrk")
        .args([
            "-t",
            "1",
            "-c",
            &CONNECTIONS.to_string(),
            "-d",
            &format!("{}s", lab.seconds),
        ])
        .args(["--latency", "-H", "X-Forwarded-For: 5.6.7.8", url])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let used = server.cpu().saturating_sub(before);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(Failure::failed(format!("requests failed: {text}")));
    }
    let after = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
            .ok_or_else(|| Failure::failed(format!("wrk said something else: {text}")))
    };
    let a_second: f64 = after("Requests/sec:")?.parse().unwrap_or(0.0);
    let requests: f64 = text
        .lines()
        .find(|line| line.contains(" requests in "))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .unwrap_or(f64::NAN);
    Ok(Row {
        a_second,
        cpu_ms: used.as_secs_f64() * 1000.0 / requests,
        quantile_99: after("99%")?,
    })
}

fn ab(url: &str, concurrency: u32) -> Result<String> {
    let output = ab_command(url, REQUESTS, concurrency).output()?;
    if !output.status.success() {
        // A server that resets connections ends it: that is a finding.
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

/// What `ab` found out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) quantile_99: Duration,
    pub(super) worst: Duration,
}

/// So many requests, so many of them at once, with a connection each.
pub(super) fn ab_command(url: &str, requests: u32, at_once: u32) -> Command {
    let mut command = Command::new("ab");
    command
        .args(["-q", "-n", &requests.to_string(), "-c", &at_once.to_string()])
        // Answers differ in length, as they should.
        .args(["-l", "-H", "X-Forwarded-For: 5.6.7.8", url]);
    command
}

pub(super) fn read_ab(output: &[u8]) -> Result<Found> {
    let text = String::from_utf8_lossy(output);
    let value = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let of =
        |name: &str| value(name).ok_or_else(|| Failure::failed(format!("ab said something else: {text}")));
    Ok(Found {
        requests: of("Complete requests:")?,
        failed: of("Failed requests:")? + value("Non-2xx responses:").unwrap_or(0),
        quantile_99: Duration::from_millis(of("99%")?),
        worst: Duration::from_millis(of("100%")?),
    })
}
