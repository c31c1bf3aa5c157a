//! Removes what fleets of killed processes left: their directories, and commands that ran for real.
//!
//! The name of a fleet's directory has the number of the process that made it. A file in it has the time when that
//! process started, because numbers are used again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reveille_drill::end_marked;

/// The directory of the hosts' home directories, in a fleet's directory.
pub(super) const HOMES: &str = "hosts";

/// The name of a fleet's directory, before the number of its process.
const PREFIX: &str = "fleet-";
/// The file with the time when that process started.
const OWNER: &str = "owner";

/// The directory of this process's fleet.
pub(super) fn directory(state: &Path) -> PathBuf {
    state.join(format!("{PREFIX}{}", std::process::id()))
}

/// Marks a directory as this process's.
pub(super) fn own(directory: &Path) -> io::Result<()> {
    let started = started(std::process::id()).unwrap_or_default();
    fs::write(directory.join(OWNER), format!("{started}\n"))
}

/// Removes the directories of fleets whose process is gone, and ends commands that they left running.
pub(super) fn sweep(state: &Path) {
    let Ok(entries) = fs::read_dir(state) else {
        // There was no fleet yet.
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(process) = process.filter(|_| is_directory)
            && !is_owned(&entry.path(), process)
        {
            remove(&entry.path());
        }
    }
}

/// Whether the process that made a directory is alive.
fn is_owned(directory: &Path, process: u32) -> bool {
    let Some(started) = started(process) else {
        return false;
    };
    match fs::read_to_string(directory.join(OWNER)) {
        Ok(noted) => noted.trim() == started,
        // Another process is about to write the file. This process has not made its directory yet.
        Err(_) => process != std::process::id(),
    }
}

/// Removes a fleet's directory, and ends commands that it left running.
pub(super) fn remove(directory: &Path) {
    // Processes that ran for real are marked with the directory's absolute path.
    if let Ok(homes) = fs::canonicalize(directory.join(HOMES)) {
        end_marked(&homes);
    }
    // If it fails, the remaining keys are of no use to anybody.
    let _ = fs::remove_dir_all(directory);
}

/// The boot, and the time since it, at which a process started; `None` if it does not run.
fn started(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    // A zombie has ended.
    let alive = fields.next()? != "Z";
    let ticks = fields.nth(18)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    alive.then(|| format!("{ticks} {}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_dead_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let make = |name: &str, owner: Option<&str>| {
            let path = state.path().join(name);
            fs::create_dir(&path).unwrap();
            if let Some(owner) = owner {
                fs::write(path.join(OWNER), owner).unwrap();
            }
            path
        };
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let living = make(&format!("fleet-{}", child.id()), started(child.id()).as_deref());
        let unmarked = make("fleet-1", None);
        // No process has this number, and this process did not start at that time.
        let dead = make("fleet-4294967295", Some("1 a boot"));
        let reused = make(&format!("fleet-{}", std::process::id()), Some("1 a boot"));
        let others = make("fleet-x", None);
        sweep(state.path());
        assert_eq!(
            [&living, &unmarked, &dead, &reused, &others].map(|path| path.exists()),
            [true, true, false, false, true]
        );
        child.kill().unwrap();
        child.wait().unwrap();
        sweep(state.path());
        assert!(!living.exists());
    }
}
