//! The JSON Schema of the job file, for editors.
//!
//! These types only describe the file; the parser does not use them, because it needs places. A test compares the names
//! in both.

#![expect(dead_code, reason = "the types are only described, by their schema")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The JSON Schema (draft 2020-12) of a job file, for completion and checking in editors.
pub fn schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.into_root_schema_for::<JobFile>().to_value()
}

/// A Reveille job: steps that run in order on each host.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Reveille job")]
struct JobFile {
    /// The job's name; the file's by default.
    name: Option<String>,
    /// The pattern of the hosts that the job is for: `all`, a group, `web:!web1`.
    hosts: Option<String>,
    /// Whether commands become another user.
    r#become: Option<bool>,
    /// The user that commands become; root by default.
    become_user: Option<String>,
    /// Values for templates; strings may be templates themselves.
    vars: Option<BTreeMap<String, Value>>,
    /// When the watchdog ends a step: limits on silence and total time.
    watchdog: Option<WatchdogFile>,
    /// Environment variables for the commands of all steps.
    env: Option<BTreeMap<String, Scalar>>,
    /// The batch size: a number of hosts, a share such as `5%`, or a list of these, the last one repeated.
    serial: Option<OneOrMany<AmountFile>>,
    /// How many failed hosts stop the run.
    max_fail: Option<MaxFailFile>,
    /// The order in which hosts are dispatched.
    order: Option<OrderFile>,
    /// The steps that run on each host, in order.
    #[schemars(length(min = 1))]
    steps: Vec<StepFile>,
    /// Steps that run on failed hosts, before their outcome is recorded; they do not change the outcome.
    on_failed: Option<Vec<StepFile>>,
    /// How failed hosts may be recovered.
    heal: Option<HealFile>,
}

/// How failed hosts may be recovered. Nothing happens that is not listed here.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HealFile {
    /// Steps that run on a host that failed with one of their classes, before it is tried again.
    repair: Option<OneOrMany<RepairFile>>,
    /// Whether the host may be rebooted; false by default.
    reboot: Option<bool>,
    /// A command on the controller that replaces a host that can't be repaired by another machine, and prints its
    /// address as its last line.
    replace: Option<String>,
}

/// The items of a loop.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only the schema is made from it")]
enum LoopFile {
    /// A list of values or mappings, which may contain templates.
    List(Vec<serde_json::Value>),
    /// A template of a list, `{{ packages }}`.
    Template(String),
}

/// A step, and the classes of failure that it repairs.
#[derive(JsonSchema)]
struct RepairFile {
    /// Classes of failure, `[fatal_pattern, command_failed]`.
    on: OneOrMany<String>,
    #[serde(flatten)]
    step: StepFile,
}

/// One step: exactly one of `run`, `script`, `upload`, `template`, `download`, `wait_for`, `reboot`, and options.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StepFile {
    /// A command line, or a block that stops at its first failure (`sh -e`).
    run: Option<String>,
    /// A script on the controller that runs on the host; its shebang decides how.
    script: Option<ScriptFile>,
    /// A file on the controller to upload to the host.
    upload: Option<UploadFile>,
    /// A file to render from a template on the controller for each host, with `{{ … }}` and `{% … %}`.
    template: Option<UploadFile>,
    /// A file on the host to download to the controller.
    download: Option<DownloadFile>,
    /// Waits until a port answers, a file exists or a command succeeds.
    wait_for: Option<WaitForFile>,
    /// Reboots the host and waits until it has booted again.
    reboot: Option<RebootFile>,
    /// The step's name on screens.
    name: Option<String>,
    /// An expression without braces; the step is skipped unless it is true.
    when: Option<String>,
    /// A list, or a template of one: the step runs once for each item, which templates see as `item`.
    r#loop: Option<LoopFile>,
    /// The step is skipped if this command succeeds or this path exists.
    skip_if: Option<SkipIfFile>,
    /// The shell of `run` with its options, `bash -eu`; by default `sh` for a line and `sh -e` for a block.
    shell: Option<String>,
    /// Environment variables of the step's commands.
    env: Option<BTreeMap<String, Scalar>>,
    /// The working directory of the step's commands.
    cwd: Option<String>,
    /// Whether the step's commands become another user.
    r#become: Option<bool>,
    /// The user that the step's commands become.
    become_user: Option<String>,
    /// How many finished attempts the step may take: by default 3 if it is idempotent (1 for `wait_for`), otherwise 1; a
    /// lost connection does not use one up.
    #[schemars(range(min = 1, max = 100))]
    attempts: Option<u32>,
    /// The wait before the second attempt, `5s`.
    backoff: Option<String>,
    /// When the watchdog ends the step: limits on silence and total time.
    watchdog: Option<WatchdogFile>,
    /// Exit statuses that count as success; 0 by default.
    ok_codes: Option<OneOrMany<u8>>,
    /// A regular expression that a line of standard output must match.
    expect: Option<String>,
    /// Regular expressions; a line of output that matches fails the step without a retry.
    fatal: Option<OneOrMany<String>>,
    /// Which lines on standard error fail the step: never, any, or those that match.
    fail_on_stderr: Option<FailOnStderrFile>,
    /// Regular expressions of lines that `fail_on_stderr` ignores.
    ignore_stderr: Option<OneOrMany<String>>,
    /// Whether the host continues although the step failed.
    ignore_errors: Option<bool>,
    /// The name under which later steps see the result: `.stdout`, `.stderr`, `.exit_status`, `.changed`, `.skipped`; of a
    /// loop `.results`, `.changed`, `.skipped`.
    register: Option<String>,
    /// Whether to run on the first host only; a failure stops the run, and all hosts get the result.
    once: Option<bool>,
    /// Whether the step may run again if it is unknown whether it ran; false by default for `run`, `script` and
    /// `reboot`.
    idempotent: Option<bool>,
    /// Whether the step survives a lost connection; true by default for `run` and `script`.
    durable: Option<bool>,
    /// Whether the command runs on a terminal, which is its standard input and merges its outputs; such a step is not
    /// durable.
    pty: Option<bool>,
    /// Whether the command changes nothing: it runs with `--check` too, and never counts as a change.
    check: Option<bool>,
    /// The wait after the step, `20s`.
    settle: Option<String>,
    /// The name under which the watchdog records the step's durations.
    class: Option<String>,
    /// What to do when nothing moves for longer than Reveille's own estimate: `warn` or `kill`. By default, an idempotent
    /// step of which 100 runs are known is killed, and others are reported. Deadlines that you set always kill.
    on_stuck: Option<OnStuckFile>,
    /// Another host of the inventory, or `localhost`, on which to run the step for this host.
    run_on: Option<String>,
    /// Tags for `--tags` and `--skip-tags`; `always` and `never` have a special meaning.
    tags: Option<OneOrMany<String>>,
}

/// A script on the controller.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ScriptFile {
    /// Its path, relative to the job file.
    src: String,
    /// Its arguments.
    args: Option<Vec<Scalar>>,
}

/// A file or directory to upload.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct UploadFile {
    /// Its path on the controller, relative to the job file; with a trailing `/`, the contents of a directory.
    src: String,
    /// Its path on the host.
    dest: String,
    /// The permissions of files in octal digits, in quotes: `"0640"`.
    #[schemars(regex(pattern = "^[0-7]{3,4}$"))]
    mode: Option<String>,
    /// Its owner on the host.
    owner: Option<String>,
    /// Its group on the host.
    group: Option<String>,
}

/// A file or directory to download.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DownloadFile {
    /// Its path on the host.
    src: String,
    /// Its path on the controller, relative to the job file.
    to: String,
}

/// A reboot; write `reboot: {}` to use the defaults.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RebootFile {
    /// How long to wait for the host, `10m`.
    within: Option<String>,
    /// A command on the host; the host is rebooted only if the command succeeds.
    only_if: Option<String>,
}

/// A condition to wait for: one of `port`, `file`, `command`, `http`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WaitForFile {
    /// A TCP port that accepts a connection.
    port: Option<Scalar>,
    /// A file on the host that must exist.
    file: Option<String>,
    /// A command on the host that must succeed.
    command: Option<String>,
    /// A URL that must answer the host with a status below 400.
    http: Option<String>,
    /// How long to wait, `60s`; a minute by default.
    within: Option<String>,
    /// Where to check a port from; the host by default.
    from: Option<FromFile>,
    /// How often to check, `1s`.
    every: Option<String>,
}

/// When to skip the step: one of both.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SkipIfFile {
    /// Skip the step if this command succeeds.
    command: Option<String>,
    /// Skip the step if this path exists.
    exists: Option<String>,
}

/// Time limits: `auto`, `off` or a duration such as `5m`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WatchdogFile {
    /// How long a step may write no output.
    idle: Option<String>,
    /// How long a step may run.
    total: Option<String>,
}

/// How many hosts may fail before the run stops; unreachable hosts count.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MaxFailFile {
    /// Among all hosts.
    total: Option<AmountFile>,
    /// Within a batch.
    batch: Option<AmountFile>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum OrderFile {
    Inventory,
    Sorted,
    Reverse,
    Shuffled,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum FromFile {
    Host,
    Controller,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum OnStuckFile {
    Warn,
    Kill,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum StderrWord {
    Never,
    Any,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum FailOnStderrFile {
    Word(StderrWord),
    Patterns(Vec<String>),
}

/// A number of hosts, or a share such as `5%`.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum AmountFile {
    Hosts(u64),
    Share(#[schemars(regex(pattern = r"^[0-9.]+ ?%?$"))] String),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Truth(bool),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::parse::action::{DOWNLOAD, KINDS, REBOOT, SCRIPT, UPLOAD, WAIT_FOR};
    use crate::parse::{HEAL, JOB, step::OPTIONS};

    #[test]
    fn the_schema_has_the_names_that_are_read() {
        let schema = schema();
        let names = |pointer: &str| -> BTreeSet<String> {
            let properties = schema.pointer(pointer).and_then(Value::as_object);
            properties.expect(pointer).keys().cloned().collect()
        };
        let read =
            |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        assert_eq!(names("/properties"), read(JOB));
        assert_eq!(
            names("/$defs/StepFile/properties"),
            read(&[KINDS, OPTIONS].concat())
        );
        assert_eq!(names("/$defs/ScriptFile/properties"), read(SCRIPT));
        assert_eq!(names("/$defs/UploadFile/properties"), read(UPLOAD));
        assert_eq!(names("/$defs/DownloadFile/properties"), read(DOWNLOAD));
        assert_eq!(names("/$defs/WaitForFile/properties"), read(WAIT_FOR));
        assert_eq!(names("/$defs/RebootFile/properties"), read(REBOOT));
        assert_eq!(names("/$defs/HealFile/properties"), read(HEAL));
    }
}
