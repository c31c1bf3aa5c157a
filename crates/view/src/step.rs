//! A step of a run: how many hosts run it, what it came to, how long it takes.

/// The number of durations from which percentiles say something.
const ENOUGH: usize = 20;

/// A step over all hosts of a round.
#[derive(Debug, Clone, Default)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Hosts that run it, or that are reconnected to because of it.
    pub running: u64,
    /// Hosts on which it succeeded and changed nothing.
    pub ok: u64,
    /// Hosts that it changed.
    pub changed: u64,
    /// Hosts on which it was skipped.
    pub skipped: u64,
    /// Hosts on which a check left it out and a run would execute it.
    pub would: u64,
    /// Hosts on which a check can't tell whether a run would execute it.
    pub undecided: u64,
    /// Hosts that failed in it.
    pub failed: u64,
    /// Of those, hosts on which it failed before it started.
    pub not_started: u64,
    /// How long each attempt took, in milliseconds.
    durations: Vec<u32>,
    /// The 95th percentile, and the number of durations that it was computed from.
    p95: (u32, usize),
}

/// Percentiles of a step's durations (nearest rank), in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The median.
    pub p50: u64,
    /// The 95th percentile.
    pub p95: u64,
    /// The longest.
    pub max: u64,
}

// === impl StepView ===

impl StepView {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Hosts on which an attempt of it has ended.
    pub fn ran(&self) -> u64 {
        (self.ok + self.changed + self.failed).saturating_sub(self.not_started)
    }

    /// Hosts on which it ended or was skipped.
    pub fn ended(&self) -> u64 {
        self.ok + self.changed + self.skipped + self.would + self.undecided + self.failed
    }

    /// Adds how long an attempt took.
    pub(crate) fn took(&mut self, ms: u64) {
        self.durations.push(u32::try_from(ms).unwrap_or(u32::MAX));
        // Computed again after each tenth more, so that a duration costs constant time on average.
        let (_, from) = self.p95;
        if self.durations.len() >= ENOUGH.max(from + from / 10 + 1) {
            let mut durations = self.durations.clone();
            let at = rank(durations.len(), 95);
            let (_, p95, _) = durations.select_nth_unstable(at);
            self.p95 = (*p95, self.durations.len());
        }
    }

    /// About the 95th percentile of its durations, once there are enough of them.
    pub fn usual_ms(&self) -> Option<u64> {
        let (p95, from) = self.p95;
        (from >= ENOUGH).then_some(u64::from(p95))
    }

    /// Percentiles of how long its attempts took; `None` if none has ended.
    pub fn times(&self) -> Option<Times> {
        let mut durations = self.durations.clone();
        durations.sort_unstable();
        let at = |share| {
            durations
                .get(rank(durations.len(), share))
                .map(|ms| u64::from(*ms))
        };
        Some(Times {
            p50: at(50)?,
            p95: at(95)?,
            max: u64::from(*durations.last()?),
        })
    }
}

/// The index of a percentile by nearest rank, among `count` ascending values.
fn rank(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut step = StepView::new("install");
        assert_eq!(step.times(), None);
        for ms in 1..=100 {
            step.took(ms);
        }
        assert_eq!(
            step.times(),
            Some(Times {
                p50: 50,
                p95: 95,
                max: 100
            })
        );
        assert!(step.usual_ms().is_some_and(|ms| (85..=95).contains(&ms)));
    }
}
