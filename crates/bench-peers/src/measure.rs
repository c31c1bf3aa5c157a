//! Runs one command and measures its whole process tree.
//!
//! CPU time is the control group's (version 2): it is exact and includes every descendant. Where no group may be made,
//! it is read from the ended process before it is waited for: its own time and that of descendants that it waited for,
//! to 10 ms. Memory is looked at 20 times a second, or less often if a look at hundreds of processes takes long. The
//! peak of resident memory is the higher of two values: the largest sum of the proportional sets of all processes, and
//! the kernel's record of the largest resident set of one process, which for a single process is its exact peak, shared
//! libraries included. The peak of anonymous memory is the largest sum seen.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use xtask::failure::Result;

use crate::cgroup::Cgroup;
use crate::proc::{self, Memory};
use crate::process::Process;

/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(50);

/// How long a measured command may take.
const LIMIT: Duration = Duration::from_mins(5);

/// What a command used.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak: Memory,
    /// Memory over time.
    pub(crate) looks: Vec<(Duration, Memory)>,
    /// The highest swap of the whole machine, in KiB.
    pub(crate) peak_swap: u64,
    pub(crate) exit_status: Option<i32>,
    /// Whether it was killed because it took too long.
    pub(crate) ended: bool,
    stdout: PathBuf,
    stderr: PathBuf,
}

// === impl Measured ===

impl Measured {
    /// The standard output, as text.
    pub(crate) fn text(&self) -> String {
        text(&self.stdout)
    }

    /// The standard error, as text.
    pub(crate) fn errors(&self) -> String {
        text(&self.stderr)
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

/// How a command is measured.
pub(crate) struct Manner<'a> {
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    /// It is killed after this time.
    pub(crate) limit: Duration,
    /// Counts what the process tree uses, if there is one.
    pub(crate) group: Option<Cgroup>,
    /// Called with the process and the time since its start, at each look at its memory.
    pub(crate) look: &'a mut dyn FnMut(i32, Duration),
}

/// Runs `command` with its output in files in `directory`.
pub(crate) fn measure(command: &Command, directory: &Path) -> Result<Measured> {
    measure_within(command, directory, LIMIT)
}

/// The same, for at most `limit`.
pub(crate) fn measure_within(command: &Command, directory: &Path, limit: Duration) -> Result<Measured> {
    let manner = Manner {
        stdout: directory.join("stdout"),
        stderr: directory.join("stderr"),
        limit,
        group: Cgroup::make(),
        look: &mut |_, _| {},
    };
    manner.measure(command)
}

// === impl Manner ===

impl Manner<'_> {
    pub(crate) fn measure(mut self, command: &Command) -> Result<Measured> {
        let started = Instant::now();
        let mut process = self.start(command)?;
        let watched = self.watch(process.pid(), started)?;
        let wall = started.elapsed();
        let pid = process.pid().as_raw_nonzero().get();
        let ticks = proc::stat(pid).map_or(Duration::ZERO, |stat| stat.cpu);
        let status = process.child.wait()?;
        let cpu = self.group.as_ref().and_then(Cgroup::cpu).unwrap_or(ticks);
        Ok(Measured {
            wall,
            cpu,
            exit_status: status.code(),
            stdout: self.stdout,
            stderr: self.stderr,
            ..watched
        })
    }

    fn start(&self, command: &Command) -> Result<Process> {
        let program = command.get_program();
        let mut wrapped = match &self.group {
            Some(group) => group.shell(),
            None => Command::new(program),
        };
        wrapped.args(self.group.as_ref().map(|_| program));
        wrapped.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
            .stdin(Stdio::null())
            .stdout(fs::File::create(&self.stdout)?)
            .stderr(fs::File::create(&self.stderr)?)
            .process_group(0);
        Process::start(&mut wrapped)
    }

    /// Looks at the process tree until its root has ended, and leaves that to be waited for.
    fn watch(&mut self, root: Pid, started: Instant) -> io::Result<Measured> {
        // At most some thousand looks.
        let every = LOOK.max(self.limit / 6000);
        let handle = rustix::process::pidfd_open(root, PidfdFlags::empty())?;
        let pid = root.as_raw_nonzero().get();
        let mut watched = Measured::default();
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
            let members = match &self.group {
                Some(group) => group.members(),
                None => proc::tree(pid),
            };
            let now = look(&members, &mut watched.peak);
            watched.looks.push((started.elapsed(), now));
            watched.peak_swap = watched.peak_swap.max(proc::swap_used());
            (self.look)(pid, started.elapsed());
            // At most a tenth of the time goes into looking.
            pause = every.max(looked.elapsed() * 9);
            if started.elapsed() > self.limit && !watched.ended {
                watched.ended = true;
                // The group has every process; the process group may not.
                let _ = rustix::process::kill_process_group(root, Signal::KILL);
                if let Some(group) = &self.group {
                    group.kill();
                }
            }
        }
        rustix::process::waitid(WaitId::Pid(root), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        Ok(watched)
    }
}

fn text(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
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
