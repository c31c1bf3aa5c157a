//! Processes that outlive the process that started them: identified by pid and start time, and ended through pidfds.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// A process, distinguished from later ones with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    /// In clock ticks since the machine booted.
    started: u64,
}

// === impl Process ===

impl Process {
    /// The process that currently has `pid`.
    pub(super) fn running(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.ended).then_some(Self {
            pid,
            started: stat.started,
        })
    }

    /// The only child of this process, if any.
    pub(super) fn child(self) -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?;
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find(|pid| Stat::read(*pid).is_some_and(|stat| stat.parent == self.pid))
            .and_then(Self::running)
    }

    pub(super) fn is_running(self) -> bool {
        Self::running(self.pid) == Some(self)
    }

    /// Waits until the process has ended; false after `limit`.
    pub(super) fn wait(self, limit: Duration) -> io::Result<bool> {
        let Some(handle) = self.handle()? else {
            return Ok(true);
        };
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut waited = [PollFd::new(&handle, PollFlags::IN)];
        Ok(rustix::event::poll(&mut waited, Some(&limit))? > 0)
    }

    /// Kills the process and waits until it has ended.
    pub(super) fn kill(self) -> io::Result<()> {
        let Some(handle) = self.handle()? else {
            return Ok(());
        };
        match rustix::process::pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        if self.wait(Duration::from_secs(10))? {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("process {} did not end within 10 s", self.pid),
        ))
    }

    /// A handle that can't refer to a later process; none if this one is gone.
    fn handle(self) -> io::Result<Option<rustix::fd::OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // Checked after opening the handle: from now on the pid refers to this process.
            Ok(handle) => Ok(self.is_running().then_some(handle)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.pid, self.started)
    }
}

impl std::str::FromStr for Process {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let wrong = || io::Error::other(format!("`{text}` is not a pid and a start time"));
        let (pid, started) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| wrong())?,
            started: started.parse().map_err(|_| wrong())?,
        })
    }
}

/// The needed fields of `/proc/PID/stat`.
struct Stat {
    parent: i32,
    started: u64,
    ended: bool,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in brackets, which may contain anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            ended: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_killed_and_not_mistaken_for_another() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::running(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(process.to_string().parse::<Process>().unwrap(), process);

        let later = Process {
            started: process.started + 1,
            ..process
        };
        assert!(!later.is_running());
        later.kill().unwrap();
        assert!(process.is_running(), "another process of that pid was spared");

        assert!(!process.wait(Duration::from_millis(1)).unwrap());
        process.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_running());
    }
}
