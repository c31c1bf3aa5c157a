//! What is known of a class of commands: how long its runs took that ended by themselves.

use std::time::Duration;

use super::window::Window;

/// The durations and longest silences of a class (a command template on hosts of one label).
///
/// **A killed run is never a sample.** The next attempt decides: if it is fast, the first one hung; if it is long but
/// ends, its duration is a sample, and the class has changed. A history that learned from what it killed would take its
/// own deadlines for the truth.
///
/// It costs up to 84 KiB, and less while it has seen less.
#[derive(Debug, Clone)]
pub struct History {
    /// Logarithms of seconds.
    durations: Window,
    /// Their distance from the level at that time.
    residuals: Window,
    /// The latest durations, whose median is the level.
    recent: Window,
    /// Seconds.
    silences: Window,
    /// One bit for each of the last [`DRIFT_WINDOW`] samples: it took longer than its first deadline.
    overruns: u32,
    /// Samples still to come until deadlines are no longer doubled.
    doubled: u32,
    /// Runs given up since the last sample.
    given_up: u32,
    resolved: u64,
}

/// Samples that are remembered: enough to meet again what happens once in a few thousand runs.
const SAMPLES: usize = 3000;
/// Silences that are remembered.
const SILENCES: usize = 1000;
/// Samples whose median is the level at the moment: enough that a few odd ones don't move it, few enough that it
/// follows a change within sixteen runs.
const RECENT: usize = 31;
/// Overruns among the last [`DRIFT_WINDOW`] samples that make a drift.
const DRIFT_OVERRUNS: u32 = 3;
/// Samples in which overruns are counted, and for which deadlines stay doubled after a drift.
const DRIFT_WINDOW: u32 = 20;
/// How often deadlines are doubled at most because runs were given up.
const GIVEN_UP: u32 = 6;
/// The shortest duration told apart, in seconds.
const SHORTEST_S: f64 = 0.001;

// === impl History ===

impl History {
    /// Nothing is known.
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

    /// What a ledger remembers: the durations of runs that ended by themselves and longest silences, oldest first.
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

    /// A run ended by itself after `took`. `limit` is the deadline of its first attempt, if there was one: a longer run
    /// is an overrun, and three of them among twenty double the deadlines until twenty fresh samples are there.
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

    /// All attempts of a run were killed at deadlines of ours. Deadlines double with each such run until one ends: a
    /// class that became much slower would otherwise never give a sample again.
    pub fn given_up(&mut self) {
        self.given_up = (self.given_up + 1).min(GIVEN_UP);
    }

    /// The longest silence of a run that ended by itself.
    pub fn silent(&mut self, longest: Duration) {
        self.silences.push(narrow(longest.as_secs_f64()));
    }

    /// Runs that ended by themselves, those that are forgotten included.
    pub fn samples(&self) -> u64 {
        self.resolved
    }

    /// Silences that are remembered.
    pub fn silences(&self) -> usize {
        self.silences.len()
    }

    /// The longest silence that is remembered.
    pub fn longest_silence(&self) -> Option<Duration> {
        let seconds = self.silences.largest()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether deadlines are longer because the class has changed.
    pub fn is_drifting(&self) -> bool {
        self.widening() > 1
    }

    /// How many times longer.
    pub(super) fn widening(&self) -> u32 {
        let drift = if self.doubled > 0 { 2 } else { 1 };
        drift << self.given_up
    }

    pub(super) fn durations(&self) -> &Window {
        &self.durations
    }

    /// The residuals, and the level that they are added to.
    pub(super) fn local(&self) -> Option<(&Window, f64)> {
        Some((&self.residuals, self.recent.median()?))
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// Seven digits are enough for a deadline, and half the memory.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only digits are lost: logarithms and seconds are far below 1e38"
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
    fn what_was_given_up_widens_until_a_run_ends() {
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
