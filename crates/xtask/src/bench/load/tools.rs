//! Those that are compared: how each is started on one core, and what it says.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::super::lab;
use super::super::report::first_line;
use super::write;
use crate::failure::Result;
use crate::packages;
use crate::workspace::{self, Workspace};

const LOCUST: &str = "2.47.0";
const OHA: &str = "1.16.0";

/// Goose is a library: a load test with it is a program. This is the smallest one.
const GOOSE_MANIFEST: &str = r#"[package]
name = "bench-goose"
version = "0.1.0"
edition = "2024"

[dependencies]
goose = { version = "=0.19.0", default-features = false, features = ["rustls-tls"] }
tokio = { version = "1", features = ["rt"] }

[workspace]
"#;
const GOOSE_PROGRAM: &str = r#"use std::time::Duration;

use goose::prelude::*;

async fn one(user: &mut GooseUser) -> TransactionResult {
    let _ = user.get("").await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), GooseError> {
    let wait = std::env::var("WAIT_MS").ok().and_then(|text| text.parse().ok());
    let wait = Duration::from_millis(wait.unwrap_or(0));
    let scenario = scenario!("one").register_transaction(transaction!(one)).set_wait_time(wait, wait)?;
    GooseAttack::initialize()?.register_scenario(scenario).execute().await?;
    Ok(())
}
"#;
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

/// What a tool says; latencies in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) completed: f64,
    pub(super) rate: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) p999: Option<f64>,
    pub(super) max: Option<f64>,
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

    /// What it says on standard output, or in a file of its own.
    pub(super) fn read(self, text: &str, files: &Path) -> Numbers {
        match self {
            Tool::Reveille => reveille(text, "actual"),
            Tool::Oha => read_oha(text),
            Tool::Wrk => read_wrk(text),
            Tool::Goose => read_goose(&std::fs::read_to_string(files.join(GOOSE_REPORT)).unwrap_or_default()),
            Tool::Locust => read_locust(text),
        }
    }

    /// Reveille's latencies from the intended start.
    pub(super) fn read_intended(text: &str) -> Numbers {
        reveille(text, "intended")
    }
}

fn reveille(text: &str, start: &str) -> Numbers {
    let summary: Value = serde_json::from_str(text).unwrap_or_default();
    let latency = |name: &str| summary[start][name].as_f64();
    Numbers {
        completed: summary["requests"]["completed"].as_f64().unwrap_or(0.0),
        rate: summary["requests"]["completed_rate"].as_f64().unwrap_or(0.0),
        p50: latency("p50"),
        p99: latency("p99"),
        p999: latency("p999"),
        max: latency("max"),
    }
}

fn read_oha(text: &str) -> Numbers {
    let summary: Value = serde_json::from_str(text).unwrap_or_default();
    let quantile = |name: &str| Some(summary["latencyPercentiles"][name].as_f64()? * 1e3);
    Numbers {
        completed: summary["summary"]["requestsPerSec"].as_f64().unwrap_or(0.0),
        rate: summary["summary"]["requestsPerSec"].as_f64().unwrap_or(0.0),
        p50: quantile("p50"),
        p99: quantile("p99"),
        p999: quantile("p99.9"),
        max: summary["summary"]["slowest"]
            .as_f64()
            .map(|slowest| slowest * 1e3),
    }
}

/// wrk's `--latency` has no more than these quantiles.
fn read_wrk(text: &str) -> Numbers {
    let field = |name: &str, place: usize| {
        text.lines()
            .map(str::trim)
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_whitespace().nth(place))
    };
    let rate = field("Requests/sec:", 1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    Numbers {
        completed: rate,
        rate,
        p50: field("50%", 1).and_then(milliseconds),
        p99: field("99%", 1).and_then(milliseconds),
        p999: None,
        max: field("Latency ", 3).and_then(milliseconds),
    }
}

/// `327.23us`, `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "us" => Some(number / 1e3),
        "ms" => Some(number),
        "s" => Some(number * 1e3),
        _ => None,
    }
}

/// Goose's has one in microseconds, for each request.
fn read_goose(text: &str) -> Numbers {
    let all: Value = serde_json::from_str(text).unwrap_or_default();
    let metrics = &all["raw_metrics"];
    let requests = metrics["requests"].as_object();
    let Some(one) = requests.and_then(|requests| requests.values().next()) else {
        return Numbers::default();
    };
    let count = one["raw_data"]["counter"].as_f64().unwrap_or(0.0);
    let quantile = quantiles(&one["raw_data"]["times_us"]);
    let ms = |share| quantile(share).map(|time| time / 1e3);
    Numbers {
        completed: count,
        rate: count / metrics["duration"].as_f64().unwrap_or(f64::INFINITY),
        p50: ms(0.5),
        p99: ms(0.99),
        p999: ms(0.999),
        max: ms(1.0),
    }
}

/// Quantiles of a table of times and how often each came.
fn quantiles(table: &Value) -> impl Fn(f64) -> Option<f64> {
    let mut times: Vec<(f64, f64)> = table
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(time, count)| Some((time.parse().ok()?, count.as_f64()?)))
        .collect();
    times.sort_by(|left, right| left.0.total_cmp(&right.0));
    let total: f64 = times.iter().map(|(_, count)| count).sum();
    move |share| {
        let mut seen = 0.0;
        times.iter().find_map(|(time, count)| {
            seen += count;
            (seen >= total * share).then_some(*time)
        })
    }
}

/// Locust's JSON has a table of rounded response times.
fn read_locust(text: &str) -> Numbers {
    let all: Value = text
        .find('[')
        .and_then(|at| serde_json::from_str(&text[at..]).ok())
        .unwrap_or_default();
    let one = &all[0];
    let count = one["num_requests"].as_f64().unwrap_or(0.0);
    let span =
        one["last_request_timestamp"].as_f64().unwrap_or(0.0) - one["start_time"].as_f64().unwrap_or(0.0);
    let quantile = quantiles(&one["response_times"]);
    Numbers {
        completed: count,
        rate: if span > 0.0 { count / span } else { 0.0 },
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: one["max_response_time"].as_f64(),
    }
}

fn locust(workspace: &Workspace) -> PathBuf {
    lab::venv(workspace).join("bin/locust")
}

/// oha on PATH, or where `--install` puts it.
fn oha(workspace: &Workspace) -> Option<PathBuf> {
    let own = workspace.target.join("bench-tools/bin/oha");
    if own.is_file() {
        return Some(own);
    }
    packages::is_there("oha").then(|| "oha".into())
}

fn goose(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bench-tools/bin/bench-goose")
}

/// Installs what no Debian package has.
pub(super) fn install(workspace: &Workspace) -> Result {
    let venv = lab::venv(workspace);
    if !locust(workspace).is_file() {
        workspace::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let package = format!("locust=={LOCUST}");
        workspace::run(Command::new(venv.join("bin/pip")).args(["install", "-q", &package]))?;
    }
    if oha(workspace).is_none() {
        let mut build = workspace.cargo();
        build
            .args(["install", "oha", "--version", OHA, "--locked", "--root"])
            .arg(workspace.target.join("bench-tools"));
        workspace::run(&mut build)?;
    }
    if !goose(workspace).is_file() {
        let sources = workspace.target.join("bench-tools/goose");
        std::fs::create_dir_all(sources.join("src"))?;
        write(&sources, "Cargo.toml", GOOSE_MANIFEST)?;
        write(&sources.join("src"), "main.rs", GOOSE_PROGRAM)?;
        let mut build = workspace.cargo();
        build.args(["install", "--path"]).arg(&sources);
        build.arg("--root").arg(workspace.target.join("bench-tools"));
        workspace::run(&mut build)?;
    }
    Ok(())
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
    versions.push(first_line(Command::new("nginx").arg("-v").env(
        "PATH",
        format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()),
    )));
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_say_is_understood() {
        let wrk = read_wrk(
            "    Latency   327.23us  257.19us   6.62ms   97.69%\n     50%  300.00us\n     99%    1.20ms\nRequests/sec: 109970.97\n",
        );
        assert!((wrk.rate - 109_970.97).abs() < 0.1);
        assert_eq!((wrk.p50, wrk.p99, wrk.max), (Some(0.3), Some(1.2), Some(6.62)));
        let goose = read_goose(
            r#"{"raw_metrics": {"duration": 2, "requests": {"GET /": {"raw_data": {"counter": 10, "times_us": {"90": 9, "1500": 1}}}}}}"#,
        );
        assert!((goose.rate - 5.0).abs() < 0.1);
        assert_eq!(
            (goose.p50, goose.p99, goose.max),
            (Some(0.09), Some(1.5), Some(1.5))
        );
        let locust = read_locust(
            r#"[{"num_requests": 20, "start_time": 1.0, "last_request_timestamp": 3.0, "max_response_time": 9.5, "response_times": {"1": 19, "9": 1}}]"#,
        );
        assert!((locust.rate - 10.0).abs() < 0.1);
        assert_eq!(
            (locust.p50, locust.p99, locust.max),
            (Some(1.0), Some(9.0), Some(9.5))
        );
    }
}
