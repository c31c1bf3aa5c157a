//! A control group around one measured command: what its whole process tree used, children that nobody waited for
//! included, and how much memory it may have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
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
    /// Makes a group (version 2) below that of this process; none where that may not be done.
    pub(crate) fn make() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .find_map(|mount| {
                let parent = Path::new(mount).join(own);
                fs::metadata(parent.join("cgroup.controllers")).ok()?;
                let group = Self::below(&parent)?;
                // Some kernels offer the group without the account.
                group.cpu()?;
                Some(group)
            })
    }

    /// Makes a group (version 2 or 1) that may use so many bytes of memory; this needs root.
    pub(crate) fn confined(bytes: u64) -> Option<Self> {
        let limits = [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ];
        limits.into_iter().find_map(|(mount, file)| {
            let group = Self::below(Path::new(mount))?;
            let limit = group.directory.join(file);
            // Without that file the mount has no control groups, or not this controller.
            (limit.exists() && fs::write(limit, bytes.to_string()).is_ok()).then_some(group)
        })
    }

    fn below(parent: &Path) -> Option<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("reveille-bench-{}-{number}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        Some(Self { directory })
    }

    /// A shell that joins the group and then becomes the command that its further arguments name.
    pub(crate) fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(self.directory.join("cgroup.procs"));
        shell
    }

    /// The members now.
    pub(crate) fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// CPU time of all members so far, those that have ended included.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let text = fs::read_to_string(self.directory.join("cpu.stat")).ok()?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(Duration::from_micros(used.parse().ok()?))
    }

    /// Kills every member.
    pub(crate) fn kill(&self) {
        // An empty or removed group needs nothing.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // Members take a moment to end; an empty group left behind costs nothing.
        for _ in 0..1000 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}
