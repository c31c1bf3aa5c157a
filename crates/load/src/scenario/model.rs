//! The parts of a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderName;
use regex::Regex;
use rustls::RootCertStore;

use super::check::JsonPath;
use super::template::Text;

/// What the command line adds to a scenario.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Given {
    /// `-e NAME=VALUE`; overrides the file's `vars`.
    pub vars: BTreeMap<String, String>,
    /// The environment for `{{ env.NAME }}`. It is not sent to workers, which inherit it.
    #[serde(skip)]
    pub env: BTreeMap<String, String>,
    /// Run only tasks and classes with one of these tags; empty means all.
    pub tags: Vec<String>,
    /// Skip everything with one of these tags.
    pub skip_tags: Vec<String>,
    /// The directory of the files that the scenario names.
    pub directory: PathBuf,
    /// Stages that override the file's.
    pub stages: Option<Vec<Stage>>,
    /// Addresses of hosts; they take precedence over those of the file.
    pub resolve: Vec<Resolve>,
}

/// A host, a port, and the address to connect to instead of looking up the host's name.
pub type Resolve = (String, u16, std::net::IpAddr);

/// A load test.
#[derive(Debug)]
pub struct Scenario {
    /// Its name; by default that of the file.
    pub name: String,
    /// The URL that paths are appended to.
    pub(crate) base_url: Option<String>,
    pub(crate) http: Http,
    pub(crate) bootstrap: Option<Bootstrap>,
    pub(crate) classes: Vec<Class>,
    pub(crate) data: Vec<Data>,
    pub(crate) stages: Vec<Stage>,
    /// The thresholds; exit status 6 if one is missed.
    pub thresholds: Vec<Threshold>,
    /// The names of the rows of the statistics, in the order of the file.
    pub(crate) rows: Vec<String>,
    /// The number of steps.
    pub(crate) steps: usize,
    /// Names of values that are masked on screens.
    pub(crate) secrets: Vec<String>,
    /// Those of them that the file lists.
    pub(crate) named_secrets: BTreeSet<String>,
    /// What requests take from the environment, without `base_url`, which is not secret.
    pub(crate) environment: BTreeMap<String, String>,
    /// `vars` and `-e`, for scripts.
    pub(crate) constants: BTreeMap<String, String>,
}

/// Settings of all requests.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) version: Version,
    pub(crate) cookies: bool,
    pub(crate) redirects: u8,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// Limits from the sent request to the head of the answer, and from there to its end.
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) keep_alive: bool,
    /// The longest body of an answer, in bytes.
    pub(crate) max_body: u64,
    pub(crate) compression: bool,
    pub(crate) headers: Vec<(HeaderName, Text)>,
    pub(crate) tls: Tls,
    /// Addresses of hosts.
    pub(crate) resolve: Vec<Resolve>,
    pub(crate) proxy: Option<(String, u16)>,
    pub(crate) network: Network,
}

/// The simulated line of a user.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    /// Added to each round trip: of a connection, of TLS, of a request.
    pub(crate) latency: Duration,
    /// Bytes per second of requests and answers; none is unlimited.
    pub(crate) bandwidth: Option<u64>,
}

/// Reads `HOST:PORT:ADDRESS`.
pub(crate) fn resolve(text: &str) -> Result<Resolve, String> {
    let parse = || {
        let (host, rest) = text.split_once(':')?;
        let (port, address) = rest.split_once(':')?;
        let address = address.trim_matches(['[', ']']).parse().ok()?;
        Some((host.to_ascii_lowercase(), port.parse().ok()?, address))
    };
    parse().ok_or_else(|| format!("`{text}` is not `HOST:PORT:ADDRESS`"))
}

impl Network {
    /// How long the line takes for these bytes.
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        self.bandwidth.map_or(Duration::ZERO, |bandwidth| {
            Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64)
        })
    }
}

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2; without TLS, with prior knowledge.
    Two,
    /// What TLS negotiates; without TLS, HTTP/1.1.
    Auto,
}

/// Settings of TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) verify: bool,
    /// Authorities instead of the system's.
    pub(crate) ca: Option<Arc<RootCertStore>>,
    pub(crate) resumption: bool,
}

/// The requests that are sent once for the whole test.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    pub(crate) steps: Vec<Step>,
    pub(crate) refresh: Option<Refresh>,
}

/// When the bootstrap runs again.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) every: Text,
    pub(crate) early: Duration,
}

/// A class of users.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) wait: Wait,
    pub(crate) on_start: Vec<Step>,
    pub(crate) on_stop: Vec<Step>,
    pub(crate) tasks: Vec<Task>,
    /// Names of a user's own values.
    pub(crate) slots: Vec<String>,
}

/// A task of a user: one request, or several in order.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) steps: Vec<Step>,
}

/// One request, what is expected of its answer, and what is captured from it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its number in the scenario.
    pub(crate) id: usize,
    /// Whether it belongs to the bootstrap.
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
    /// The wait after this step.
    pub(crate) pause: Option<Wait>,
    pub(crate) script: Option<Arc<str>>,
}

/// The body of a request.
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
    /// Text that is sent as it is.
    Raw(String),
    /// A string with templates. A single expression keeps the type of its value.
    Value(Text),
}

/// What is expected of an answer.
#[derive(Debug, Default)]
pub(crate) struct Expect {
    /// Ranges of status codes; empty means everything below 400.
    pub(crate) status: Vec<(u16, u16)>,
    pub(crate) contains: Vec<String>,
    pub(crate) lacks: Vec<String>,
    pub(crate) regex: Vec<Regex>,
    pub(crate) json: Vec<(JsonPath, Option<serde_json::Value>)>,
    pub(crate) headers: Vec<(HeaderName, Regex)>,
    pub(crate) under: Option<Duration>,
}

/// A value that is captured from an answer.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) name: String,
    pub(crate) from: Source,
    pub(crate) regex: Option<Regex>,
    pub(crate) default: Option<String>,
}

/// Where a value is captured from.
#[derive(Debug)]
pub(crate) enum Source {
    Json(JsonPath),
    Header(HeaderName),
    Cookie(String),
    Body,
    Status,
}

/// The wait between two tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wait {
    None,
    Constant(Duration),
    Uniform(Duration, Duration),
    Exponential(Duration),
    /// A task starts at this interval, however long the last one took.
    Pacing(Duration),
}

/// Rows of data for users.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) name: String,
    pub(crate) order: Order,
    pub(crate) on_end: OnEnd,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<minijinja::Value>,
}

/// The order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The next row in each iteration.
    Sequential,
    /// A random row in each iteration.
    Random,
    /// A row for each user, which keeps it.
    Unique,
}

/// What happens after the last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEnd {
    /// The first row is used again.
    Repeat,
    /// Users without a row stop.
    Stop,
}

/// A part of the test.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A linear change from the present number of users.
    Ramp {
        /// The number of users at the end.
        to: u64,
        /// The duration.
        over: Duration,
    },
    /// The present users or arrivals continue.
    Hold(Duration),
    /// This number of users at once.
    Users {
        /// The number of users.
        users: u64,
        /// The duration.
        time: Duration,
    },
    /// Arrivals that do not wait for earlier answers.
    Arrive {
        /// Arrivals per second; with `ramp`, at the end.
        rate: f64,
        /// The duration.
        time: Duration,
        /// Whether the rate changes linearly from the present one.
        ramp: bool,
        /// The most users at once.
        max_users: u64,
    },
}

/// A limit for the results.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// The threshold as it was written.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// The task; none for all together.
    pub task: Option<String>,
    /// Whether the value must be below the limit, or above it.
    pub below: bool,
    /// Seconds, a share of 1, or requests per second.
    pub limit: f64,
    /// Whether the test ends when the threshold is missed.
    pub abort: bool,
    /// Whether latencies count from the actual start instead of the intended one.
    pub actual: bool,
}

/// What a threshold measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A quantile of the latency, from 0 to 1.
    Quantile(f64),
    /// The mean latency.
    Mean,
    /// The share of failed requests.
    Errors,
    /// Completed requests per second.
    Rate,
    /// The share of late arrivals.
    Late,
}

// === impl Scenario ===

impl Scenario {
    /// Whether the scenario is known to use TLS.
    pub(crate) fn needs_tls(&self) -> bool {
        self.base_url
            .as_deref()
            .is_some_and(|url| url.starts_with("https:"))
    }

    /// The mean number of requests of an iteration, over all classes.
    pub(crate) fn requests_each(&self) -> f64 {
        mean(&self.classes, |class| class.weight, Class::requests_each)
    }

    /// Whether some users send as soon as they are answered, so that they offer as many requests as are answered.
    pub(crate) fn is_greedy(&self) -> bool {
        self.classes.iter().any(|class| class.offered_each().is_none())
    }

    /// The class of the user with this number. Any sufficiently long range of numbers has classes by their weights.
    pub(crate) fn class_of(&self, user: u64) -> usize {
        let total: u64 = self.classes.iter().map(|class| u64::from(class.weight)).sum();
        // A step that is coprime to the total, near its golden section, distributes the classes evenly.
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

/// A number that is coprime to `total`, near its golden section.
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

// === impl Class ===

impl Class {
    /// The mean number of requests of an iteration.
    pub(crate) fn requests_each(&self) -> f64 {
        mean(&self.tasks, |task| task.weight, |task| task.steps.len() as f64)
    }

    /// Requests per second that a user would send if answers took no time; none if it never waits.
    pub(crate) fn offered_each(&self) -> Option<f64> {
        let pauses = |task: &Task| {
            let waits = task.steps.iter().filter_map(|step| step.pause);
            waits.map(Wait::mean).sum::<Duration>().as_secs_f64()
        };
        let pauses = mean(&self.tasks, |task| task.weight, pauses);
        let turn = match self.wait {
            Wait::Pacing(period) => period.as_secs_f64().max(pauses),
            wait => wait.mean().as_secs_f64() + pauses,
        };
        (turn > 0.0).then(|| self.requests_each() / turn)
    }
}

/// The weighted mean of a value.
fn mean<T>(list: &[T], weight: impl Fn(&T) -> u32, value: impl Fn(&T) -> f64) -> f64 {
    let weights: f64 = list.iter().map(|item| f64::from(weight(item))).sum();
    let sum: f64 = list
        .iter()
        .map(|item| f64::from(weight(item)) * value(item))
        .sum();
    sum / weights.max(1.0)
}

// === impl Expect ===

impl Expect {
    /// Whether it checks the body.
    pub(crate) fn uses_body(&self) -> bool {
        !(self.contains.is_empty() && self.lacks.is_empty() && self.regex.is_empty() && self.json.is_empty())
    }

    /// Whether it names this status.
    pub(crate) fn names_status(&self, status: u16) -> bool {
        self.status
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&status))
    }
}

// === impl Threshold ===

impl Threshold {
    /// Whether `value` meets the threshold.
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
    /// The mean wait; for pacing, the interval.
    pub(crate) fn mean(self) -> Duration {
        match self {
            Wait::None => Duration::ZERO,
            Wait::Constant(wait) | Wait::Exponential(wait) | Wait::Pacing(wait) => wait,
            Wait::Uniform(low, high) => (low + high) / 2,
        }
    }

    /// Draws a wait.
    pub(crate) fn draw(self, random: &mut fastrand::Rng) -> Duration {
        match self {
            Wait::None | Wait::Pacing(_) => Duration::ZERO,
            Wait::Constant(wait) => wait,
            Wait::Uniform(low, high) => low + high.saturating_sub(low).mul_f64(random.f64()),
            // At most ten times the mean, which one wait in 22,000 would exceed.
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
