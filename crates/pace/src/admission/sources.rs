//! Reads pressure and memory.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::parse::{self, Pressure};

/// The directories to read; tests use others.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
}

/// The memory that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// Bytes that can still be used.
    pub left: u64,
    /// Bytes in total.
    pub of: u64,
}

/// Readings of this machine; `None` where it reports nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// Memory pressure in this process's control group, or on the machine if the group reports none.
    pub memory: Option<Pressure>,
    /// CPU pressure, from the same source.
    pub cpu: Option<Pressure>,
    /// The machine's available memory.
    pub machine: Option<Headroom>,
    /// The memory left in the tightest of this process's control groups; droppable cache counts as left.
    pub group: Option<Headroom>,
    /// Pages swapped in since the machine booted.
    pub swapped_in: Option<u64>,
    /// This process's resident memory in bytes.
    pub resident: Option<u64>,
}

/// More than any of these files contains; longer files are cut off.
const FILE_LIMIT: u64 = 64 * 1024;
/// The number of control groups to read, from this process's own upwards.
const DEPTH: usize = 32;

// === impl Sources ===

impl Sources {
    /// Reads all of them: a dozen small kernel files, no disk access.
    pub fn read(&self) -> Readings {
        let groups = read(&self.proc.join("self/cgroup")).unwrap_or_default();
        let (unified, memory) = parse::groups(&groups);
        let unified = unified.map_or_else(Vec::new, |path| ancestry(&self.unified(), path));
        let memory = memory.map_or_else(Vec::new, |path| ancestry(&self.cgroup.join("memory"), path));
        let meminfo = read(&self.proc.join("meminfo")).unwrap_or_default();
        let available = parse::kibibytes(&meminfo, "MemAvailable");
        let total = parse::kibibytes(&meminfo, "MemTotal");
        let group = unified
            .iter()
            .filter_map(|group| version_two(group))
            .chain(memory.iter().filter_map(|group| version_one(group)))
            .min_by_key(|headroom| headroom.left);
        Readings {
            memory: self.pressure(&unified, "memory"),
            cpu: self.pressure(&unified, "cpu"),
            machine: available.zip(total).map(|(left, of)| Headroom { left, of }),
            group,
            swapped_in: read(&self.proc.join("vmstat")).and_then(|text| parse::counter(&text, "pswpin")),
            resident: read(&self.proc.join("self/status")).and_then(|text| parse::kibibytes(&text, "VmRSS")),
        }
    }

    /// The mount point of version 2: alone, or beside version 1.
    fn unified(&self) -> PathBuf {
        let beside = self.cgroup.join("unified");
        if beside.is_dir() {
            beside
        } else {
            self.cgroup.clone()
        }
    }

    fn pressure(&self, groups: &[PathBuf], resource: &str) -> Option<Pressure> {
        let own = groups
            .first()
            .map(|group| group.join(format!("{resource}.pressure")));
        let machine = self.proc.join("pressure").join(resource);
        own.into_iter()
            .chain([machine])
            .find_map(|path| parse::pressure(&read(&path)?))
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            cgroup: PathBuf::from("/sys/fs/cgroup"),
        }
    }
}

// === impl Readings ===

impl Readings {
    /// The memory left in the group or on the machine, whichever is smaller, in bytes.
    pub fn left(&self) -> Option<u64> {
        let left = |headroom: Option<Headroom>| headroom.map(|headroom| headroom.left);
        match (left(self.group), left(self.machine)) {
            (Some(group), Some(machine)) => Some(group.min(machine)),
            (one, other) => one.or(other),
        }
    }

    /// The share of memory left in the group or on the machine, whichever is smaller, from 0 to 1.
    pub fn share_left(&self) -> Option<f64> {
        self.share_left_with(0)
    }

    /// The same, with `spare` bytes of the used memory counted as left.
    pub(super) fn share_left_with(&self, spare: u64) -> Option<f64> {
        let shares = [self.group, self.machine].into_iter().flatten();
        shares
            .map(|headroom| headroom.left.saturating_add(spare) as f64 / headroom.of.max(1) as f64)
            .min_by(f64::total_cmp)
    }
}

/// The directories of a group and its parents, its own first. In a container the path may be the host's: missing
/// directories are skipped, and the root of the mount is the container's own group.
fn ancestry(root: &Path, path: &str) -> Vec<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors()
        .take(DEPTH)
        .map(|part| root.join(part))
        .filter(|directory| directory.is_dir())
        .collect()
}

fn version_two(group: &Path) -> Option<Headroom> {
    let of = |file: &str| read(&group.join(file)).and_then(|text| parse::limit(&text));
    // Beyond `high` the kernel throttles the whole group, so stay below that.
    let limit = match (of("memory.max"), of("memory.high")) {
        (Some(max), Some(high)) => max.min(high),
        (one, other) => one.or(other)?,
    };
    let used = read(&group.join("memory.current")).and_then(|text| parse::number(&text))?;
    Some(headroom(limit, used, group, "inactive_file"))
}

fn version_one(group: &Path) -> Option<Headroom> {
    let limit = read(&group.join("memory.limit_in_bytes")).and_then(|text| parse::limit(&text))?;
    let used = read(&group.join("memory.usage_in_bytes")).and_then(|text| parse::number(&text))?;
    Some(headroom(limit, used, group, "total_inactive_file"))
}

/// The kernel drops inactive file cache first when memory is short.
fn headroom(limit: u64, used: u64, group: &Path, cache: &str) -> Headroom {
    let stat = read(&group.join("memory.stat")).unwrap_or_default();
    let cache = parse::counter(&stat, cache).unwrap_or(0);
    Headroom {
        left: limit.saturating_sub(used.saturating_sub(cache)).min(limit),
        of: limit,
    }
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Files in a directory owned by the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("reveille-pace-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn read(&self) -> Readings {
            let sources = Sources {
                proc: self.0.join("proc"),
                cgroup: self.0.join("cgroup"),
            };
            sources.read()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MACHINE: [(&str, &str); 4] = [
        ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n"),
        ("proc/pressure/memory", "some avg10=1.00\nfull avg10=0.50\n"),
        ("proc/pressure/cpu", "some avg10=70.00\n"),
        ("proc/vmstat", "pswpin 5\npswpout 6\n"),
    ];

    #[test]
    fn the_own_group_comes_before_the_machine_and_the_tightest_counts() {
        let mut files = MACHINE.to_vec();
        files.extend([
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/status", "Name:\tx\nVmRSS:\t  20 kB\n"),
            (
                "cgroup/a/b/memory.pressure",
                "some avg10=14.00\nfull avg10=6.00\n",
            ),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/b/memory.current", "1000\n"),
            ("cgroup/a/memory.max", "300000\n"),
            ("cgroup/a/memory.current", "150000\n"),
            ("cgroup/a/memory.stat", "anon 1\ninactive_file 50000\n"),
        ]);
        let readings = Tree::new("two", &files).read();
        assert_eq!(
            readings.memory,
            Some(Pressure {
                some: 14.0,
                full: 6.0
            })
        );
        assert_eq!(
            readings.cpu,
            Some(Pressure {
                some: 70.0,
                full: 0.0
            })
        );
        let group = Headroom {
            left: 200_000,
            of: 300_000,
        };
        assert_eq!((readings.group, readings.left()), (Some(group), Some(200_000)));
        assert_eq!(
            (readings.swapped_in, readings.resident),
            (Some(5), Some(20 * 1024))
        );
        assert!((readings.share_left().unwrap() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn version_one_in_a_container() {
        let mut files = MACHINE.to_vec();
        files.extend([
            ("proc/self/cgroup", "4:memory:/docker/0815\n0::/\n"),
            ("cgroup/memory/memory.limit_in_bytes", "200000\n"),
            ("cgroup/memory/memory.usage_in_bytes", "190000\n"),
            (
                "cgroup/memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 10000\n",
            ),
            ("cgroup/unified/cgroup.procs", ""),
        ]);
        let readings = Tree::new("one", &files).read();
        assert_eq!(readings.memory, Some(Pressure { some: 1.0, full: 0.5 }));
        assert_eq!(readings.left(), Some(20_000));
    }

    #[test]
    fn missing_files_read_as_none() {
        assert_eq!(Tree::new("none", &[]).read(), Readings::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_can_be_read() {
        let readings = Sources::default().read();
        assert!(readings.machine.is_some_and(|machine| machine.left <= machine.of));
        assert!(readings.resident.is_some_and(|bytes| bytes > 0));
    }
}
