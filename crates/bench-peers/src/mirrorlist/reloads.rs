//! Reloads under load, half of them of broken files. Answers must come from one snapshot each, and none may fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_mirrorlist::synthetic::{CACHE, COUNTRIES, GEOIP, NETBLOCKS, repository};
use xtask::failure::{Failure, Result};

use super::Lab;
use super::client::{Load, Outcome};
use super::http::Client;
use super::server::Server;
use crate::table::Table;

/// How long a load with reloads lasts.
const SECONDS: u64 = 60;

/// Reloads in each load.
const RELOADS: u32 = 10;

/// The domains of the two sets of data.
const DOMAINS: [&str; 2] = ["one.example", "two.example"];

/// Measures reloads beside each of these numbers of clients.
pub(super) fn run(lab: &Lab, clients: &[usize]) -> Result<String> {
    let sets = DOMAINS.map(|domain| lab.scratch.path().join(domain));
    for (domain, set) in DOMAINS.iter().zip(&sets) {
        lab.make_data(set, domain, lab.directories, 1)?;
    }
    let live = lab.scratch.path().join("live");
    fs::create_dir_all(&live)?;
    for file in [NETBLOCKS, COUNTRIES, GEOIP] {
        fs::hard_link(lab.data.join(file), live.join(file))?;
    }
    place(&sets[0].join(CACHE), &live)?;
    let server = Server::ours(lab, &live, &[])?;
    let before = server.memory();
    let mut table =
        Table::new("clients |  | requests | failed | mixed | from one, from two | p50 | p99 | worst");
    for &clients in clients {
        let load = load(lab, &server, clients, Duration::from_secs(lab.seconds.max(10)));
        row(&mut table, clients, "no reload", &load.apply()?);
        let load = Load {
            lasts: Duration::from_secs(SECONDS),
            ..load
        };
        let (outcome, [good, bad], slowest) = with_reloads(&load, &server, &sets, &live)?;
        let slowest = slowest.as_secs_f64();
        let what = format!("{good} reloads, {bad} refused, in {SECONDS} s, the slowest {slowest:.1} s");
        row(&mut table, clients, &what, &outcome);
    }
    let after = server.memory();
    Ok(format!(
        "{table}\nMemory: {:.0} MB before, {:.0} MB after, peak {:.0} MB. One thread on the same machine makes the load; each \
         client sends a request as soon as the previous one is answered. Half of the files are broken (cut off, of another \
         kind, empty).\n",
        before.0, after.0, after.1
    ))
}

fn load(lab: &Lab, server: &Server, connections: usize, lasts: Duration) -> Load {
    let requests: Arc<[Vec<u8>]> = (0..1000)
        .map(|number| {
            let (repo, arch) = repository(number * 59 % lab.directories / 2 * 2);
            let path = if number % 4 == 3 { "metalink" } else { "mirrorlist" };
            format!(
                "GET /{path}?repo={repo}&arch={arch} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 5.6.7.{}\r\n\r\n",
                number % 250
            )
            .into_bytes()
        })
        .collect();
    Load {
        address: server.address,
        requests,
        connections,
        lasts,
        exclusive: DOMAINS,
    }
}

/// Applies a load, reloads in the meantime, and returns how many reloads succeeded, how many were refused, and how long
/// the slowest took.
fn with_reloads(
    load: &Load,
    server: &Server,
    sets: &[PathBuf; 2],
    live: &Path,
) -> Result<(Outcome, [u32; 2], Duration)> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| load.apply());
        let (mut done, mut slowest) = ([0, 0], Duration::ZERO);
        for number in 0..RELOADS {
            let due = Duration::from_millis(
                SECONDS * 1000 * (u64::from(number) * 2 + 1) / (u64::from(RELOADS) * 2),
            );
            std::thread::park_timeout(due.saturating_sub(started.elapsed()));
            let broken = number % 2 == 1;
            if broken {
                break_file(&sets[0].join(CACHE), live, number)?;
            } else {
                place(&sets[(number as usize / 2 + 1) % 2].join(CACHE), live)?;
            }
            let asked = Instant::now();
            let reply = Client::to(server.admin)?.ask("POST", "/-/reload", "Content-Length: 0\r\n")?;
            if (reply.status == 200) == broken {
                return Err(Failure::failed(format!(
                    "reload {number}: {} {}",
                    reply.status, reply.body
                )));
            }
            done[usize::from(broken)] += 1;
            slowest = slowest.max(asked.elapsed());
        }
        let outcome = applied
            .join()
            .map_err(|_| Failure::failed("the load broke off"))??;
        Ok((outcome, done, slowest))
    })
}

/// Puts a file into place in one step.
fn place(file: &Path, live: &Path) -> Result {
    let new = live.join("new");
    fs::copy(file, &new)?;
    fs::rename(&new, live.join(CACHE))?;
    Ok(())
}

fn break_file(whole: &Path, live: &Path, number: u32) -> Result {
    let new = live.join("new");
    match number / 2 % 3 {
        0 => {
            fs::copy(whole, &new)?;
            let length = fs::metadata(&new)?.len();
            fs::OpenOptions::new()
                .write(true)
                .open(&new)?
                .set_len(length / 2 + 1)?;
        }
        1 => fs::write(&new, "<html>502 Bad Gateway</html>\n")?,
        _ => fs::write(&new, "")?,
    }
    fs::rename(&new, live.join(CACHE))?;
    Ok(())
}

fn row(table: &mut Table, clients: usize, what: &str, outcome: &Outcome) {
    let latencies = &outcome.latencies;
    let millis = |share| latencies.value_at_quantile(share) as f64 / 1000.0;
    let (median, most, worst) = (millis(0.5), millis(0.99), millis(1.0));
    table.row(format_args!(
        "{clients} | {what} | {} ({:.0}/s) | {} | {} | {}, {} | {median:.1} ms | {most:.1} ms | {worst:.1} ms",
        latencies.len(),
        outcome.a_second(),
        outcome.failed,
        outcome.mixed,
        outcome.seen[0],
        outcome.seen[1],
    ));
}
