//! What fleets leave behind whose process was killed: their directories, and commands that ran for real.
//!
//! A fleet's directory is named after the process that made it, and holds when that process started: a number that is in
//! use again is another process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reveille_drill::end_marked;

use super::practice::HOMES;

/// How a fleet's directory is named, before the number of its process.
const PREFIX: &str = "fleet-";
/// The file that says when that process started.
const OWNER: &str = "owner";

/// The directory of this process's fleet.
pub(super) fn directory(state: &Path) -> PathBuf {
    state.join(format!("{PREFIX}{}", std::process::id()))
}

/// Notes that a directory is this process's.
pub(super) fn own(directory: &Path) -> io::Result<()> {
    let started = started(std::process::id()).unwrap_or_default();
    fs::write(directory.join(OWNER), format!("{started}\n"))
}

/// Removes the directories of fleets whose process is gone, and ends what they left running.
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

/// Whether the process that made a directory lives.
fn is_owned(directory: &Path, process: u32) -> bool {
    let Some(started) = started(process) else {
        return false;
    };
    match fs::read_to_string(directory.join(OWNER)) {
        Ok(noted) => noted.trim() == started,
        // Another one is just being made; this process makes its own only after this.
        Err(_) => process != std::process::id(),
    }
}

/// Removes a fleet's directory, and ends what its hosts' commands left running if the fleet did not.
pub(super) fn remove(directory: &Path) {
    // The mark of what ran for real is the directory's full name.
    if let Ok(homes) = fs::canonicalize(directory.join(HOMES)) {
        end_marked(&homes);
    }
    // Keys of a fleet that is gone are of no use to anybody; those that stay do no harm.
    let _ = fs::remove_dir_all(directory);
}

/// The boot and the time in it when a process started; nothing if there is none.
fn started(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    // What has ended and is not waited for has nothing any more.
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
        // No process has such a number, and none of this one's age has the other's.
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
