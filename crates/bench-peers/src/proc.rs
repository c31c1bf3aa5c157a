//! Memory and CPU time of processes and the machine, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// A process as the kernel counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) parent: i32,
    /// CPU time of the process and of children that it waited for, to 10 ms.
    pub(crate) cpu: Duration,
}

/// Reads `/proc/PID/stat`, which also exists for a process that has ended and was not waited for.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may contain spaces and brackets.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields
        .get(11..15)?
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu: clock_time(ticks),
    })
}

/// `root` and everything that descends from it.
pub(crate) fn tree(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(stat) = stat(pid)
        {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let below = children.remove(pid).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

/// Memory of one or several processes, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Everything in memory, pages of programs and libraries included.
    pub(crate) resident: u64,
    /// Memory without a file behind it, such as heap and stacks, which the kernel can't drop.
    pub(crate) anonymous: u64,
}

// === impl Memory ===

impl Memory {
    /// The memory of one process, and the kernel's record of its highest resident set.
    pub(crate) fn alone(pid: i32) -> Option<(Self, u64)> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let now = Self {
            resident: field(&text, "VmRSS:")?,
            anonymous: field(&text, "RssAnon:")?,
        };
        Some((now, field(&text, "VmHWM:")?))
    }

    /// The proportional memory of a process: shared pages are divided among the processes. Swapped pages count as well.
    pub(crate) fn share(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let swapped = field(&text, "SwapPss:").unwrap_or(0);
        Some(Self {
            resident: field(&text, "Pss:")? + swapped,
            anonymous: field(&text, "Pss_Anon:")? + swapped,
        })
    }

    /// The higher value of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            anonymous: self.anonymous.max(other.anonymous),
        }
    }
}

impl std::ops::AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.anonymous += other.anonymous;
    }
}

/// Converts KiB to decimal megabytes.
pub(crate) fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// Memory that is available without swapping, in KiB.
pub(crate) fn available() -> u64 {
    memory("MemAvailable:")
}

/// Swap in use, in KiB.
pub(crate) fn swap_used() -> u64 {
    memory("SwapTotal:").saturating_sub(memory("SwapFree:"))
}

/// The machine's memory, in KiB.
pub(crate) fn total() -> u64 {
    memory("MemTotal:")
}

/// Processor time of all processes since the start of the machine, to 10 ms.
pub(crate) fn busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: u64 = text
        .lines()
        .next()
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1).enumerate())
        // user, nice, system, idle, iowait, irq, softirq
        .filter(|(field, _)| *field < 7 && *field != 3 && *field != 4)
        .filter_map(|(_, word)| word.parse::<u64>().ok())
        .sum();
    clock_time(ticks)
}

fn clock_time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

fn memory(name: &str) -> u64 {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| field(&text, name))
        .unwrap_or(0)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
