//! The histories of all classes of a run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::choice::{Choice, Reason};
use super::history::History;
use super::silence::SilenceRule;
use super::total::TotalRule;
use crate::Deadline;

/// The histories of the classes, and the rules that derive deadlines from them.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    histories: HashMap<Arc<str>, History>,
    /// The rule for silence deadlines.
    pub silence: SilenceRule,
    /// The rule for total deadlines.
    pub total: TotalRule,
}

/// The limit on step classes with a history of at most 84 KiB each. Further ones have no history, so only the hard cap bounds them.
const CLASSES: usize = 256;

// === impl Classes ===

impl Classes {
    /// No history, with these rules.
    pub fn new(silence: SilenceRule, total: TotalRule) -> Self {
        Self {
            histories: HashMap::new(),
            silence,
            total,
        }
    }

    /// Loads what the ledger knows about a class; see [`History::seed`].
    pub fn seed(
        &mut self,
        class: &str,
        durations: impl IntoIterator<Item = Duration>,
        silences: impl IntoIterator<Item = Duration>,
    ) {
        if let Some(history) = self.entry(class) {
            *history = History::seed(durations, silences);
        }
    }

    /// Records an attempt of the class that ended by itself after `took`, with `silence` as its longest silence.
    /// `limit` is the total deadline of the *first* attempt. Not for attempts that were killed.
    pub fn resolved(&mut self, class: &str, took: Duration, silence: Duration, limit: Option<Duration>) {
        if let Some(history) = self.entry(class) {
            history.resolved(took, limit);
            history.silent(silence);
        }
    }

    /// Records that deadlines chosen by Reveille killed every attempt of a run; see [`History::given_up`].
    pub fn given_up(&mut self, class: &str) {
        if let Some(history) = self.entry(class) {
            history.given_up();
        }
    }

    /// The history of the class.
    pub fn history(&self, class: &str) -> Option<&History> {
        self.histories.get(class)
    }

    /// The number of samples of the class.
    pub fn samples(&self, class: &str) -> u64 {
        self.history(class).map_or(0, History::samples)
    }

    /// Chooses the silence deadline of an attempt; `micro` if the host is of the smallest kind.
    pub fn choose_silence(
        &self,
        class: &Arc<str>,
        hosts: u32,
        micro: bool,
        retries: u32,
        attempt: u32,
    ) -> Choice {
        let none = History::new();
        let history = self.history(class).unwrap_or(&none);
        let (limit, reason) = self.silence.choose(history, hosts, micro, retries);
        Choice {
            deadline: Deadline::Idle,
            class: Arc::clone(class),
            samples: history.samples(),
            hosts,
            retries,
            attempt,
            limit: Some(limit),
            reason,
        }
    }

    /// Chooses the total deadline of an attempt.
    pub fn choose_total(&self, class: &Arc<str>, hosts: u32, retries: u32, attempt: u32) -> Choice {
        let history = self.history(class);
        let (limit, reason) = history.map_or((None, Reason::NoHistory), |history| {
            self.total.choose(history, attempt)
        });
        Choice {
            deadline: Deadline::Total,
            class: Arc::clone(class),
            samples: history.map_or(0, History::samples),
            hosts,
            retries,
            attempt,
            limit,
            reason,
        }
    }

    fn entry(&mut self, class: &str) -> Option<&mut History> {
        if !self.histories.contains_key(class) {
            if self.histories.len() >= CLASSES {
                return None;
            }
            self.histories.insert(Arc::from(class), History::new());
        }
        self.histories.get_mut(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_the_facts_behind_it() {
        let mut classes = Classes::default();
        let class: Arc<str> = "apt/micro".into();
        let before = classes.choose_total(&class, 512, 0, 1);
        assert_eq!((before.limit, before.reason), (None, Reason::NoHistory));
        let minute = Duration::from_mins(1);
        classes.seed(&class, [minute; 1000], [Duration::from_secs(30); 1000]);
        assert_eq!(
            classes.choose_total(&class, 512, 3, 2).to_string(),
            "total 2 m 07 s: from earlier durations (1000 samples, 512 hosts, 3 retries, attempt 2)"
        );
        assert_eq!(
            classes.choose_silence(&class, 512, false, 0, 1).to_string(),
            "silence 2 m: the minimum (1000 samples, 512 hosts, 0 retries, attempt 1)"
        );
        classes.resolved(&class, minute, Duration::from_secs(200), None);
        assert_eq!(classes.samples(&class), 1001);
        assert_eq!(
            classes.choose_silence(&class, 512, false, 0, 1).limit,
            Some(Duration::from_mins(5))
        );
    }

    #[test]
    fn the_number_of_classes_is_bounded() {
        let mut classes = Classes::default();
        for number in 0..=CLASSES {
            classes.resolved(&number.to_string(), Duration::from_secs(1), Duration::ZERO, None);
        }
        assert_eq!(classes.histories.len(), CLASSES);
        assert_eq!(classes.samples(&CLASSES.to_string()), 0);
    }
}
