//! CPU time and memory of the controller.

use std::fs;
use std::sync::OnceLock;

/// Resources that the controller used so far, for summaries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds of CPU time, user and system.
    pub(crate) cpu_s: f64,
    /// Peak resident memory, bytes.
    pub(crate) peak_bytes: u64,
    /// Hosts that it worked on.
    pub(crate) hosts: usize,
}

/// CPU time that this process had used before the program began: `cargo run` builds, then becomes the program.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// The program begins.
pub(crate) fn begin() {
    BEFORE.get_or_init(ticks);
}

/// Reads the usage from `/proc`, after work on `hosts` hosts.
pub(crate) fn usage(hosts: usize) -> Usage {
    let peak_bytes = field("/proc/self/status", "VmHWM:").unwrap_or(0) * 1024;
    let ticks = ticks().saturating_sub(BEFORE.get().copied().unwrap_or(0));
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Usage {
        cpu_s: ticks as f64 / per_second as f64,
        peak_bytes,
        hosts,
    }
}

/// CPU time of this process, user and system.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit_once(") ").map_or(0, |(_, rest)| {
        let fields = rest.split(' ').skip(11).take(2);
        fields.filter_map(|field| field.parse::<u64>().ok()).sum()
    })
}

/// The number after a word in a file of `/proc`.
fn field(path: &str, word: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(word))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
