//! Thousands of sessions held at once against the drill, which is a process of its own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Rlimit};
use xtask::failure::{Failure, Result};
use xtask::tell;

use super::lab::Lab;
use crate::proc::megabytes;

/// How long each session is held: longer than it takes to connect them all.
const HOLD: Duration = Duration::from_mins(1);

/// How long the drill may take to make its hosts.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Files each side may need a session, with room to spare.
const FILES_EACH: u64 = 3;

pub(super) fn table(lab: &Lab, hosts: u32) -> Result<String> {
    raise_files(u64::from(hosts) * FILES_EACH + 4096);
    let directory = lab.fresh("drill")?;
    let inventory = directory.join("inventory.ini");
    let mut serve = Command::new(&lab.reveille);
    serve
        .args([
            "drill",
            "--hosts",
            &hosts.to_string(),
            "--fault",
            "none",
            "--serve",
        ])
        .arg(&directory);
    let mut server = Server::start(&mut serve)?;
    server.wait_until_ready()?;

    let state = lab.fresh("state")?;
    let mut command = lab.reveille(&state);
    command
        .args(["exec", "-i"])
        .arg(&inventory)
        .args(["-c", &hosts.to_string()]);
    command.args(["--", &format!("sleep {}", HOLD.as_secs())]);
    let measured = lab.measure(&command)?;
    let summary = lab.summary(&state)?;
    let said = measured.errors();
    // Its first line says how many fit at once.
    let at_once = said
        .lines()
        .find(|line| line.contains("at once"))
        .unwrap_or("")
        .trim()
        .to_owned();
    let held = measured
        .between(HOLD.saturating_sub(Duration::from_secs(5)), HOLD)
        .unwrap_or(measured.peak);
    let mut text = String::from(
        "| sessions | successes | failures | peak memory, MB | while all are held, MB | KB a session | CPU, s | wall, s | highest attempt |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let row = format!(
        "| {hosts} | {} | {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {} |",
        summary.count("success"),
        u64::from(hosts).saturating_sub(summary.count("success") as u64),
        megabytes(measured.peak.resident),
        megabytes(held.resident),
        measured.peak.resident as f64 * 1.024 / f64::from(hosts),
        measured.cpu.as_secs_f64(),
        measured.wall.as_secs_f64(),
        summary.highest_attempt(),
    );
    tell::line(&row);
    let _ = writeln!(text, "{row}");
    let _ = writeln!(
        text,
        "\n`reveille drill --serve DIR --hosts {hosts} --fault none` in one process, `reveille exec -c {hosts} -- sleep {}` \
         in another, which is the one measured. It said: \"{at_once}\".",
        HOLD.as_secs()
    );
    Ok(text)
}

/// The drill's process; ended when dropped.
pub(super) struct Server(Child);

// === impl Server ===

impl Server {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        tell::command(command);
        // It serves as long as its standard input is open.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        child
            .map(Self)
            .map_err(|error| Failure::failed(format!("can't start the drill: {error}")))
    }

    /// Waits until the drill says that its hosts answer.
    pub(super) fn wait_until_ready(&mut self) -> Result {
        let said = self
            .0
            .stdout
            .take()
            .ok_or_else(|| Failure::failed("the drill has no output"))?;
        let limit = Timespec::try_from(READY_WITHIN).map_err(|error| Failure::failed(error.to_string()))?;
        let heard = rustix::event::poll(&mut [PollFd::new(&said, PollFlags::IN)], Some(&limit));
        if heard.map_err(std::io::Error::from)? == 0 {
            return Err(Failure::failed(format!(
                "the drill is not ready after {} s",
                READY_WITHIN.as_secs()
            )));
        }
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        if line.trim() == "ready" {
            return Ok(());
        }
        Err(Failure::failed(format!("the drill ended ({})", self.0.wait()?)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Raises the limit on open files, which children inherit, as far as `wanted` or as it goes.
pub(super) fn raise_files(wanted: u64) {
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
    // Only the superuser may raise the hard limit, and not everywhere. What fits, fits.
    let _ = set(now.maximum);
    let maximum = now.maximum.unwrap_or(wanted);
    tell::line(&format!(
        "open files are limited to {maximum}, not {wanted}: fewer sessions may fit at once"
    ));
}
