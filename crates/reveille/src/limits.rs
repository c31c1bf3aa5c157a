//! What this process may use: descriptors and memory, and what it has used.

use std::fs;

use reveille_pace::admission::Sources;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not sessions: ledger, outputs being written, log, runtime.
const OTHER_DESCRIPTORS: u64 = 64;
/// Descriptors of a session: its socket, and its output file while it is written.
const DESCRIPTORS_EACH: u64 = 2;
/// Memory of a session, measured, with its output buffers.
const BYTES_EACH: u64 = 100 * 1024;

/// How many sessions fit.
pub(crate) struct Fit {
    pub(crate) sessions: u64,
    /// Output files are to be closed after each write, because not every session can hold one open.
    pub(crate) frugal: bool,
    /// Why it is less than what was wanted, if it is.
    pub(crate) reason: Option<String>,
}

/// How many of `wanted` sessions fit into descriptors and memory. One through a jump host has one socket all the same.
pub(crate) fn sessions(wanted: u64) -> Result<Fit, String> {
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
            "the memory that is available".to_owned()
        }
    });
    Ok(Fit {
        sessions: fit,
        frugal: fit * DESCRIPTORS_EACH > left,
        reason,
    })
}

/// Raises the soft limit on open files as far as it goes, and tells it.
pub(crate) fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A hard limit of none is not one that the kernel takes as a soft one.
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

/// Bytes that can be used before something has to give: of the control group, or of the machine.
fn available_memory() -> Option<u64> {
    let machine = field("/proc/meminfo", "MemAvailable:").map(|kib| kib * 1024);
    let group = Sources::default().read().group.map(|headroom| headroom.left);
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (one, other) => one.or(other),
    }
}

/// A number behind a word in a file of `/proc`.
fn field(path: &str, word: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(word))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// What the controller used so far, for summaries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds of CPU time, user and system.
    pub(crate) cpu_s: f64,
    /// Most memory that was resident, bytes.
    pub(crate) peak_bytes: u64,
    /// Hosts that it was to work on.
    pub(crate) hosts: usize,
}

/// Reads them from `/proc`, after work on so many hosts.
pub(crate) fn usage(hosts: usize) -> Usage {
    let peak_bytes = field("/proc/self/status", "VmHWM:").unwrap_or(0) * 1024;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat.rsplit_once(") ").map_or(0, |(_, rest)| {
        rest.split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum()
    });
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Usage {
        cpu_s: ticks as f64 / per_second as f64,
        peak_bytes,
        hosts,
    }
}
