//! Chatty hosts and little memory: the controller in a control group of its own, its sessions and memory over time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use xtask::failure::{Failure, Result};
use xtask::tell;
use xtask::workspace::Workspace;

use super::chart::{self, Line, Panel};
use super::drill::{Server, raise_files};
use super::lab::Lab;
use super::peers;
use crate::proc::Memory;

/// Where the picture is, for readers of BENCHMARKS.md.
const PICTURE: &str = "docs/pictures/confined.svg";

/// MiB of output of each host.
const CHAT: u32 = 1;
/// After its output each host takes some time, so that all sessions would be open at once.
const HOLD: &str = "sleep 15";
/// Between two looks at the controller.
const EVERY: Duration = Duration::from_millis(100);
/// How long the run may take.
const WITHIN: Duration = Duration::from_mins(5);
/// Files each session may need.
const FILES_EACH: u64 = 3;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Hosts of the drill
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hosts: u32,
    /// Memory that the controller may use, MiB
    #[arg(long, value_name = "N", default_value_t = 143, value_parser = clap::value_parser!(u64).range(32..=100_000))]
    memory: u64,
    /// Print the table, and leave BENCHMARKS.md and its picture alone
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(arguments: &Arguments, workspace: &Workspace) -> Result {
    let lab = Lab::open(workspace, 1)?;
    let Arguments { hosts, memory, print } = *arguments;
    let (body, picture) = measure(&lab, hosts, memory, PICTURE.as_ref())?;
    if !print {
        fs::write(workspace.root.join(PICTURE), picture)?;
    }
    let title = format!("{hosts} chatty hosts, {memory} MiB for the controller");
    let versions = peers::versions(workspace, &lab.reveille, &[]);
    lab.section("confined", title, versions, body)
        .publish(workspace, print)
}

/// The table, and the picture for the file that it names.
fn measure(lab: &Lab, hosts: u32, megabytes: u64, picture: &Path) -> Result<(String, String)> {
    raise_files(u64::from(hosts) * FILES_EACH + 4096);
    let directory = lab.fresh("drill")?;
    let mut serve = Command::new(&lab.reveille);
    serve
        .args(["drill", "--hosts", &hosts.to_string(), "--fault"])
        .arg(format!("flood_{CHAT}={hosts}"))
        .arg("--serve")
        .arg(&directory);
    let mut server = Server::start(&mut serve)?;
    server.wait_until_ready()?;

    let group = Confined::make(megabytes)?;
    let (state, events) = (lab.fresh("state")?, lab.path("events"));
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"])
        .arg(group.directory.join("cgroup.procs"))
        .arg(&lab.reveille)
        .arg("--state-dir")
        .arg(&state)
        .arg("exec")
        .arg("-i")
        .arg(directory.join("inventory.ini"))
        .args(["-c", &hosts.to_string(), "--events"])
        .arg(&events)
        .args(["--", HOLD])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    tell::command(&command);
    let started = Instant::now();
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(|error| Failure::failed(error.to_string()))?;
    let (mut open, mut used, mut pressure) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = 0;
    let status = loop {
        let at = started.elapsed().as_secs_f64();
        if let Some((memory, highest)) = Memory::alone(pid) {
            peak = peak.max(highest);
            used.push((at, memory.resident as f64 / 1024.0));
        }
        open.push((at, sockets(pid)));
        pressure.extend(memory_pressure().map(|percent| (at, percent)));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > WITHIN {
            child.kill()?;
            child.wait()?;
            return Err(Failure::failed(format!(
                "the run took longer than {} s",
                WITHIN.as_secs()
            )));
        }
        std::thread::park_timeout(EVERY);
    };
    let wall = started.elapsed().as_secs_f64();
    let limits = limits(&events, wall)?;
    let summary = lab.summary(&state)?;
    let lowest = limits.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = open.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut text = String::from(
        "| hosts | memory allowed, MiB | successes | balanced | peak memory, MiB | ended by the kernel | most connections | lowest limit | wall, s |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let row = format!(
        "| {hosts} | {megabytes} | {} | {} | {:.0} | {} | {highest:.0} | {lowest:.0} | {wall:.1} |",
        summary.count("success"),
        if summary.balanced() { "yes" } else { "no" },
        peak as f64 / 1024.0,
        if status.code().is_none() { "yes" } else { "no" },
    );
    tell::line(&row);
    let _ = writeln!(text, "{row}");
    let _ = writeln!(
        text,
        "\nEach host says {CHAT} MiB as soon as it is asked and then works on for a while (`{HOLD}`), `-c {hosts}`; the drill is a process outside of the group.\n\n\
         ![sessions and memory over time]({})",
        picture.display()
    );
    let allowed = vec![(0.0, megabytes as f64), (wall, megabytes as f64)];
    let line = |name, colour, points, steps| Line {
        name,
        colour,
        points,
        steps,
    };
    let svg = chart::draw(&[
        Panel {
            title: "Sessions",
            lines: vec![
                line("the limit", "#c0392b", limits, true),
                line("connections", "#2471a3", open, false),
            ],
        },
        Panel {
            title: "Memory of the controller, MiB",
            lines: vec![
                line("allowed", "#c0392b", allowed, false),
                line("resident", "#2471a3", used, false),
            ],
        },
        Panel {
            title: "Memory pressure of the machine (some, 10 s), percent",
            lines: vec![line("pressure", "#7d3c98", pressure, false)],
        },
    ]);
    Ok((text, svg))
}

/// How many sessions could be open, by the run's own events.
fn limits(events: &Path, wall: f64) -> Result<Vec<(f64, f64)>> {
    let text = fs::read_to_string(events)?;
    let mut points: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "sessions_limited")
        .filter_map(|event| Some((event["mono_ms"].as_f64()? / 1000.0, event["sessions"].as_f64()?)))
        .collect();
    let last = points
        .last()
        .ok_or_else(|| Failure::failed("the run says nothing of its sessions"))?
        .1;
    points.push((wall, last));
    Ok(points)
}

/// Sockets that a process has open.
fn sockets(pid: i32) -> f64 {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let is_socket = |path: PathBuf| path.as_os_str().as_encoded_bytes().starts_with(b"socket:");
    files
        .flatten()
        .filter(|file| fs::read_link(file.path()).is_ok_and(is_socket))
        .count() as f64
}

/// Where the kernel tells it.
fn memory_pressure() -> Option<f64> {
    let text = fs::read_to_string("/proc/pressure/memory").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split(' ')
        .find_map(|word| word.strip_prefix("avg10="))?
        .parse()
        .ok()
}

/// A control group, version 2 or 1, with a limit of memory; removed when dropped.
struct Confined {
    directory: PathBuf,
}

// === impl Confined ===

impl Confined {
    fn make(megabytes: u64) -> Result<Self> {
        let name = format!("reveille-bench-{}", std::process::id());
        let bytes = (megabytes << 20).to_string();
        for (mount, file) in [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ] {
            let group = Self {
                directory: Path::new(mount).join(&name),
            };
            // Where no such file is, the mount is none of control groups, or without that controller.
            if fs::create_dir(&group.directory).is_ok()
                && group.directory.join(file).exists()
                && fs::write(group.directory.join(file), &bytes).is_ok()
            {
                return Ok(group);
            }
        }
        Err(Failure::failed(
            "can't make a control group with a limit of memory; this needs root, and the memory controller",
        ))
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // An empty group left behind costs nothing.
        let _ = fs::remove_dir(&self.directory);
    }
}
