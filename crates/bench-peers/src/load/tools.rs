//! The tools that are compared, and how each is started on one core.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use xtask::failure::Result;
use xtask::packages;
use xtask::workspace::Workspace;

use super::Lab;
use super::install::{goose, has_oha, locust, oha};
use super::numbers::Numbers;
use crate::bench::first_line;

/// Where Goose writes its numbers.
const GOOSE_REPORT: &str = "goose.json";

/// A user of Locust; `WAIT` stands for seconds.
const LOCUST_FILE: &str = r#"from locust import FastHttpUser, task, constant


class One(FastHttpUser):
    wait_time = constant(WAIT)

    @task
    def one(self):
        self.client.get("/")
"#;

/// What a tool has to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) users: u64,
    pub(super) time: Duration,
    pub(super) wait: Duration,
    /// Connections are kept between requests.
    pub(super) keep: bool,
    pub(super) ramp: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Reveille,
    Oha,
    Wrk,
    Goose,
    Locust,
}

// === impl Job ===

impl Job {
    /// As many requests as possible, over connections that are kept.
    pub(super) fn without_waits(users: u64, time: Duration) -> Self {
        Self {
            users,
            time,
            wait: Duration::ZERO,
            keep: true,
            ramp: Duration::ZERO,
        }
    }
}

// === impl Tool ===

impl Tool {
    /// The tools that are installed.
    pub(super) fn available(workspace: &Workspace) -> Vec<Self> {
        let mut tools = vec![Tool::Reveille];
        tools.extend(has_oha(workspace).then_some(Tool::Oha));
        tools.push(Tool::Wrk);
        tools.extend(goose(workspace).is_file().then_some(Tool::Goose));
        tools.extend(locust(workspace).is_file().then_some(Tool::Locust));
        tools
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Reveille => "Reveille",
            Tool::Oha => "oha",
            Tool::Wrk => "wrk",
            Tool::Goose => "Goose",
            Tool::Locust => "Locust (FastHttpUser)",
        }
    }

    /// Whether its users can wait.
    pub(super) fn has_waits(self) -> bool {
        matches!(self, Tool::Reveille | Tool::Goose | Tool::Locust)
    }

    fn program(self, lab: &Lab) -> PathBuf {
        match self {
            Tool::Reveille => lab.reveille.clone(),
            Tool::Oha => oha(&lab.bench.workspace),
            Tool::Wrk => "wrk".into(),
            Tool::Goose => goose(&lab.bench.workspace),
            Tool::Locust => locust(&lab.bench.workspace),
        }
    }

    /// The tool on the second core, or on the only one there is.
    pub(super) fn command(self, job: &Job, lab: &Lab) -> Result<Command> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new("taskset");
        command.args(["-c", if cores > 1 { "1" } else { "0" }]);
        command.arg(self.program(lab));
        let (url, users, ramp) = (lab.server.url(), job.users, job.ramp.as_secs());
        let base = url.trim_end_matches('/');
        let (seconds, wait) = (job.time.as_secs(), job.wait.as_millis());
        let words = match self {
            Tool::Reveille => {
                let scenario = format!(
                    "base_url: {base}\nhttp: {{keep_alive: {}}}\nwait: {wait}ms\ntasks: [{{get: /, expect: {{status: 200}}}}]\n",
                    job.keep
                );
                command.arg(lab.write("load.yaml", &scenario)?);
                let ramping = if ramp == 0 {
                    String::new()
                } else {
                    format!(" --ramp {ramp}s --reset-after ramp")
                };
                format!("--threads 1 --quiet --format json --users {users} --duration {seconds}s{ramping}")
            }
            Tool::Oha => format!("--no-tui --output-format json -c {users} -z {seconds}s {url}"),
            Tool::Wrk => format!("-t1 --latency -c {users} -d {seconds}s {url}"),
            Tool::Goose => {
                let report = lab.files.path().join(GOOSE_REPORT);
                if report.exists() {
                    fs::remove_file(&report)?;
                }
                command.arg("--report-file").arg(report);
                command.env("WAIT_MS", wait.to_string());
                let starting = ramp.max(1);
                format!("-q --no-print-metrics -H {url} -u {users} -t {seconds}s -s {starting}s")
            }
            Tool::Locust => {
                let text = LOCUST_FILE.replace("WAIT", &job.wait.as_secs_f64().to_string());
                command.arg("-f").arg(lab.write("locustfile.py", &text)?);
                let (each_second, whole) = (users.div_ceil(ramp.max(1)), seconds + ramp);
                let reset = if ramp == 0 { "" } else { " --reset-stats" };
                format!(
                    "--headless --json --only-summary -H {base} -u {users} -r {each_second} -t {whole}s{reset}"
                )
            }
        };
        command.args(words.split(' '));
        Ok(command)
    }

    /// Reads the tool's report, from standard output or a file of its own; none if the run did not end normally.
    pub(super) fn read(self, text: &str, lab: &Lab) -> Option<Numbers> {
        match self {
            Tool::Reveille => Numbers::of_reveille(text, "actual"),
            Tool::Oha => Numbers::of_oha(text),
            Tool::Wrk => Numbers::of_wrk(text),
            Tool::Goose => Numbers::of_goose(&fs::read_to_string(lab.files.path().join(GOOSE_REPORT)).ok()?),
            Tool::Locust => Numbers::of_locust(text),
        }
    }

    fn version(self, lab: &Lab) -> String {
        let option = if self == Tool::Wrk { "-v" } else { "--version" };
        let line = first_line(Command::new(self.program(lab)).arg(option));
        // wrk and Locust print more behind their versions.
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn versions(tools: &[Tool], lab: &Lab) -> Vec<String> {
    let mut nginx = Command::new("nginx");
    nginx.arg("-v").env("PATH", packages::search_path());
    let tools = tools.iter().map(|tool| tool.version(lab));
    tools.chain([first_line(&mut nginx)]).collect()
}
