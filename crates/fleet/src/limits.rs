//! How many sessions the open-file limit and the memory of this process permit.

use std::fs;

use reveille_pace::admission::Sources;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for other uses: ledger, outputs being written, log, runtime.
const OTHER_DESCRIPTORS: u64 = 64;
/// Descriptors per session: its socket, and its output file while it is written.
const DESCRIPTORS_EACH: u64 = 2;
/// Memory per session, as measured, with its output buffers.
const BYTES_EACH: u64 = 100 * 1024;

/// The limit on sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Sessions at once.
    pub sessions: u64,
    /// Whether to close output files after each write, because there are too few descriptors for one per session.
    pub frugal: bool,
    /// Why there are fewer sessions than wanted, if so.
    pub reason: Option<String>,
}

/// How many of `wanted` sessions the descriptors and the memory permit. A session through a jump host has one socket
/// too.
///
/// # Errors
///
/// Not even one session fits; the message contains a remedy.
pub fn sessions(wanted: u64) -> Result<Fit, String> {
    let descriptors = raise_descriptors();
    let left = descriptors.saturating_sub(OTHER_DESCRIPTORS);
    if left == 0 {
        return Err(format!(
            "the limit of {descriptors} open files leaves none for a connection; raise it with `ulimit -n 4096`"
        ));
    }
    let by_memory = available_memory().map_or(u64::MAX, |bytes| (bytes / 10 * 8 / BYTES_EACH).max(1));
    let fit = wanted.min(left).min(by_memory);
    let reason = (fit < wanted).then(|| {
        if left <= by_memory {
            format!("the limit of {descriptors} open files")
        } else {
            "the available memory".to_owned()
        }
    });
    Ok(Fit {
        sessions: fit,
        frugal: fit * DESCRIPTORS_EACH > left,
        reason,
    })
}

/// Raises the soft limit on open files as far as possible, and returns it.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // The kernel does not accept an unlimited soft limit.
    let wanted = maximum.unwrap_or(1 << 20).min(1 << 20);
    let now = current.unwrap_or(u64::MAX);
    if now >= wanted {
        return now;
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum,
        },
    ) {
        Ok(()) => wanted,
        Err(_) => now,
    }
}

/// The memory that can still be used without pressure, in the control group or on the machine, in bytes.
fn available_memory() -> Option<u64> {
    let machine = field("/proc/meminfo", "MemAvailable:").map(|kib| kib * 1024);
    let group = Sources::default().read().group.map(|headroom| headroom.left);
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (one, other) => one.or(other),
    }
}

/// Reads the number after a word in a file of `/proc`.
fn field(path: &str, word: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(word))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
