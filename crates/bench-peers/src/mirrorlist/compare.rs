//! Answers beside those of MirrorManager's server: they must be equal except for the order, and all orders must be
//! equally likely.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use fastrand::Rng;

use xtask::failure::{Failure, Result};
use xtask::tell;

use super::Lab;
use super::corpus::Request;
use super::http::{Client, Reply};
use super::server::Server;
use crate::table::Table;

/// Directories of the data; few, because the reference reads all of them for each request.
const DIRECTORIES: u32 = 400;

/// Requests for each comparison of orders.
const DRAWS: u32 = 3000;

/// Differences that are shown.
const SHOWN: usize = 10;

/// An answer without its order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    status: u16,
    /// Words of the first line of a list, the text of an error, or a metalink without its URLs.
    head: BTreeSet<String>,
    urls: BTreeSet<String>,
    redirected: bool,
}

pub(super) fn run(lab: &Lab, reference: &Path) -> Result<String> {
    let data = lab.scratch.path().join("compared");
    lab.make_data(&data, "example", DIRECTORIES, 20_000)?;
    let theirs = Server::reference(lab, reference, &data)?;
    let mut text = String::new();
    for (name, options) in [("--strict-compat", &["--strict-compat"][..]), ("default", &[])] {
        let ours = Server::ours(lab, &data, options)?;
        let strict = !options.is_empty();
        text.push_str(&contents(lab, &ours, &theirs, name, strict)?);
        if strict {
            text.push_str(&orders(&ours, &theirs)?);
        }
    }
    Ok(text)
}

/// Sends each request to both servers.
fn contents(lab: &Lab, ours: &Server, theirs: &Server, name: &str, strict: bool) -> Result<String> {
    let mut random = Rng::with_seed(5);
    let (mut one, mut other) = (Client::to(ours.address)?, Client::to(theirs.address)?);
    let (mut equal, mut different) = (0, Vec::new());
    let mut documented: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..lab.requests {
        let request = Request::random(&mut random, DIRECTORIES);
        let mine = one.ask("GET", &request.target, &request.headers)?;
        let Ok(their) = other.ask("GET", &request.target, &request.headers) else {
            *documented
                .entry("the reference closed the connection")
                .or_default() += 1;
            continue;
        };
        let (a, b) = (Content::of(&mine), Content::of(&their));
        if a == b && redirect_is_one_of(&mut one, &request, &their) {
            equal += 1;
        } else if let Some(why) = expected(&request, &mine, &their, strict) {
            *documented.entry(why).or_default() += 1;
        } else {
            different.push((request, mine, their));
        }
    }
    for (request, mine, their) in different.iter().take(SHOWN) {
        tell::line(&format!(
            "different: {} {:?}\nours: {} {:?}\n{}\ntheirs: {} {:?}\n{}",
            request.target,
            request.headers,
            mine.status,
            mine.location,
            mine.body,
            their.status,
            their.location,
            their.body
        ));
    }
    let mut text = format!(
        "**{name}**: {} requests: {equal} equal, {} with a documented difference, {} with another difference.\n\n",
        lab.requests,
        documented.values().sum::<u32>(),
        different.len()
    );
    for (why, count) in documented {
        let _ = writeln!(text, "- {count} × {why}");
    }
    text.push('\n');
    Ok(text)
}

/// Whether their redirect leads to a mirror of our list.
fn redirect_is_one_of(ours: &mut Client, request: &Request, their: &Reply) -> bool {
    let Some(location) = &their.location else {
        return true;
    };
    let list = request.target.replace("redirect=1", "x=1");
    ours.ask("GET", &list, &request.headers)
        .is_ok_and(|reply| reply.body.lines().any(|line| line == location))
}

/// The documented difference that explains two answers, if one does.
fn expected(request: &Request, mine: &Reply, their: &Reply, strict: bool) -> Option<&'static str> {
    for (theirs, status, why) in [
        ("We don't serve their kind here!", 404, "another path: other text"),
        (
            "mirrorlist cache index out of range",
            if strict { 500 } else { 404 },
            "repository without a directory: other status, other text",
        ),
        (
            "Cannot parse client IP",
            if strict { 500 } else { 400 },
            "ip= that is no address: other status, other text",
        ),
    ] {
        if their.body.contains(theirs) {
            return (mine.status == status).then_some(why);
        }
    }
    if strict {
        return None;
    }
    for (both, status, why) in [
        ("# either path=", 400, "neither repo= nor path=: status 400"),
        ("repo disabled", 404, "disabled repository: status 404"),
    ] {
        if their.body.contains(both) && mine.body.contains(both) {
            return (mine.status == status).then_some(why);
        }
    }
    if request.has("protocol=") && mine.status == 404 && Content::of(their).urls.is_empty() {
        return Some("no mirror has the protocol: status 404 instead of an empty list");
    }
    if request.has("ip=") {
        let (mine, their) = (Content::of(mine), Content::of(their));
        if mine
            .head
            .iter()
            .all(|word| their.head.contains(word) || word == "country = global")
        {
            return Some("ip= of a network with mirrors of its own: they are not listed");
        }
    }
    None
}

/// Compares by chi-squared how often each mirror comes first in answers of both servers, for several requests.
fn orders(ours: &Server, theirs: &Server) -> Result<String> {
    let mut table = Table::new("request | mirrors | chi-squared | limit (1 in 1,000)");
    let path = "path=pub/linux/releases/4/Everything-4/x86_64/os";
    for (what, query, address) in [
        ("country and continent", "repo=repo-3&arch=x86_64", "5.6.7.8"),
        ("country=", "repo=repo-3&arch=x86_64&country=US,DE", "5.6.7.8"),
        ("global", "repo=repo-3&arch=x86_64&country=global", "5.6.7.8"),
        ("netblock", path, "20.60.64.9"),
    ] {
        let target = format!("/mirrorlist?{query}");
        let headers = format!("X-Forwarded-For: {address}\r\n");
        let first = |server: &Server, seen: &mut HashMap<String, [u32; 2]>, which: usize| -> Result {
            let mut client = Client::to(server.address)?;
            for _ in 0..DRAWS {
                let reply = client.ask("GET", &target, &headers)?;
                let url = reply.body.lines().nth(1).unwrap_or_default().to_owned();
                seen.entry(url).or_default()[which] += 1;
            }
            Ok(())
        };
        let mut seen = HashMap::new();
        first(ours, &mut seen, 0)?;
        first(theirs, &mut seen, 1)?;
        let (statistic, cells) = chi_squared(seen.values());
        let limit = critical(cells.saturating_sub(1));
        if statistic > limit {
            return Err(Failure::failed(format!(
                "{what}: the orders differ: {statistic:.1} > {limit:.1} {seen:?}"
            )));
        }
        table.row(format_args!(
            "{what} | {} | {statistic:.1} | {limit:.1}",
            seen.len()
        ));
    }
    Ok(format!(
        "Order: which mirror is first in {DRAWS} answers to the same request.\n\n{table}\n"
    ))
}

/// The statistic of two samples of equal size, and the number of its cells; rare mirrors share one cell.
fn chi_squared<'a>(counts: impl Iterator<Item = &'a [u32; 2]>) -> (f64, usize) {
    let (mut rare, mut cells) = ([0, 0], Vec::new());
    for count in counts {
        if count[0] + count[1] < 10 {
            rare[0] += count[0];
            rare[1] += count[1];
        } else {
            cells.push(*count);
        }
    }
    if rare != [0, 0] {
        cells.push(rare);
    }
    let sum = cells
        .iter()
        .map(|[one, other]| {
            let (one, other) = (f64::from(*one), f64::from(*other));
            (one - other).powi(2) / (one + other)
        })
        .sum();
    (sum, cells.len())
}

/// The value that chi-squared exceeds once in 1,000 times, by Wilson and Hilferty's approximation.
fn critical(freedom: usize) -> f64 {
    let freedom = freedom.max(1) as f64;
    let step = 2.0 / (9.0 * freedom);
    freedom * (1.0 - step + 3.09 * step.sqrt()).powi(3)
}

// === impl Content ===

impl Content {
    fn of(reply: &Reply) -> Self {
        let (mut head, mut urls) = (BTreeSet::new(), BTreeSet::new());
        for line in reply.body.lines() {
            if line.trim_start().starts_with("<url ") {
                let (before, rest) = line.split_once("preference=\"").unwrap_or((line, ""));
                let after = rest.split_once('"').map_or("", |(_, after)| after);
                urls.insert(format!("{before}{after}"));
            } else if line.contains("://") && !line.starts_with('<') {
                urls.insert(line.to_owned());
            } else if !line.starts_with("<metalink ") {
                // Countries of a continent come in any order.
                let words = line
                    .replace("country = ", "\ncountry = ")
                    .replace("protocol = ", "\nprotocol = ")
                    .replace("Using ", "\nUsing ");
                let words = words.lines().map(str::trim);
                head.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            }
        }
        Self {
            status: reply.status,
            head,
            urls,
            redirected: reply.location.is_some(),
        }
    }
}
