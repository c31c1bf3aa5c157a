//! The scenario: who sends what, how often, and what a good answer is.

mod check;
mod names;
mod parse;
pub(crate) mod quantity;
mod schedule;
mod schema;
pub(crate) mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderName;
use regex::Regex;
use reveille_account::SourceError;
use rustls::pki_types::CertificateDer;

pub(crate) use self::check::JsonPath;
pub(crate) use self::names::{BUILT_IN, METHODS, is_telling};
pub(crate) use self::schedule::Arrivals as ArrivalsOf;
pub use self::schedule::{Kind as SegmentKind, Schedule, Segment};
pub use self::schema::schema;
pub(crate) use self::template::Text;
pub(crate) use reveille_document::MAX_FILE_BYTES;

/// What a scenario is read with: the command line's part.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Given {
    /// `-e NAME=VALUE`; they win over the file's `vars`.
    pub vars: BTreeMap<String, String>,
    /// The environment that `{{ env.NAME }}` reads. It does not travel: a worker has its own.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
    /// Tasks and classes with one of these tags only; empty means all.
    pub tags: Vec<String>,
    /// Nothing with one of these tags.
    pub exclude_tags: Vec<String>,
    /// Where files that a scenario names are looked for.
    pub directory: PathBuf,
    /// Stages that are run instead of the file's.
    pub stages: Option<Vec<Stage>>,
    /// Hosts that are found at other addresses, before those of the file.
    pub resolve: Vec<Resolve>,
}

/// A host and port that are found at an address, and not where its name leads.
pub type Resolve = (String, u16, std::net::IpAddr);

/// A load test as its file says it.
#[derive(Debug)]
pub struct Scenario {
    /// Its name; the file's if it has none.
    pub name: String,
    /// What paths are appended to.
    pub(crate) base_url: Option<String>,
    pub(crate) http: Http,
    pub(crate) bootstrap: Option<Bootstrap>,
    pub(crate) classes: Vec<Class>,
    pub(crate) data: Vec<Data>,
    pub(crate) stages: Vec<Stage>,
    /// The marks that decide about exit status 6.
    pub thresholds: Vec<Threshold>,
    /// One row of the statistics each, in the order of the file.
    pub(crate) rows: Vec<String>,
    /// How many steps there are.
    pub(crate) steps: usize,
    /// Names of values that never appear on screens.
    pub(crate) secrets: Vec<String>,
    /// Those of them that the file names.
    pub(crate) named_secrets: BTreeSet<String>,
    /// What is taken from the environment, but for `base_url`, which screens show.
    pub(crate) environment: BTreeMap<String, String>,
    /// `vars` and `-e`, for scripts.
    pub(crate) constants: BTreeMap<String, String>,
}

/// How requests travel.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) version: Version,
    pub(crate) cookies: bool,
    pub(crate) redirects: u8,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// From the sent request to the head of its answer, and from there to its end.
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) keep_alive: bool,
    /// The most that is read of one answer.
    pub(crate) max_body: u64,
    pub(crate) compression: bool,
    pub(crate) headers: Vec<(HeaderName, Text)>,
    pub(crate) tls: Tls,
    /// `HOST:PORT` that are found at another address.
    pub(crate) resolve: Vec<Resolve>,
    pub(crate) proxy: Option<(String, u16)>,
    pub(crate) network: Network,
}

/// A user's line to the service, slower than the tester's own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    /// Added to each round trip: of a connection, of TLS, of a request.
    pub(crate) latency: Duration,
    /// Bytes a second that requests leave and answers arrive with; none is as fast as they come.
    pub(crate) bandwidth: Option<u64>,
}

/// Reads `HOST:PORT:ADDRESS`.
pub(crate) fn resolve(text: &str) -> Result<Resolve, String> {
    let wrong = || format!("`{text}` is not `HOST:PORT:ADDRESS`");
    let (host, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (port, address) = rest.split_once(':').ok_or_else(wrong)?;
    let address = address.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
    Ok((
        host.to_ascii_lowercase(),
        port.parse().map_err(|_| wrong())?,
        address,
    ))
}

impl Network {
    /// How long the line takes for so many bytes.
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        self.bandwidth.map_or(Duration::ZERO, |bandwidth| {
            Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64)
        })
    }
}

/// Which version of HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2; with prior knowledge where there is no TLS.
    Two,
    /// What TLS negotiates; HTTP/1.1 without.
    Auto,
}

/// Whom to believe.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) verify: bool,
    /// Nobody else, if there are any.
    pub(crate) ca: Option<Vec<CertificateDer<'static>>>,
    pub(crate) resumption: bool,
}

/// What happens once for the whole test.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    pub(crate) steps: Vec<Step>,
    pub(crate) refresh: Option<Refresh>,
}

/// When the bootstrap's result is made anew.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) every: Text,
    pub(crate) early: Duration,
}

/// A kind of user.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) wait: Wait,
    pub(crate) on_start: Vec<Step>,
    pub(crate) on_stop: Vec<Step>,
    pub(crate) tasks: Vec<Task>,
    /// Names of a user's own values; a user has one slot each.
    pub(crate) slots: Vec<String>,
}

/// One thing that a user does: one request or several in order.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) steps: Vec<Step>,
}

/// One request, and what is made of its answer.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its number in the scenario.
    pub(crate) id: usize,
    /// It belongs to the bootstrap.
    pub(crate) in_bootstrap: bool,
    /// The row of the statistics.
    pub(crate) row: usize,
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) url: Text,
    pub(crate) headers: Vec<(HeaderName, Text)>,
    pub(crate) basic: Option<(Text, Text)>,
    pub(crate) body: Body,
    pub(crate) expect: Expect,
    pub(crate) captures: Vec<Capture>,
    pub(crate) timeout: Option<Duration>,
    /// A wait after this step.
    pub(crate) pause: Option<Wait>,
    pub(crate) script: Option<Arc<str>>,
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Body {
    None,
    Text(Text),
    Json(Vec<JsonPart>),
    Form(Vec<(String, Text)>),
    File(Bytes),
}

/// A piece of a JSON body.
#[derive(Debug)]
pub(crate) enum JsonPart {
    /// Goes in as it is.
    Raw(String),
    /// A string with templates in it; one that is a single expression keeps its type.
    Value(Text),
}

/// What a good answer is.
#[derive(Debug, Default)]
pub(crate) struct Expect {
    /// Ranges of good status codes; empty means everything below 400.
    pub(crate) status: Vec<(u16, u16)>,
    pub(crate) contains: Vec<String>,
    pub(crate) lacks: Vec<String>,
    pub(crate) regex: Vec<Regex>,
    pub(crate) json: Vec<(JsonPath, Option<serde_json::Value>)>,
    pub(crate) headers: Vec<(HeaderName, Regex)>,
    pub(crate) under: Option<Duration>,
}

/// A value taken from an answer.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) from: Source,
    pub(crate) regex: Option<Regex>,
    pub(crate) default: Option<String>,
}

/// Where a value is taken from.
#[derive(Debug)]
pub(crate) enum Source {
    Json(JsonPath),
    Header(HeaderName),
    Cookie(String),
    Body,
    Status,
}

/// What a user does between two tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wait {
    None,
    Constant(Duration),
    Uniform(Duration, Duration),
    Exponential(Duration),
    /// A task starts every so often, however long the last one took.
    Pacing(Duration),
}

/// Rows that users are given.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) name: String,
    pub(crate) order: Order,
    pub(crate) on_end: OnEnd,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<minijinja::Value>,
}

/// Which row is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One after another, in each iteration the next.
    Sequential,
    /// Any.
    Random,
    /// Each row for one user, for good.
    Unique,
}

/// What follows the last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEnd {
    /// The first one again.
    Repeat,
    /// Users who find none stop.
    Stop,
}

/// A part of the test's time.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From as many users as there are to `to`, evenly.
    Ramp {
        /// How many in the end.
        to: u64,
        /// How long that takes.
        over: Duration,
    },
    /// Whatever is, goes on.
    Hold(Duration),
    /// So many users at once.
    Users {
        /// How many.
        users: u64,
        /// How long.
        time: Duration,
    },
    /// Arrivals that do not wait for answers.
    Arrive {
        /// So many a second; with `ramp`, in the end.
        rate: f64,
        /// How long.
        time: Duration,
        /// Whether the rate grows evenly from what it was.
        ramp: bool,
        /// How many can be under way at once.
        max_users: u64,
    },
}

/// A mark that the test has to reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// As it is shown.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// Of which task; of all if none.
    pub task: Option<String>,
    /// Whether the value must stay below the limit, or above it.
    pub below: bool,
    /// Seconds, a share of 1, or requests a second.
    pub limit: f64,
    /// The test ends when it is missed.
    pub abort: bool,
    /// Counted from the actual start, not from the intended one.
    pub actual: bool,
}

/// What a threshold is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A quantile of the latency, 0 to 1.
    Quantile(f64),
    /// The mean latency.
    Mean,
    /// The share of failed requests.
    Errors,
    /// Completed requests a second.
    Rate,
    /// The share of late arrivals.
    Late,
}

// === impl Scenario ===

impl Scenario {
    /// Reads a scenario, or says everything that is wrong with it.
    pub fn parse(text: &str, file: &str, given: &Given) -> Result<Self, Vec<SourceError>> {
        parse::scenario(text, file, given)
    }

    /// Whether it is known beforehand that TLS is spoken.
    pub(crate) fn needs_tls(&self) -> bool {
        self.base_url
            .as_deref()
            .is_some_and(|url| url.starts_with("https:"))
    }

    /// Requests of one iteration, in the mean over all classes.
    pub(crate) fn requests_each(&self) -> f64 {
        let weights: f64 = self.classes.iter().map(|class| f64::from(class.weight)).sum();
        let requests: f64 = self
            .classes
            .iter()
            .map(|class| f64::from(class.weight) * class.requests_each())
            .sum();
        requests / weights.max(1.0)
    }

    /// Whether some users send again as soon as they are answered, so that what they offer is what is answered.
    pub(crate) fn is_greedy(&self) -> bool {
        self.classes.iter().any(|class| class.offered_each().is_none())
    }

    /// When how many users, or arrivals.
    pub fn schedule(&self) -> Schedule {
        Schedule::new(&self.stages)
    }

    /// Which class the user with this number has: in any long enough row of users the weights hold.
    pub(crate) fn class_of(&self, user: u64) -> usize {
        let total: u64 = self.classes.iter().map(|class| u64::from(class.weight)).sum();
        // Smooth weighted choice by a low-discrepancy step: coprime to the total, near its golden section.
        let at = user.wrapping_mul(golden(total)) % total.max(1);
        let mut before = 0;
        for (index, class) in self.classes.iter().enumerate() {
            before += u64::from(class.weight);
            if at < before {
                return index;
            }
        }
        0
    }
}

/// A number coprime to `total`, near its golden section, so that multiples of it fall everywhere evenly.
fn golden(total: u64) -> u64 {
    fn common(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { common(b, a % b) }
    }
    let start = total * 618 / 1000;
    (0..total)
        .map(|offset| (start + offset) % total.max(1))
        .find(|candidate| *candidate > 0 && common(*candidate, total) == 1)
        .unwrap_or(1)
}

// === impl Threshold ===

impl Threshold {
    /// Whether `value` is on the right side of the limit.
    pub(crate) fn holds(&self, value: f64) -> bool {
        if self.below {
            value < self.limit
        } else {
            value > self.limit
        }
    }
}

// === impl Wait ===

impl Wait {
    /// How long users wait in the mean; for pacing, how long a turn is.
    pub(crate) fn mean(self) -> Duration {
        match self {
            Wait::None => Duration::ZERO,
            Wait::Constant(wait) | Wait::Exponential(wait) | Wait::Pacing(wait) => wait,
            Wait::Uniform(low, high) => (low + high) / 2,
        }
    }

    /// One wait.
    pub(crate) fn draw(self, random: &mut fastrand::Rng) -> Duration {
        match self {
            Wait::None | Wait::Pacing(_) => Duration::ZERO,
            Wait::Constant(wait) => wait,
            Wait::Uniform(low, high) => low + high.saturating_sub(low).mul_f64(random.f64()),
            // At most ten times the mean, which one in 22,000 would exceed.
            Wait::Exponential(mean) => mean.mul_f64((-(1.0 - random.f64()).ln()).min(10.0)),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            version: Version::Auto,
            cookies: true,
            redirects: 10,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: None,
            body_timeout: None,
            keep_alive: true,
            max_body: 64 << 20,
            compression: false,
            headers: Vec::new(),
            tls: Tls {
                verify: true,
                ca: None,
                resumption: true,
            },
            resolve: Vec::new(),
            proxy: None,
            network: Network::default(),
        }
    }
}
