//! The job file's shape for editors: a JSON Schema.
//!
//! These types describe the file and are never read into; the reader works on places. A test holds the names of both
//! against each other.

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
    /// The job's name; the file's if left out.
    name: Option<String>,
    /// The pattern of the hosts that the job is for: `all`, a group, `web:!web1`.
    hosts: Option<String>,
    /// Whether commands become another user.
    r#become: Option<bool>,
    /// The user that commands become; root if left out.
    become_user: Option<String>,
    /// Values for templates; strings may be templates themselves.
    vars: Option<BTreeMap<String, Value>>,
    /// When silence and total time end a step.
    watchdog: Option<WatchdogFile>,
    /// Environment variables of all steps' commands.
    env: Option<BTreeMap<String, Scalar>>,
    /// The size of the batches: a number of hosts, a share such as `5%`, or a list of them, the last one repeated.
    serial: Option<OneOrMany<AmountFile>>,
    /// How many failed hosts stop the run.
    max_fail: Option<MaxFailFile>,
    /// The order in which hosts are dispatched.
    order: Option<OrderFile>,
    /// What is done on each host, in order.
    #[schemars(length(min = 1))]
    steps: Vec<StepFile>,
    /// What is done on hosts that failed, before they have their outcome; it changes nothing about that.
    on_failed: Option<Vec<StepFile>>,
    /// What may be done to bring a failed host back.
    heal: Option<HealFile>,
}

/// What may be done to bring a failed host back. Nothing of it happens unless it is said here.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HealFile {
    /// Steps that are run on a host that failed with one of their classes, before it is tried again.
    repair: Option<OneOrMany<RepairFile>>,
    /// Whether a host may be booted again; false if left out.
    reboot: Option<bool>,
    /// A command of this machine that puts another machine in the place of a host that is beyond repair, and prints its
    /// address as its last line.
    replace: Option<String>,
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
    /// A script of this machine that runs on the host; its shebang decides how.
    script: Option<ScriptFile>,
    /// A file of this machine that goes to the host.
    upload: Option<UploadFile>,
    /// A file that is made from a template of this machine, with `{{ … }}` and `{% … %}`, for each host.
    template: Option<UploadFile>,
    /// A file of the host that comes to this machine.
    download: Option<DownloadFile>,
    /// Waits until a port answers, a file exists or a command succeeds.
    wait_for: Option<WaitForFile>,
    /// Boots the host again and waits until it really is another boot.
    reboot: Option<RebootFile>,
    /// What the step is called on screens.
    name: Option<String>,
    /// An expression without braces; the step is skipped unless it holds.
    when: Option<String>,
    /// The step is skipped if this command succeeds or this path exists.
    skip_if: Option<SkipIfFile>,
    /// The shell of `run` with its options, `bash -eu`; `sh` for a line and `sh -e` for a block if left out.
    shell: Option<String>,
    /// Environment variables of the step's commands.
    env: Option<BTreeMap<String, Scalar>>,
    /// The working directory of the step's commands.
    cwd: Option<String>,
    /// Whether the step's commands become another user.
    r#become: Option<bool>,
    /// The user that the step's commands become.
    become_user: Option<String>,
    /// Finished attempts the step may take: 1, or 3 if it is idempotent; losing the connection uses none.
    #[schemars(range(min = 1, max = 100))]
    attempts: Option<u32>,
    /// The wait before the second attempt, `5s`.
    backoff: Option<String>,
    /// When silence and total time end the step.
    watchdog: Option<WatchdogFile>,
    /// Exit statuses that are success; 0 if left out.
    ok_codes: Option<OneOrMany<u8>>,
    /// A regular expression that some line of standard output must match.
    expect: Option<String>,
    /// Regular expressions; a line of output that matches fails the step for good.
    fatal: Option<OneOrMany<String>>,
    /// Whether lines on standard error fail the step: never, any, or those that match.
    fail_on_stderr: Option<FailOnStderrFile>,
    /// Regular expressions of lines that `fail_on_stderr` does not see.
    ignore_stderr: Option<OneOrMany<String>>,
    /// The step's failure does not fail the host.
    ignore_errors: Option<bool>,
    /// The name by which later steps see the result: `.stdout`, `.stderr`, `.exit_status`, `.changed`, `.skipped`.
    register: Option<String>,
    /// Runs on the first host only; its failure stops the run and its result is given to all.
    once: Option<bool>,
    /// The step may run again when it isn't known whether it ran; false for `run` and `script` if left out.
    idempotent: Option<bool>,
    /// The step survives the loss of its connection; true for `run` and `script` if left out.
    durable: Option<bool>,
    /// The command runs on a terminal, which is its standard input and makes one stream of its outputs; such a step is
    /// not durable.
    pty: Option<bool>,
    /// The wait after the step, `20s`.
    settle: Option<String>,
    /// The name under which the watchdog remembers how long the step takes.
    class: Option<String>,
    /// What happens when nothing moves for longer than Reveille expected by itself: `warn` (as if left out) or `kill`.
    /// Deadlines that you set kill in any case.
    on_stuck: Option<OnStuckFile>,
    /// Another host of the inventory, or `localhost`, that the step runs on, for this one.
    run_on: Option<String>,
    /// Words that `--tags` and `--skip-tags` choose by; `always` and `never` have their own meaning.
    tags: Option<OneOrMany<String>>,
}

/// A script of this machine.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ScriptFile {
    /// Its path, relative to the job file.
    src: String,
    /// Its arguments.
    args: Option<Vec<Scalar>>,
}

/// A file or directory for the host.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct UploadFile {
    /// Its path here, relative to the job file; a directory with `/` at its end stands for what is in it.
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

/// A file or directory of the host.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DownloadFile {
    /// Its path on the host.
    src: String,
    /// Where it goes, relative to the job file.
    to: String,
}

/// A reboot; `reboot: {}` for one without options.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RebootFile {
    /// For how long the host is waited for, `10m`.
    within: Option<String>,
    /// A command on the host; it is booted again only if this succeeds.
    only_if: Option<String>,
}

/// Something to wait for: one of `port`, `file`, `command`, `http`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WaitForFile {
    /// A TCP port that accepts a connection.
    port: Option<Scalar>,
    /// A file on the host that exists.
    file: Option<String>,
    /// A command on the host that succeeds.
    command: Option<String>,
    /// A URL that answers the host, with a status below 400.
    http: Option<String>,
    /// For how long, `60s`; a minute if left out.
    within: Option<String>,
    /// Where a port is looked at from; the host if left out.
    from: Option<FromFile>,
    /// How often, `1s`.
    every: Option<String>,
}

/// What says that a step has nothing to do: one of both.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SkipIfFile {
    /// A command that succeeds.
    command: Option<String>,
    /// A path that exists.
    exists: Option<String>,
}

/// Limits of time: `auto`, `off` or a duration such as `5m`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WatchdogFile {
    /// Without any output.
    idle: Option<String>,
    /// From the step's start.
    total: Option<String>,
}

/// How many failed hosts stop the run; unreachable ones count.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MaxFailFile {
    /// Of all hosts.
    total: Option<AmountFile>,
    /// Of a batch.
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
