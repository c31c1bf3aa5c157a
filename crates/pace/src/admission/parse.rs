//! Parses the kernel's text files. No content causes a panic; what can't be parsed counts as absent.

/// How much of the last ten seconds tasks waited for a resource, in percent (the kernel's pressure stall information).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: f64,
    /// All tasks waited.
    pub full: f64,
}

/// Memory limits from here on mean "unlimited" (control groups, version 1).
const NO_LIMIT: u64 = 1 << 60;

/// `memory.pressure` and the files of `/proc/pressure`: shares of the last ten seconds, in percent.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let of = |kind: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let value = line
            .split_ascii_whitespace()
            .find_map(|field| field.strip_prefix("avg10="))?;
        let percent: f64 = value.parse().ok()?;
        percent.is_finite().then(|| percent.clamp(0.0, 100.0))
    };
    Some(Pressure {
        some: of("some")?,
        // Before Linux 5.13, the machine's `cpu` file had no such line.
        full: of("full").unwrap_or(0.0),
    })
}

/// A value of `/proc/meminfo` or `/proc/self/status`, in bytes.
pub(super) fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number = rest.split_ascii_whitespace().next()?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// A value of `/proc/vmstat` or `memory.stat`.
pub(super) fn counter(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    rest.trim().parse().ok()
}

/// A limit: a number; `max` means unlimited.
pub(super) fn limit(text: &str) -> Option<u64> {
    number(text).filter(|limit| *limit < NO_LIMIT)
}

/// A file that contains one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// This process's paths in `/proc/self/cgroup`: for version 2, and for memory in version 1.
pub(super) fn groups(text: &str) -> (Option<&str>, Option<&str>) {
    let mut unified = None;
    let mut memory = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // A path above the namespace is not reachable from here.
        let path = if path.split('/').any(|part| part == "..") {
            "/"
        } else {
            path
        };
        if controllers.is_empty() {
            unified = Some(path);
        } else if controllers.split(',').any(|name| name == "memory") {
            memory = Some(path);
        }
    }
    (unified, memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_formats() {
        let text = "some avg10=14.20 avg60=3.00 avg300=0.71 total=9120\nfull avg10=5.50 avg60=1.00 avg300=0.20 total=1\n";
        assert_eq!(
            pressure(text),
            Some(Pressure {
                some: 14.2,
                full: 5.5
            })
        );
        let old = "some avg10=1.00 avg60=3.00 avg300=0.71 total=9120\n";
        assert_eq!(pressure(old), Some(Pressure { some: 1.0, full: 0.0 }));
        assert_eq!(pressure("some avg10=nan"), None);
        let meminfo = "MemTotal:       16384 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(kibibytes(meminfo, "MemAvailable"), Some(1 << 20));
        assert_eq!(kibibytes(meminfo, "Mem"), None);
        assert_eq!(counter("pswpin 42\npswpout 7\n", "pswpin"), Some(42));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("157286400\n"), Some(150 << 20));
    }

    #[test]
    fn groups_of_both_versions() {
        let hybrid = "9:name=systemd:/\n4:cpu,memory:/a:b/c\n0::/user.slice\n";
        assert_eq!(groups(hybrid), (Some("/user.slice"), Some("/a:b/c")));
        assert_eq!(groups("0::/../../other"), (Some("/"), None));
        assert_eq!(groups("nonsense"), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}", lines in "((some|full|pswpin|MemTotal:|0:)[ :=a-z0-9.+-]{0,40}\n){0,6}") {
            for text in [text, lines] {
                if let Some(pressure) = pressure(&text) {
                    proptest::prop_assert!((0.0..=100.0).contains(&pressure.some));
                    proptest::prop_assert!((0.0..=100.0).contains(&pressure.full));
                }
                let _ = (kibibytes(&text, "MemTotal"), counter(&text, "pswpin"), limit(&text), groups(&text));
            }
        }

        #[test]
        fn what_the_kernel_writes_is_read(some in 0u32..=10_000, full in 0u32..=10_000, total: u64) {
            let number = |hundredths: u32| format!("{}.{:02}", hundredths / 100, hundredths % 100);
            let text = format!(
                "some avg10={} avg60=0.00 avg300=0.00 total={total}\nfull avg10={} avg60=0.00 avg300=0.00 total={total}\n",
                number(some), number(full),
            );
            let read = pressure(&text).unwrap();
            proptest::prop_assert!((read.some - f64::from(some) / 100.0).abs() < 1e-9);
            proptest::prop_assert!((read.full - f64::from(full) / 100.0).abs() < 1e-9);
        }
    }
}
