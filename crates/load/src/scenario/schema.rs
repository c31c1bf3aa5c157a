//! The keys of a scenario file, and its JSON Schema for editors.
//!
//! These types describe the file. Nothing is deserialized into them, because the reader needs the places of values.

#![expect(dead_code, reason = "only the schema of the types is used")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The JSON Schema (draft 2020-12) of a scenario, for completion and checks in editors.
pub fn schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.into_root_schema_for::<ScenarioFile>().to_value()
}

/// The keys of a mapping.
pub(super) fn keys<T: JsonSchema>() -> Vec<&'static str> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(schema);
    let definition = SCHEMA["$defs"].get(&*T::schema_name()).unwrap_or(&SCHEMA);
    let properties = definition["properties"].as_object().into_iter().flatten();
    properties.map(|(key, _)| key.as_str()).collect()
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Many<T> {
    One(T),
    Several(Vec<T>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Truth(bool),
}

/// A load test: which requests users send, how often, and which answers are expected.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Reveille load scenario")]
pub(super) struct ScenarioFile {
    /// The name of the test; by default that of the file.
    name: Option<String>,
    /// The URL that paths are appended to, such as `http://shop.example`.
    base_url: Option<String>,
    /// Values for templates; `-e NAME=VALUE` overrides them.
    vars: Option<BTreeMap<String, Scalar>>,
    /// Names of values that `--plan` and `--once` mask.
    secrets: Option<Many<String>>,
    /// Settings of all requests.
    http: Option<HttpFile>,
    /// Headers of all requests.
    headers: Option<BTreeMap<String, Scalar>>,
    /// Requests that are sent once for the whole test; all users share what they capture.
    bootstrap: Option<BootstrapFile>,
    /// Classes of users.
    classes: Option<Many<ClassFile>>,
    /// Tasks of a single class, instead of `classes`.
    tasks: Option<Vec<TaskFile>>,
    /// The wait between two tasks, unless the class has its own.
    wait: Option<WaitFile>,
    /// Rows of data for users.
    data: Option<BTreeMap<String, DataFile>>,
    /// The number of users, or arrivals, over time.
    stages: Option<Many<StageFile>>,
    /// Limits for the results; exit status 6 if one is missed.
    thresholds: Option<Many<ThresholdFile>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct HttpFile {
    /// `1.1`, `2` or `auto`: what TLS negotiates.
    version: Option<Scalar>,
    /// Whether users keep cookies; true by default.
    cookies: Option<bool>,
    /// The most redirects that are followed; 10 by default.
    redirects: Option<u8>,
    /// Limit for a request with its redirects; 30s by default.
    timeout: Option<String>,
    /// Limit for name resolution, the connection and TLS; 10s by default.
    connect_timeout: Option<String>,
    /// Limit from the request to the head of the answer; none by default.
    first_byte_timeout: Option<String>,
    /// Limit from the head of the answer to its end; none by default.
    body_timeout: Option<String>,
    /// Whether connections are kept between requests; true by default.
    keep_alive: Option<bool>,
    /// The longest body of an answer; 64MiB by default.
    max_body: Option<Scalar>,
    /// Whether compressed answers are requested; false by default.
    compression: Option<bool>,
    /// Whether certificates are checked; true by default.
    verify: Option<bool>,
    /// A PEM file of certificate authorities, instead of the system's.
    ca: Option<String>,
    /// Whether TLS sessions are resumed; true by default.
    resumption: Option<bool>,
    /// Addresses to connect to: `HOST:PORT:ADDRESS`.
    resolve: Option<Many<String>>,
    /// A proxy: `http://HOST:PORT`.
    proxy: Option<String>,
    /// A simulated slower line for each user.
    network: Option<NetworkFile>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct NetworkFile {
    /// Added to each round trip: of a connection, of TLS, of a request.
    latency: Option<String>,
    /// Bytes per second of requests and answers, such as `1MB/s`.
    bandwidth: Option<Scalar>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct BootstrapFile {
    /// Tags for `--skip-tags`.
    tags: Option<Many<String>>,
    /// The requests.
    steps: Many<StepFile>,
    /// When the bootstrap runs again.
    refresh: Option<RefreshFile>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RefreshFile {
    /// How long the values are valid, such as `{{ ttl }}s`.
    every: String,
    /// How much earlier the bootstrap runs again.
    early: Option<String>,
}

/// A class of users.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ClassFile {
    /// The name of the class.
    name: String,
    /// The weight of its share of the users; 1 by default.
    weight: Option<u32>,
    /// The wait between two tasks.
    wait: Option<WaitFile>,
    /// Tags for `--tags` and `--skip-tags`.
    tags: Option<Many<String>>,
    /// Requests of a user at its start.
    on_start: Option<Many<StepFile>>,
    /// Requests of a user at its end.
    on_stop: Option<Many<StepFile>>,
    /// Tasks, one of which is chosen by weight each time.
    tasks: Option<Vec<TaskFile>>,
    /// Requests in order, instead of `tasks`.
    sequence: Option<Vec<StepFile>>,
}

/// A request, or a sequence of them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct TaskFile {
    /// The weight of its share of the iterations; 1 by default.
    weight: Option<u32>,
    /// Tags for `--tags` and `--skip-tags`.
    tags: Option<Many<String>>,
    /// Requests in order, instead of one.
    sequence: Option<Vec<StepFile>>,
    #[schemars(flatten)]
    step: StepFile,
}

/// One request.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct StepFile {
    /// The name in the statistics; by default the method and the URL.
    name: Option<String>,
    /// A GET request to this path or URL.
    get: Option<String>,
    /// A HEAD request.
    head: Option<String>,
    /// A POST request.
    post: Option<String>,
    /// A PUT request.
    put: Option<String>,
    /// A PATCH request.
    patch: Option<String>,
    /// A DELETE request.
    delete: Option<String>,
    /// An OPTIONS request.
    options: Option<String>,
    /// Headers of this request.
    headers: Option<BTreeMap<String, Scalar>>,
    /// Credentials.
    auth: Option<AuthFile>,
    /// A JSON body; strings may contain templates.
    json: Option<Value>,
    /// The fields of a form.
    form: Option<BTreeMap<String, Scalar>>,
    /// The text of a body.
    body: Option<String>,
    /// The file to send as the body.
    file: Option<String>,
    /// What is expected of the answer; by default a status below 400.
    expect: Option<ExpectFile>,
    /// Values that are captured from the answer.
    capture: Option<BTreeMap<String, CaptureFile>>,
    /// Limit for this request with its redirects.
    timeout: Option<String>,
    /// A wait after this step.
    pause: Option<WaitFile>,
    /// A Rhai script that runs after the answer, with `status`, `body` and `vars`.
    script: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct AuthFile {
    /// User and password for HTTP Basic authentication.
    basic: Option<BasicFile>,
    /// A bearer token.
    bearer: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct BasicFile {
    /// The user.
    user: String,
    /// The password.
    password: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ExpectFile {
    /// Status codes: `200`, `2xx`, `200-204`.
    status: Option<Many<Scalar>>,
    /// Text that the body must contain.
    contains: Option<Many<String>>,
    /// Text that the body must not contain.
    lacks: Option<Many<String>>,
    /// Regular expressions that the body must match.
    regex: Option<Many<String>>,
    /// Paths that must exist in the JSON body, or their values.
    json: Option<Value>,
    /// Regular expressions that headers must match.
    headers: Option<BTreeMap<String, String>>,
    /// Limit for the time until the answer is complete.
    under: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct CaptureFile {
    /// A path in the JSON body, such as `$.items[0].id`.
    json: Option<String>,
    /// The name of a header.
    header: Option<String>,
    /// The name of a cookie.
    cookie: Option<String>,
    /// A regular expression; its first group is taken from the value, or from the body.
    regex: Option<String>,
    /// The status code.
    status: Option<bool>,
    /// The value if nothing is found.
    default: Option<Scalar>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum WaitFile {
    /// Always the same.
    Constant(String),
    Other(WaitKind),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct WaitKind {
    /// Always the same.
    constant: Option<String>,
    /// A random wait between two.
    uniform: Option<[String; 2]>,
    /// A random wait, exponentially distributed with this mean.
    exponential: Option<String>,
    /// The interval between the starts of two tasks.
    pacing: Option<String>,
    /// The same interval as a rate, such as `2/s`.
    throughput: Option<Scalar>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct DataFile {
    /// A CSV file with a head.
    csv: Option<String>,
    /// A file with a JSON object on each line.
    jsonl: Option<String>,
    /// `sequential` (default), `random`, or `unique`: a row for each user.
    order: Option<String>,
    /// What happens after the last row: `repeat` or `stop`.
    on_end: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct StageFile {
    /// The number of users at the end of a linear change.
    ramp: Option<u64>,
    /// The duration of a linear change.
    over: Option<String>,
    /// How long the present users or arrivals continue.
    hold: Option<String>,
    /// This number of users at once.
    users: Option<u64>,
    /// The rate of arrivals, such as `500/s`; with `over`, the rate at the end.
    arrive: Option<Scalar>,
    /// The duration of `users` or `arrive`.
    r#for: Option<String>,
    /// The most users at once with `arrive`; 1000 by default.
    max_users: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum ThresholdFile {
    /// `errors < 1%`, `p99(task) < 500ms`.
    Short(String),
    Long(ThresholdLong),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ThresholdLong {
    /// The metric: `p50`, `p95`, `p99`, `p99.9` …, `max`, `mean`, `errors`, `rate` or `late`.
    metric: String,
    /// The task; by default all together.
    task: Option<String>,
    /// The value must be below this limit.
    below: Option<Scalar>,
    /// The value must be above this limit.
    above: Option<Scalar>,
    /// Whether the test ends when the threshold is missed; false by default.
    abort: Option<bool>,
    /// The start from which latencies count: `intended` (default) or `actual`.
    start: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapping_has_its_keys() {
        assert_eq!(keys::<NetworkFile>(), ["latency", "bandwidth"]);
        assert_eq!(keys::<ScenarioFile>().first(), Some(&"name"));
        let task = keys::<TaskFile>();
        assert!(task.contains(&"weight") && task.contains(&"get"), "{task:?}");
        // Where there is no definition, the keys would be those of the whole file.
        for keys in [
            keys::<HttpFile>(),
            keys::<BootstrapFile>(),
            keys::<RefreshFile>(),
            keys::<ClassFile>(),
            keys::<StepFile>(),
            keys::<AuthFile>(),
            keys::<BasicFile>(),
            keys::<ExpectFile>(),
            keys::<CaptureFile>(),
            keys::<WaitKind>(),
            keys::<DataFile>(),
            keys::<StageFile>(),
            keys::<ThresholdLong>(),
        ] {
            assert!(!keys.is_empty() && !keys.contains(&"base_url"), "{keys:?}");
        }
    }

    #[test]
    fn every_key_has_a_sentence() {
        fn check(name: &str, definition: &Value) {
            for (key, value) in definition["properties"].as_object().into_iter().flatten() {
                assert!(
                    value["description"].is_string(),
                    "`{key}` of {name} has no description"
                );
            }
        }
        let schema = schema();
        check("a scenario", &schema);
        for (name, definition) in schema["$defs"].as_object().expect("definitions") {
            check(name, definition);
        }
    }
}
