//! Hosts with much output and a controller with little memory, in a control group of its own: its sessions and memory
//! over time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use xtask::failure::{Failure, Result};
use xtask::tell;

use super::chart::{self, Line, Panel};
use super::drill::Drill;
use super::lab::Lab;
use crate::bench::Bench;
use crate::cgroup::Cgroup;
use crate::measure::Manner;
use crate::table::Table;

/// Where the chart is, for readers of BENCHMARKS.md.
const CHART: &str = "docs/pictures/confined.svg";

/// MiB of output of each host.
const OUTPUT: u32 = 1;
/// The command of each host after its output, so that all sessions would be open at once.
const HOLD: &str = "sleep 15";
/// How long the run may take.
const WITHIN: Duration = Duration::from_mins(5);

/// The colour of limits.
const RED: &str = "#c0392b";
/// The colour of limited values.
const BLUE: &str = "#2471a3";
/// The colour of the machine's pressure.
const VIOLET: &str = "#7d3c98";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Hosts of the drill
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hosts: u32,
    /// Memory that the controller may use, in MiB
    #[arg(long, value_name = "N", default_value_t = 143, value_parser = clap::value_parser!(u64).range(32..=100_000))]
    memory: u64,
}

pub(crate) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    let lab = Lab::open(bench, 1)?;
    let Arguments { hosts, memory } = *arguments;
    let (body, chart) = measure(&lab, hosts, memory)?;
    if !bench.print {
        fs::write(bench.workspace.root.join(CHART), chart)?;
    }
    let title = format!("{hosts} hosts with much output, {memory} MiB for the controller");
    bench.publish("confined", &title, &lab.versions(&[]), &body)
}

/// The table, and the chart.
fn measure(lab: &Lab, hosts: u32, mebibytes: u64) -> Result<(String, String)> {
    let drill = Drill::start(lab, hosts, &format!("flood_{OUTPUT}={hosts}"))?;
    let group = Cgroup::confined(mebibytes << 20).ok_or_else(|| {
        Failure::failed(
            "can't make a control group with a memory limit; this needs root and the memory controller",
        )
    })?;
    let (state, events) = (lab.fresh("state")?, lab.path("events"));
    let mut command = lab.reveille(&state);
    command.args(["exec", "-i"]).arg(&drill.inventory);
    command.args(["-c", &hosts.to_string(), "--events"]).arg(&events);
    command.args(["--", HOLD]);
    tell::command(&command);
    let (mut open, mut pressure) = (Vec::new(), Vec::new());
    let manner = Manner {
        // Pages of a file would count as memory of the group.
        stdout: "/dev/null".into(),
        stderr: "/dev/null".into(),
        limit: WITHIN,
        group: Some(group),
        look: &mut |pid, at| {
            open.push((at.as_secs_f64(), sockets(pid)));
            pressure.extend(memory_pressure().map(|percent| (at.as_secs_f64(), percent)));
        },
    };
    let measured = manner.measure(&command)?;
    if measured.ended {
        let seconds = WITHIN.as_secs();
        return Err(Failure::failed(format!("the run took longer than {seconds} s")));
    }
    let wall = measured.wall.as_secs_f64();
    let limits = limits(&events, wall)?;
    let summary = lab.summary(&state)?;
    let lowest = limits.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = open.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut table = Table::new(
        "hosts | memory allowed, MiB | successes | balanced | peak memory, MiB | ended by the kernel | most connections | lowest limit | wall, s",
    );
    let yes = |true_or_not| if true_or_not { "yes" } else { "no" };
    table.row(format_args!(
        "{hosts} | {mebibytes} | {} | {} | {:.0} | {} | {highest:.0} | {lowest:.0} | {wall:.1}",
        summary.count("success"),
        yes(summary.balanced()),
        measured.peak.resident as f64 / 1024.0,
        yes(measured.exit_status.is_none()),
    ));
    let text = format!(
        "{table}\nEach host prints {OUTPUT} MiB at once and then works for a while (`{HOLD}`), `-c {hosts}`. The drill is a \
         process outside of the group.\n\n![sessions and memory over time]({CHART})\n"
    );
    let used = measured.looks.iter();
    let used = used.map(|(at, memory)| (at.as_secs_f64(), memory.resident as f64 / 1024.0));
    let allowed = vec![(0.0, mebibytes as f64), (wall, mebibytes as f64)];
    let chart = chart::draw(&[
        Panel {
            title: "Sessions",
            lines: vec![
                Line::steps("limit", RED, limits),
                Line::joined("connections", BLUE, open),
            ],
        },
        Panel {
            title: "Memory of the controller, MiB",
            lines: vec![
                Line::joined("allowed", RED, allowed),
                Line::joined("resident", BLUE, used.collect()),
            ],
        },
        Panel {
            title: "Memory pressure of the machine (some, 10 s), percent",
            lines: vec![Line::joined("pressure", VIOLET, pressure)],
        },
    ]);
    Ok((text, chart))
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
    let last = points.last().map(|point| point.1);
    let last = last.ok_or_else(|| Failure::failed("the run's events have no limit of sessions"))?;
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

/// Memory pressure in percent, where the kernel reports it.
fn memory_pressure() -> Option<f64> {
    let text = fs::read_to_string("/proc/pressure/memory").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let average = some.split(' ').find_map(|word| word.strip_prefix("avg10="));
    average?.parse().ok()
}
