//! Thousands of sessions held at once against the drill, which is a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Rlimit};
use xtask::failure::{Failure, Result};
use xtask::tell;

use super::lab::Lab;
use crate::proc::megabytes;
use crate::process::Process;
use crate::table::Table;

/// How long each session is held: longer than it takes to connect them all.
const HOLD: Duration = Duration::from_mins(1);

/// How long the drill may take to make its hosts.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Files each side may need a session, with room to spare.
const FILES_EACH: u64 = 3;

pub(super) fn table(lab: &Lab, hosts: u32) -> Result<String> {
    let drill = Drill::start(lab, hosts, "none")?;
    let state = lab.fresh("state")?;
    let mut command = lab.reveille(&state);
    command.args(["exec", "-i"]).arg(&drill.inventory);
    let sleep = format!("sleep {}", HOLD.as_secs());
    command.args(["-c", &hosts.to_string(), "--", &sleep]);
    let measured = lab.measure(&command)?;
    let summary = lab.summary(&state)?;
    let window = HOLD.saturating_sub(Duration::from_secs(5));
    let held = measured.between(window, HOLD).unwrap_or(measured.peak);
    let mut table = Table::new(
        "sessions | successes | failures | peak memory, MB | while all are held, MB | KB a session | CPU, s | wall, s | highest attempt",
    );
    table.row(format_args!(
        "{hosts} | {} | {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {}",
        summary.count("success"),
        u64::from(hosts).saturating_sub(summary.count("success") as u64),
        megabytes(measured.peak.resident),
        megabytes(held.resident),
        measured.peak.resident as f64 * 1.024 / f64::from(hosts),
        measured.cpu.as_secs_f64(),
        measured.wall.as_secs_f64(),
        summary.highest_attempt(),
    ));
    Ok(format!(
        "{table}\n`reveille drill --serve DIR --hosts {hosts} --fault none` runs in one process, and `reveille exec -c {hosts} \
         -- {sleep}` in another, which is the one measured.\n"
    ))
}

/// The drill's process; ended when dropped.
pub(super) struct Drill {
    process: Process,
    pub(super) inventory: PathBuf,
}

// === impl Drill ===

impl Drill {
    /// Starts a drill of so many hosts with a fault, and waits until they answer.
    pub(super) fn start(lab: &Lab, hosts: u32, fault: &str) -> Result<Self> {
        raise_files(u64::from(hosts) * FILES_EACH + 4096);
        let directory = lab.fresh("drill")?;
        let mut command = Command::new(&lab.reveille);
        command.args(["drill", "--hosts", &hosts.to_string(), "--fault", fault]);
        command.arg("--serve").arg(&directory);
        tell::command(&command);
        // It serves as long as its standard input is open.
        let mut drill = Self {
            process: Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?,
            inventory: directory.join("inventory.ini"),
        };
        drill.wait_until_ready()?;
        Ok(drill)
    }

    fn wait_until_ready(&mut self) -> Result {
        let child = &mut self.process.child;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| Failure::failed("the drill has no output"))?;
        let limit = Timespec::try_from(READY_WITHIN).map_err(|error| Failure::failed(error.to_string()))?;
        let ready = rustix::event::poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit));
        if ready.map_err(std::io::Error::from)? == 0 {
            let seconds = READY_WITHIN.as_secs();
            return Err(Failure::failed(format!(
                "the drill is not ready after {seconds} s"
            )));
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() == "ready" {
            return Ok(());
        }
        Err(Failure::failed(format!("the drill ended ({})", child.wait()?)))
    }
}

/// Raises the limit on open files, which children inherit, to `wanted` or as far as possible.
fn raise_files(wanted: u64) {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(now.current) {
        return;
    }
    let limit = |maximum| Rlimit {
        current: if enough(maximum) { Some(wanted) } else { maximum },
        maximum,
    };
    let set = |maximum| rustix::process::setrlimit(Resource::Nofile, limit(maximum));
    if enough(now.maximum) && set(now.maximum).is_ok() || set(Some(wanted)).is_ok() {
        return;
    }
    // Only root may raise the hard limit, and not on every machine.
    let _ = set(now.maximum);
    let maximum = now.maximum.unwrap_or(wanted);
    tell::line(&format!(
        "open files are limited to {maximum}, not {wanted}: fewer sessions may fit at once"
    ));
}
