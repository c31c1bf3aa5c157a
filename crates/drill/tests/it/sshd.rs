//! A real sshd, and ways to manipulate its processes.

use std::fs;
use std::net::SocketAddrV4;

use reveille_testbed::Testbed;
use rustix::process::{Pid, Signal, kill_process};

/// One real server.
pub(crate) struct Sshd(pub(crate) Testbed);

// === impl Sshd ===

impl Sshd {
    pub(crate) fn start(config: &str) -> Self {
        Self(Testbed::start(1, config).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.0.address(0), self.0.port())
    }

    pub(crate) fn key(&self) -> String {
        fs::read_to_string(self.0.key()).unwrap()
    }

    /// The process that accepts connections.
    pub(crate) fn listener(&self) -> Pid {
        pid(self.0.pids()[0])
    }

    /// sshd's own processes for its sessions.
    pub(crate) fn sessions(&self) -> Vec<Pid> {
        let mut found = vec![self.0.pids()[0]];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            found.extend(
                children(parent)
                    .into_iter()
                    .filter(|child| name(*child).starts_with("sshd")),
            );
        }
        found.into_iter().skip(1).map(pid).collect()
    }

    /// Signals the processes of its sessions.
    pub(crate) fn signal_sessions(&self, signal: Signal) {
        let sessions = self.sessions();
        assert!(!sessions.is_empty(), "there is no session");
        for session in sessions {
            // One may end with another.
            let _ = kill_process(session, signal);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // A stopped process can't exit by itself.
        for session in self.sessions() {
            let _ = kill_process(session, Signal::KILL);
        }
    }
}

pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

pub(crate) fn children(parent: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}
