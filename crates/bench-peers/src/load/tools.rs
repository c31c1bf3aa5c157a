//! Those that are compared, and how each is started on one core.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use xtask::failure::Result;
use xtask::packages;
use xtask::workspace::Workspace;

use super::install::{goose, locust, oha};
use super::numbers::Numbers;
use super::write;
use crate::benchmarks_page::first_line;

/// What it writes its numbers to.
const GOOSE_REPORT: &str = "goose.json";

/// What is to be done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) url: String,
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

impl fmt::Display for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} users for {} s",
            self.users,
            (self.time + self.ramp).as_secs()
        )
    }
}

// === impl Tool ===

impl Tool {
    /// Those that are here.
    pub(super) fn available(workspace: &Workspace) -> Vec<Self> {
        let mut tools = vec![Tool::Reveille];
        tools.extend(oha(workspace).map(|_| Tool::Oha));
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

    /// The tool on the second core, or on the only one there is.
    pub(super) fn command(
        self,
        job: &Job,
        workspace: &Workspace,
        reveille: &Path,
        files: &Path,
    ) -> Result<Command> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new("taskset");
        command.args(["-c", if cores > 1 { "1" } else { "0" }]);
        let seconds = job.time.as_secs();
        match self {
            Tool::Reveille => {
                let url = job.url.trim_end_matches('/');
                let scenario = format!(
                    "base_url: {url}\nhttp: {{keep_alive: {}}}\nwait: {}ms\ntasks: [{{get: /, expect: {{status: 200}}}}]\n",
                    job.keep,
                    job.wait.as_millis()
                );
                let path = write(files, "load.yaml", &scenario)?;
                command.arg(reveille).arg(path);
                command.args(["--threads", "1", "--quiet", "--format", "json"]);
                command.args([
                    "--users",
                    &job.users.to_string(),
                    "--duration",
                    &format!("{seconds}s"),
                ]);
                if !job.ramp.is_zero() {
                    command.args([
                        "--ramp",
                        &format!("{}s", job.ramp.as_secs()),
                        "--reset-after",
                        "ramp",
                    ]);
                }
            }
            Tool::Oha => {
                command.arg(oha(workspace).unwrap_or_default());
                command.args([
                    "--no-tui",
                    "--output-format",
                    "json",
                    "-c",
                    &job.users.to_string(),
                ]);
                command.args(["-z", &format!("{seconds}s"), &job.url]);
            }
            Tool::Wrk => {
                command.args(["wrk", "-t1", "--latency", "-c", &job.users.to_string()]);
                command.args(["-d", &format!("{seconds}s"), &job.url]);
            }
            Tool::Goose => {
                // What a former run said is not what this one says.
                match std::fs::remove_file(files.join(GOOSE_REPORT)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
                command.arg(goose(workspace)).args(["-q", "--no-print-metrics"]);
                command.env("WAIT_MS", job.wait.as_millis().to_string());
                command.args(["-H", &job.url, "-u", &job.users.to_string()]);
                command.args(["-t", &format!("{seconds}s"), "-s"]);
                command.arg(format!("{}s", job.ramp.as_secs().max(1)));
                command.arg("--report-file").arg(files.join(GOOSE_REPORT));
            }
            Tool::Locust => {
                let wait = if job.wait.is_zero() {
                    String::new()
                } else {
                    format!("    wait_time = constant({})\n", job.wait.as_secs_f64())
                };
                let text = format!(
                    "from locust import FastHttpUser, task, constant\n\n\nclass One(FastHttpUser):\n{wait}\n    @task\n    def one(self):\n        self.client.get(\"/\")\n"
                );
                let path = write(files, "locustfile.py", &text)?;
                let each_second = job.users.div_ceil(job.ramp.as_secs().max(1));
                command.arg(locust(workspace)).arg("-f").arg(path);
                command.args([
                    "--headless",
                    "--json",
                    "--only-summary",
                    "-H",
                    job.url.trim_end_matches('/'),
                ]);
                command.args(["-u", &job.users.to_string(), "-r", &each_second.to_string()]);
                command.args(["-t", &format!("{}s", (job.time + job.ramp).as_secs())]);
                if !job.ramp.is_zero() {
                    command.arg("--reset-stats");
                }
            }
        }
        Ok(command)
    }

    /// What it says on standard output, or in a file of its own; nothing if that is no result of a run to its end.
    pub(super) fn read(self, text: &str, files: &Path) -> Option<Numbers> {
        match self {
            Tool::Reveille => Numbers::of_reveille(text, "actual"),
            Tool::Oha => Numbers::of_oha(text),
            Tool::Wrk => Numbers::of_wrk(text),
            Tool::Goose => Numbers::of_goose(&std::fs::read_to_string(files.join(GOOSE_REPORT)).ok()?),
            Tool::Locust => Numbers::of_locust(text),
        }
    }
}

pub(super) fn versions(tools: &[Tool], workspace: &Workspace, reveille: &Path) -> Vec<String> {
    let mut versions: Vec<String> = tools
        .iter()
        .map(|tool| match tool {
            Tool::Reveille => first_line(Command::new(reveille).arg("--version")),
            Tool::Oha => first_line(Command::new(oha(workspace).unwrap_or_default()).arg("--version")),
            Tool::Wrk => {
                let line = first_line(Command::new("wrk").arg("-v"));
                line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
            }
            Tool::Goose => first_line(Command::new(goose(workspace)).arg("--version")),
            Tool::Locust => {
                let line = first_line(Command::new(locust(workspace)).arg("--version"));
                line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
            }
        })
        .collect();
    versions.push(first_line(
        Command::new("nginx")
            .arg("-v")
            .env("PATH", packages::search_path()),
    ));
    versions
}
