//! How much the tester waits for memory, as the kernel tells it (pressure stall information).

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Looks at the control group of this process, or at the whole machine.
pub(crate) struct Pressure {
    /// None where the kernel does not tell.
    file: Option<PathBuf>,
    last: Option<(Instant, Duration)>,
}

// === impl Pressure ===

impl Pressure {
    pub(crate) fn new() -> Self {
        let group = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|text| own_group(&text).map(|group| format!("/sys/fs/cgroup{group}/memory.pressure")));
        let file = group
            .into_iter()
            .chain(["/proc/pressure/memory".to_owned()])
            .map(PathBuf::from)
            .find(|file| fs::read_to_string(file).is_ok_and(|text| waited(&text).is_some()));
        Self { file, last: None }
    }

    /// The share of the time since the last look in which something waited for memory.
    pub(crate) fn look(&mut self) -> Option<f64> {
        let text = fs::read_to_string(self.file.as_ref()?).ok()?;
        self.passed(Instant::now(), waited(&text)?)
    }

    fn passed(&mut self, now: Instant, waited: Duration) -> Option<f64> {
        let (then, before) = self.last.replace((now, waited))?;
        let passed = now.duration_since(then).as_secs_f64();
        (passed > 0.0).then(|| waited.saturating_sub(before).as_secs_f64() / passed)
    }
}

/// The group of control groups' second version.
fn own_group(text: &str) -> Option<&str> {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .filter(|group| *group != "/")
}

/// The time for which some process has waited, since the machine started.
fn waited(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split(' ').find_map(|word| word.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_understood() {
        let text = "some avg10=0.12 avg60=0.00 avg300=0.00 total=118504\nfull avg10=0.00 total=9\n";
        assert_eq!(waited(text), Some(Duration::from_micros(118_504)));
        assert_eq!(waited(""), None);
        assert_eq!(
            own_group("4:memory:/x\n0::/user.slice/a\n"),
            Some("/user.slice/a")
        );
        assert_eq!(own_group("0::/\n"), None);
    }

    #[test]
    fn a_share_of_the_time_is_told_from_the_second_look_on() {
        let mut pressure = Pressure {
            file: None,
            last: None,
        };
        let now = Instant::now();
        assert_eq!(pressure.passed(now, Duration::from_secs(5)), None);
        let second = now + Duration::from_secs(1);
        let share = pressure.passed(second, Duration::from_millis(5250));
        assert_eq!(share, Some(0.25));
    }
}
