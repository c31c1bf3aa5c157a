//! What is known about a class of commands: how long runs took that ended by themselves.

use std::time::Duration;

use super::window::Window;

/// The durations and longest silences of a class (a command template on hosts of one label).
///
/// **A killed run is never a sample.** The next attempt decides: if it is fast, the first one hung; if it is long but
/// ends, its duration is a sample, and the class has become slower. A history that learned from kills would confirm its
/// own deadlines.
///
/// It takes up to 84 KiB, less with fewer samples.
#[derive(Debug, Clone)]
pub struct History {
    /// Logarithms of seconds.
    durations: Window,
    /// Their distance from the level when they were added.
    residuals: Window,
    /// The latest durations, whose median is the level.
    recent: Window,
    /// Seconds.
    silences: Window,
    /// One bit for each of the last [`DRIFT_WINDOW`] samples, set if it exceeded its first deadline.
    overruns: u32,
    /// The number of samples until deadlines are no longer doubled.
    doubled: u32,
    /// Runs given up since the last sample.
    given_up: u32,
    resolved: u64,
}

/// Samples kept: enough to include events that happen once in a few thousand runs.
const SAMPLES: usize = 3000;
/// Silences kept.
const SILENCES: usize = 1000;
/// Samples whose median is the current level: enough to ignore a few outliers, few enough to follow a change within
/// sixteen runs.
const RECENT: usize = 31;
/// Overruns among the last [`DRIFT_WINDOW`] samples that make a drift.
const DRIFT_OVERRUNS: u32 = 3;
/// The number of samples in which overruns are counted, and for which a drift doubles deadlines.
const DRIFT_WINDOW: u32 = 20;
/// The limit on doublings for runs given up.
const GIVEN_UP: u32 = 6;
/// Shorter durations count as this, in seconds.
const SHORTEST_S: f64 = 0.001;

// === impl History ===

impl History {
    /// An empty history.
    pub fn new() -> Self {
        Self {
            durations: Window::new(SAMPLES),
            residuals: Window::new(SAMPLES),
            recent: Window::new(RECENT),
            silences: Window::new(SILENCES),
            overruns: 0,
            doubled: 0,
            given_up: 0,
            resolved: 0,
        }
    }

    /// Loads what the ledger knows: durations of runs that ended by themselves and longest silences, oldest first.
    pub fn seed(
        durations: impl IntoIterator<Item = Duration>,
        silences: impl IntoIterator<Item = Duration>,
    ) -> Self {
        let mut history = Self::new();
        for duration in durations {
            history.resolved(duration, None);
        }
        for silence in silences {
            history.silent(silence);
        }
        history
    }

    /// Records a run that ended by itself after `took`. `limit` is the deadline of its first attempt, if there was one.
    /// A longer run is an overrun; three among twenty double the deadlines until there are twenty new samples.
    pub fn resolved(&mut self, took: Duration, limit: Option<Duration>) {
        let log = took.as_secs_f64().max(SHORTEST_S).ln();
        if self.recent.len() == RECENT
            && let Some(level) = self.recent.median()
        {
            self.residuals.push(narrow(log - level));
        }
        self.recent.push(narrow(log));
        self.durations.push(narrow(log));
        self.resolved += 1;
        self.given_up = 0;
        self.doubled = self.doubled.saturating_sub(1);
        let overran = limit.is_some_and(|limit| took > limit);
        self.overruns = (self.overruns << 1 | u32::from(overran)) & ((1 << DRIFT_WINDOW) - 1);
        if self.overruns.count_ones() >= DRIFT_OVERRUNS {
            self.doubled = DRIFT_WINDOW;
            self.overruns = 0;
        }
    }

    /// Records that deadlines chosen by Reveille killed every attempt of a run. Each such run doubles the deadlines
    /// until one ends; otherwise a class that became much slower would never yield a sample again.
    pub fn given_up(&mut self) {
        self.given_up = (self.given_up + 1).min(GIVEN_UP);
    }

    /// Records the longest silence of a run that ended by itself.
    pub fn silent(&mut self, longest: Duration) {
        self.silences.push(narrow(longest.as_secs_f64()));
    }

    /// The number of runs that ended by themselves, forgotten ones included.
    pub fn samples(&self) -> u64 {
        self.resolved
    }

    /// The number of silences kept.
    pub fn silences(&self) -> usize {
        self.silences.len()
    }

    /// The longest silence kept.
    pub fn longest_silence(&self) -> Option<Duration> {
        let seconds = self.silences.largest()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether deadlines are extended because the class has changed.
    pub fn is_drifting(&self) -> bool {
        self.widening() > 1
    }

    /// The factor by which deadlines are extended.
    pub(super) fn widening(&self) -> u32 {
        let drift = if self.doubled > 0 { 2 } else { 1 };
        drift << self.given_up
    }

    pub(super) fn durations(&self) -> &Window {
        &self.durations
    }

    /// The residuals, and the level to add them to.
    pub(super) fn local(&self) -> Option<(&Window, f64)> {
        Some((&self.residuals, self.recent.median()?))
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// `f32` has seven digits, enough for a deadline, and takes half the memory.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only precision is lost: logarithms and seconds are far below 1e38"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_overruns_in_twenty_are_a_drift_for_twenty_samples() {
        let mut history = History::seed([SECOND; 50], []);
        for number in 0..3 {
            assert!(!history.is_drifting(), "{number}");
            history.resolved(SECOND * 3, Some(SECOND * 2));
        }
        for number in 0..20 {
            assert!(history.is_drifting(), "{number}");
            history.resolved(SECOND, Some(SECOND * 2));
        }
        assert!(!history.is_drifting());
        for _ in 0..4 {
            history.resolved(SECOND * 3, Some(SECOND * 2));
            for _ in 0..10 {
                history.resolved(SECOND, Some(SECOND * 2));
            }
        }
        assert!(!history.is_drifting(), "two in twenty are not");
    }

    #[test]
    fn runs_given_up_widen_deadlines_until_one_ends() {
        let mut history = History::seed([SECOND; 50], []);
        history.given_up();
        assert_eq!(history.widening(), 2);
        for _ in 0..100 {
            history.given_up();
        }
        assert_eq!(history.widening(), 64);
        history.resolved(SECOND * 40, Some(SECOND));
        assert_eq!(history.widening(), 1);
    }

    #[test]
    fn silences_are_forgotten_with_their_runs() {
        let mut history = History::seed([], [SECOND * 9]);
        assert_eq!(history.longest_silence(), Some(SECOND * 9));
        for _ in 0..SILENCES {
            history.silent(SECOND);
        }
        assert_eq!(history.longest_silence(), Some(SECOND));
    }
}
