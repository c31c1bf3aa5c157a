//! Runs one command and measures its whole process tree.
//!
//! CPU time is the control group's (version 2), exact and with every descendant; where no group may be made it is read
//! from the ended process before it is waited for: its own and that of descendants that were waited for, to 10 ms.
//! Memory is looked at 20 times a second (less often when a look at hundreds of processes takes long). The peak of
//! resident memory is the higher of two: the largest sum of the proportional sets of all processes, and the kernel's
//! own record of the largest resident set of one process, which for a single process is its exact peak, shared
//! libraries included. The peak of anonymous memory is the largest sum seen.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use xtask::failure::{Failure, Result};

use crate::cgroup::Cgroup;
use crate::proc::{self, Memory};

/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(50);

/// No measured command may take longer.
const LIMIT: Duration = Duration::from_mins(5);

/// What a command used.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak: Memory,
    /// Memory over time.
    pub(crate) looks: Vec<(Duration, Memory)>,
    /// In KiB, of the whole machine.
    pub(crate) peak_swap: u64,
    pub(crate) exit_status: Option<i32>,
    /// Whether it was ended because it took too long.
    pub(crate) ended: bool,
    pub(crate) stdout: PathBuf,
}

// === impl Measured ===

impl Measured {
    /// The standard output, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// The standard error, as text.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.stdout.with_file_name("stderr")).unwrap_or_default())
            .into_owned()
    }

    /// The highest memory among the looks between two moments.
    pub(crate) fn between(&self, from: Duration, to: Duration) -> Option<Memory> {
        self.looks
            .iter()
            .filter(|(at, _)| (from..=to).contains(at))
            .map(|(_, memory)| *memory)
            .reduce(Memory::max)
    }
}

/// Runs `command` with its output in files in `directory`.
pub(crate) fn measure(command: &Command, directory: &Path) -> Result<Measured> {
    measure_within(command, directory, LIMIT)
}

/// The same, for at most `limit`.
pub(crate) fn measure_within(command: &Command, directory: &Path, limit: Duration) -> Result<Measured> {
    let stdout = directory.join("stdout");
    let group = Cgroup::make();
    let started = Instant::now();
    let mut child = start(command, group.as_ref(), &stdout, &directory.join("stderr"))?;
    let pid = i32::try_from(child.id()).map_err(|error| Failure::failed(error.to_string()))?;
    let watched = watch(pid, group.as_ref(), started, limit).map_err(|error| {
        // The error that led here is the one to tell.
        let _ = child.kill();
        Failure::failed(format!(
            "can't watch {}: {error}",
            command.get_program().display()
        ))
    })?;
    let wall = started.elapsed();
    let ticks = proc::stat(pid).map_or(0, |stat| stat.ticks);
    let status = child.wait()?;
    let cpu = group.as_ref().and_then(Cgroup::cpu).unwrap_or_else(|| {
        let frequency = rustix::param::clock_ticks_per_second();
        Duration::from_millis(ticks * 1000 / frequency.max(1))
    });
    Ok(Measured {
        wall,
        cpu,
        peak: watched.peak,
        looks: watched.looks,
        peak_swap: watched.peak_swap,
        exit_status: status.code(),
        ended: watched.ended,
        stdout,
    })
}

fn start(command: &Command, group: Option<&Cgroup>, stdout: &Path, stderr: &Path) -> Result<Child> {
    let mut wrapped;
    if let Some(group) = group {
        wrapped = Command::new("sh");
        // It joins the group, then becomes the command.
        wrapped
            .args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(group.members_file());
        wrapped.arg(command.get_program());
    } else {
        wrapped = Command::new(command.get_program());
    }
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
        .stdin(Stdio::null())
        .stdout(fs::File::create(stdout)?)
        .stderr(fs::File::create(stderr)?)
        .process_group(0)
        .spawn()
        .map_err(|error| {
            Failure::failed(format!(
                "can't start {}: {error}",
                command.get_program().display()
            ))
        })
}

#[derive(Debug, Default)]
struct Watched {
    peak: Memory,
    looks: Vec<(Duration, Memory)>,
    peak_swap: u64,
    ended: bool,
}

/// Looks at the tree until its root has ended, and leaves that to be waited for.
fn watch(pid: i32, group: Option<&Cgroup>, started: Instant, limit: Duration) -> io::Result<Watched> {
    // Some thousand looks, however long it takes.
    let every = LOOK.max(limit / 6000);
    let root = Pid::from_raw(pid).ok_or_else(|| io::Error::other("no process has pid 0"))?;
    let handle = rustix::process::pidfd_open(root, PidfdFlags::empty())?;
    let mut watched = Watched::default();
    let mut pause = Duration::from_millis(5);
    loop {
        let timeout = Timespec::try_from(pause).map_err(io::Error::other)?;
        let mut waited = [PollFd::new(&handle, PollFlags::IN)];
        match rustix::event::poll(&mut waited, Some(&timeout)) {
            Ok(0) => {}
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let looked = Instant::now();
        let members = group.map_or_else(|| proc::tree(pid), Cgroup::members);
        let now = look(&members, &mut watched.peak);
        watched.looks.push((started.elapsed(), now));
        watched.peak_swap = watched.peak_swap.max(proc::swap_used());
        // At most a tenth of the time goes into looking.
        pause = every.max(looked.elapsed() * 9);
        if started.elapsed() > limit && !watched.ended {
            watched.ended = true;
            // The group has everything; without one, at least the process group goes.
            let _ = rustix::process::kill_process_group(root, Signal::KILL);
            if let Some(group) = group {
                group.kill();
            }
        }
    }
    rustix::process::waitid(WaitId::Pid(root), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    Ok(watched)
}

/// Memory of `members` now; `peak` rises with it.
fn look(members: &[i32], peak: &mut Memory) -> Memory {
    let mut sum = Memory::default();
    for pid in members {
        let Some((alone, highest)) = Memory::alone(*pid) else {
            continue;
        };
        peak.resident = peak.resident.max(highest);
        sum += if members.len() == 1 {
            alone
        } else {
            Memory::share(*pid).unwrap_or_default()
        };
    }
    *peak = peak.max(sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_measured_with_their_parent() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo \"$i\"'; exit 7",
        ]);
        let measured = measure(&command, directory.path()).unwrap();
        assert_eq!(measured.exit_status, Some(7));
        assert_eq!(measured.text(), "300000\n");
        assert!(measured.cpu > Duration::from_millis(10), "{:?}", measured.cpu);
        assert!(
            measured.peak.resident > 100 && measured.peak.anonymous > 0,
            "{:?}",
            measured.peak
        );
        assert!(!measured.ended);
    }
}
