//! A control group (version 2) around one measured command: what its whole process tree used, children that nobody
//! waited for included.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Groups made so far: each measurement begins with an account of its own.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A group of its own; ended and removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: PathBuf,
}

// === impl Cgroup ===

impl Cgroup {
    /// Makes a group below the one this process is in; none where that may not be done.
    pub(crate) fn make() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .find_map(|mount| {
                let parent = PathBuf::from(mount).join(own);
                let number = MADE.fetch_add(1, Ordering::Relaxed);
                let directory = parent.join(format!("reveille-bench-{}-{number}", std::process::id()));
                fs::metadata(parent.join("cgroup.controllers")).ok()?;
                fs::create_dir(&directory).ok()?;
                let group = Self { directory };
                // Some kernels offer the group without the account.
                group.cpu()?;
                Some(group)
            })
    }

    /// The file that a process writes its pid to, to become a member.
    pub(crate) fn members_file(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// The members now.
    pub(crate) fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.members_file()).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// CPU time of all members so far, those that have ended included.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let text = fs::read_to_string(self.directory.join("cpu.stat")).ok()?;
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))?
            .parse()
            .ok()?;
        Some(Duration::from_micros(used))
    }

    /// Kills every member.
    pub(crate) fn kill(&self) {
        // A group that is empty or gone is as good.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // Members take a moment to go; an empty group left behind costs nothing.
        for _ in 0..1000 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}
