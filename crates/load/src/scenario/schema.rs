//! The scenario's shape for editors: a JSON Schema.
//!
//! These types describe the file and are never read into; the reader works on places. A test holds the names of both
//! against each other.

#![expect(dead_code, reason = "the types are only described, by their schema")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The JSON Schema (draft 2020-12) of a scenario, for completion and checking in editors.
pub fn schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.into_root_schema_for::<ScenarioFile>().to_value()
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

/// A load test: who sends what, how often, and what a good answer is.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Reveille load scenario")]
struct ScenarioFile {
    /// The scenario's name; the file's if left out.
    name: Option<String>,
    /// What paths are appended to: `http://shop.example`.
    base_url: Option<String>,
    /// Values for templates; `-e NAME=VALUE` wins.
    vars: Option<BTreeMap<String, Scalar>>,
    /// Names of values that screens never show.
    secrets: Option<Many<String>>,
    /// How requests travel.
    http: Option<HttpFile>,
    /// Headers of all requests.
    headers: Option<BTreeMap<String, Scalar>>,
    /// Requests that are made once for the whole test; all users share what they capture.
    bootstrap: Option<BootstrapFile>,
    /// Kinds of users.
    classes: Option<Many<ClassFile>>,
    /// Tasks of the only class, instead of `classes`.
    tasks: Option<Vec<TaskFile>>,
    /// What users do between two tasks, unless their class says otherwise.
    wait: Option<WaitFile>,
    /// Rows that users are given.
    data: Option<BTreeMap<String, DataFile>>,
    /// When how many users, or arrivals.
    stages: Option<Many<StageFile>>,
    /// Marks to reach; exit status 6 if one is missed.
    thresholds: Option<Many<ThresholdFile>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HttpFile {
    /// `1.1`, `2` or `auto`: what TLS negotiates.
    version: Option<Scalar>,
    /// Users keep cookies; true if left out.
    cookies: Option<bool>,
    /// The most redirects that are followed; 10 if left out.
    redirects: Option<u8>,
    /// For a request with its redirects; 30s if left out.
    timeout: Option<String>,
    /// For a connection; 10s if left out.
    connect_timeout: Option<String>,
    /// Until the head of an answer.
    first_byte_timeout: Option<String>,
    /// From there to the end of the answer.
    body_timeout: Option<String>,
    /// Connections are kept between requests; true if left out.
    keep_alive: Option<bool>,
    /// The most that is read of an answer; 64MiB if left out.
    max_body: Option<Scalar>,
    /// Compressed answers are asked for.
    compression: Option<bool>,
    /// Certificates are checked; true if left out.
    verify: Option<bool>,
    /// A PEM file of authorities instead of the system's.
    ca: Option<String>,
    /// TLS sessions are resumed; true if left out.
    resumption: Option<bool>,
    /// `HOST:PORT:ADDRESS`.
    resolve: Option<Many<String>>,
    /// `http://HOST:PORT`.
    proxy: Option<String>,
    /// A user's line, slower than the tester's.
    network: Option<NetworkFile>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NetworkFile {
    /// Added to each round trip: of a connection, of TLS, of a request.
    latency: Option<String>,
    /// Bytes a second of requests and answers.
    bandwidth: Option<Scalar>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct BootstrapFile {
    /// Left out with `--exclude-tags`.
    tags: Option<Many<String>>,
    /// Its requests.
    steps: Many<StepFile>,
    /// When it is made again.
    refresh: Option<RefreshFile>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RefreshFile {
    /// How long the values hold: `{{ ttl }}s`.
    every: String,
    /// So much earlier.
    early: Option<String>,
}

/// A kind of user.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ClassFile {
    /// Its name.
    name: String,
    /// Its share of the users; 1 if left out.
    weight: Option<u32>,
    /// What its users do between two tasks.
    wait: Option<WaitFile>,
    /// For `--tags` and `--exclude-tags`.
    tags: Option<Many<String>>,
    /// What a user does first.
    on_start: Option<Many<StepFile>>,
    /// What a user does last.
    on_stop: Option<Many<StepFile>>,
    /// What its users do, by weight.
    tasks: Option<Vec<TaskFile>>,
    /// What its users do, in order.
    sequence: Option<Vec<StepFile>>,
}

/// A request, or a sequence of them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TaskFile {
    /// Its share of the iterations; 1 if left out.
    weight: Option<u32>,
    /// For `--tags` and `--exclude-tags`.
    tags: Option<Many<String>>,
    /// Requests in order, instead of one.
    sequence: Option<Vec<StepFile>>,
    #[schemars(flatten)]
    step: StepFile,
}

/// One request.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StepFile {
    /// Its name in the statistics; method and URL if left out.
    name: Option<String>,
    /// A path or URL to GET.
    get: Option<String>,
    /// The same for HEAD.
    head: Option<String>,
    /// The same for POST.
    post: Option<String>,
    /// The same for PUT.
    put: Option<String>,
    /// The same for PATCH.
    patch: Option<String>,
    /// The same for DELETE.
    delete: Option<String>,
    /// The same for OPTIONS.
    options: Option<String>,
    /// Headers of this request.
    headers: Option<BTreeMap<String, Scalar>>,
    /// Credentials.
    auth: Option<AuthFile>,
    /// A JSON body; strings may be templates.
    json: Option<Value>,
    /// A form.
    form: Option<BTreeMap<String, Scalar>>,
    /// A body as it is.
    body: Option<String>,
    /// A file that is sent.
    file: Option<String>,
    /// What a good answer is; a status below 400 if left out.
    expect: Option<ExpectFile>,
    /// Values that are taken from the answer.
    capture: Option<BTreeMap<String, CaptureFile>>,
    /// For this request.
    timeout: Option<String>,
    /// A wait after it.
    pause: Option<WaitFile>,
    /// Rhai, run after the answer with `status`, `body` and `vars`.
    script: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AuthFile {
    /// HTTP Basic.
    basic: Option<BasicFile>,
    /// A bearer token.
    bearer: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct BasicFile {
    user: String,
    password: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ExpectFile {
    /// `200`, `2xx`, `200-204`.
    status: Option<Many<Scalar>>,
    /// Text that the body contains.
    contains: Option<Many<String>>,
    /// Text that it does not.
    lacks: Option<Many<String>>,
    /// What it matches.
    regex: Option<Many<String>>,
    /// Paths that are there, or their values.
    json: Option<Value>,
    /// What headers match.
    headers: Option<BTreeMap<String, String>>,
    /// The answer is whole in less than this.
    under: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CaptureFile {
    /// A path: `$.items[0].id`.
    json: Option<String>,
    /// A header.
    header: Option<String>,
    /// A cookie.
    cookie: Option<String>,
    /// The first group, of what was found or of the body.
    regex: Option<String>,
    /// The status.
    status: Option<bool>,
    /// The value if it is not there.
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
struct WaitKind {
    /// Always the same.
    constant: Option<String>,
    /// Anything between two.
    uniform: Option<[String; 2]>,
    /// Exponential with this mean.
    exponential: Option<String>,
    /// A task starts every so often.
    pacing: Option<String>,
    /// The same as a rate: `2/s`.
    throughput: Option<Scalar>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DataFile {
    /// A file with a head.
    csv: Option<String>,
    /// A file with a JSON object a line.
    jsonl: Option<String>,
    /// `sequential`, `random`, or `unique`: a row for each user.
    order: Option<String>,
    /// `repeat` or `stop`.
    on_end: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StageFile {
    /// To so many users, `over` a time.
    ramp: Option<u64>,
    /// How long a ramp is.
    over: Option<String>,
    /// What there is goes on for this time.
    hold: Option<String>,
    /// So many users at once, `for` a time.
    users: Option<u64>,
    /// Arrivals a second: `500/s`, `for` a time, or growing `over` one.
    arrive: Option<Scalar>,
    /// How long.
    r#for: Option<String>,
    /// The most users of the open model; 1000 if left out.
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
struct ThresholdLong {
    /// `p50`, `p95`, `p99`, `p999` …, `max`, `mean`, `errors`, `rate`, `late`.
    metric: String,
    /// Of this task only.
    task: Option<String>,
    /// The value stays below it.
    below: Option<Scalar>,
    /// The value stays above it.
    above: Option<Scalar>,
    /// The test ends when it is missed.
    abort: Option<bool>,
    /// `intended` or `actual`.
    start: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::parse::names;
    use super::*;

    #[test]
    fn the_schema_names_what_the_reader_knows() {
        let schema = schema();
        let properties = |definition: &str| -> std::collections::BTreeSet<String> {
            let object = if definition.is_empty() {
                &schema["properties"]
            } else {
                &schema["$defs"][definition]["properties"]
            };
            object.as_object().expect(definition).keys().cloned().collect()
        };
        for (definition, known) in names() {
            let known: std::collections::BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
            assert_eq!(properties(definition), known, "{definition}");
        }
    }
}
