//! How long a run may take, learned from earlier runs.

use std::time::Duration;

use super::choice::Reason;
use super::history::History;
use super::window::Window;

/// The total deadline of a class, from the [`History`] of its runs.
///
/// It is the smaller of two bounds:
///
/// ```text
/// T = 1.05 · exp(min(bound(x), level + bound(s))) + 0.3 s,   clamped to [floor, cap]
///       x      the last 3,000 log durations
///       level  median of the last 31 of them; s the last 3,000 distances from the level at their time
///              (only with ≥ 100 of them)
///       bound(v) = h + reach · (h − median v) + 0.1 · max(0, 1 − n/1000)
///       h      the highest of v, or the highest worth its price
///       reach  falls from 0.5 without samples to 0.1 with 1,000
/// ```
///
/// The largest of *n* exchangeable values is exceeded with probability 1/(n + 1) (conformal prediction: Vovk, Gammerman,
/// Shafer, "Algorithmic Learning in a Random World", 2005); the reach and the allowance for few samples cover the tail
/// beyond it. The distances from a moving level keep the deadline tight after a class became faster, or drifts; the
/// plain durations keep it tight if single runs jump between two speeds. The factor 1.05 is for slow processors, which
/// stretch a run in proportion; 0.3 s is for hiccups (a retransmission, a late scheduler), which do not depend on the
/// length of the run.
///
/// A single run that took three times as long as all others would keep the deadline that high for 3,000 runs. With 500
/// samples, *h* therefore is the value with the lowest cost: a deadline costs its length in medians, and killing a
/// healthy run costs 1,200 medians. Values above *h* that came within 31 runs of each other are one occasion, and each
/// occasion in *n* runs is expected again at that rate. Values of the last 50 runs are never left out.
///
/// Later attempts get more: 2, 8, 32 … times as much. Two hangs in a row are rare; a class that became five times
/// slower is not. Three overruns among twenty samples double everything until there are twenty new ones, and so does
/// each run that was given up, until one ends.
#[derive(Debug, Clone, PartialEq)]
pub struct TotalRule {
    /// With fewer samples there is no deadline.
    pub least_samples: u64,
    /// The factor on the bound.
    pub margin: f64,
    /// The time added after that.
    pub hiccup: Duration,
    /// How far the bound lies beyond the largest value, as a part of that value's distance from the median; with a full
    /// window.
    pub reach: f64,
    /// The same without samples.
    pub reach_few: f64,
    /// Added to the logarithm without samples.
    pub allowance_few: f64,
    /// With fewer samples, the bound from the level is not used.
    pub least_local: usize,
    /// The number of samples from which the reach is constant.
    pub many: usize,
    /// The cost of killing a healthy run, in medians of waiting.
    pub price: f64,
    /// The number of samples from which single values may be left out.
    pub least_priced: usize,
    /// Values of this many latest runs are never left out.
    pub fresh: u32,
    /// The minimum deadline. A shorter one gains nothing, and a slow name server would cost a run.
    pub floor: Duration,
    /// The operator's upper limit; applied last.
    pub cap: Option<Duration>,
}

/// The number of values that may be left out.
const MOST_LEFT_OUT: usize = 24;
/// Values within this many runs of each other are one occasion.
const OCCASION: u32 = 31;
/// The factor of the second attempt.
const SECOND: u32 = 2;
/// The factor of each later attempt, relative to the one before.
const FURTHER: u32 = 4;

// === impl TotalRule ===

impl TotalRule {
    /// The deadline of attempt number `attempt`, from 1, and its reason. Without enough samples there is none, and only
    /// the hard cap bounds the run.
    pub fn choose(&self, history: &History, attempt: u32) -> (Option<Duration>, Reason) {
        if history.samples() < self.least_samples {
            return (None, Reason::NoHistory);
        }
        let Some(plain) = self.bound(history.durations()) else {
            return (None, Reason::NoHistory);
        };
        let local = history
            .local()
            .filter(|(residuals, _)| residuals.len() >= self.least_local)
            .and_then(|(residuals, level)| Some(level + self.bound(residuals)?));
        let log = local.map_or(plain, |local| plain.min(local));
        let seconds = self.margin * log.exp() + self.hiccup.as_secs_f64();
        let seconds = seconds * f64::from(history.widening());
        let chosen = Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::MAX)
            .max(self.floor)
            .saturating_mul(factor(attempt));
        let capped = self.cap.filter(|cap| *cap < chosen);
        let reason = match capped {
            Some(_) => Reason::Cap,
            None if history.is_drifting() => Reason::Drift,
            None => Reason::Durations,
        };
        (Some(capped.unwrap_or(chosen)), reason)
    }

    fn bound(&self, window: &Window) -> Option<f64> {
        let (median, largest) = window.median().zip(window.largest())?;
        let few = (1.0 - window.len() as f64 / self.many.max(1) as f64).max(0.0);
        let reach = self.reach + (self.reach_few - self.reach) * few;
        let beyond = |value: f64| value + reach * (value - median);
        let highest = if window.len() < self.least_priced {
            largest
        } else {
            self.worth_it(window, |value| (beyond(value) - median).exp())
                .unwrap_or(largest)
        };
        Some(beyond(highest) + self.allowance_few * few)
    }

    /// The value with the lowest sum of `waiting`, in medians, and the price of the occasions above it.
    fn worth_it(&self, window: &Window, waiting: impl Fn(f64) -> f64) -> Option<f64> {
        let each = self.price / window.len() as f64;
        let mut left_out: Vec<u32> = Vec::new();
        let mut best: Option<(f64, f64)> = None;
        for (value, age) in window.descending().take(MOST_LEFT_OUT) {
            let cost = waiting(value) + each * left_out.len() as f64;
            if best.is_none_or(|(_, least)| cost < least) {
                best = Some((value, cost));
            }
            if age < self.fresh {
                break;
            }
            if left_out.iter().all(|other| other.abs_diff(age) > OCCASION) {
                left_out.push(age);
            }
        }
        best.map(|(value, _)| value)
    }
}

impl Default for TotalRule {
    fn default() -> Self {
        Self {
            least_samples: 20,
            margin: 1.05,
            hiccup: Duration::from_millis(300),
            reach: 0.1,
            reach_few: 0.5,
            allowance_few: 0.1,
            least_local: 100,
            many: 1000,
            price: 1200.0,
            least_priced: 500,
            fresh: 50,
            floor: Duration::from_mins(1),
            cap: None,
        }
    }
}

/// 1, 2, 8, 32 …
fn factor(attempt: u32) -> u32 {
    match attempt {
        0 | 1 => 1,
        _ => FURTHER
            .checked_pow(attempt - 2)
            .and_then(|further| further.checked_mul(SECOND))
            .unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn rule() -> TotalRule {
        TotalRule {
            floor: Duration::ZERO,
            ..TotalRule::default()
        }
    }

    fn chosen(rule: &TotalRule, history: &History) -> f64 {
        rule.choose(history, 1).0.unwrap().as_secs_f64()
    }

    #[test]
    fn there_is_no_deadline_without_history() {
        let history = History::seed([seconds(5.0); 19], []);
        assert_eq!(rule().choose(&history, 1), (None, Reason::NoHistory));
    }

    #[test]
    fn a_steady_class_is_held_tightly() {
        let few = History::seed([seconds(5.0); 20], []);
        assert!((5.8..6.2).contains(&chosen(&rule(), &few)));
        let many = History::seed([seconds(5.0); 1000], []);
        assert!((5.5..5.6).contains(&chosen(&rule(), &many)));
    }

    #[test]
    fn attempts_get_more_and_the_cap_comes_last() {
        let history = History::seed([seconds(100.0); 1000], []);
        let mut rule = rule();
        let of = |rule: &TotalRule, attempt| rule.choose(&history, attempt).0.unwrap().as_secs();
        assert_eq!(
            [1, 2, 3, 4].map(|attempt| of(&rule, attempt)),
            [105, 210, 842, 3369]
        );
        rule.cap = Some(seconds(150.0));
        assert_eq!(
            [1, 2, 3, 99].map(|attempt| of(&rule, attempt)),
            [105, 150, 150, 150]
        );
        assert_eq!(rule.choose(&history, 2).1, Reason::Cap);
    }

    #[test]
    fn the_deadline_follows_a_class_that_became_faster() {
        let mut history = History::seed([seconds(50.0); 1000], []);
        for _ in 0..40 {
            history.resolved(seconds(10.0), None);
        }
        assert!(chosen(&rule(), &history) < 12.0);
    }

    #[test]
    fn one_outlier_does_not_raise_the_deadline_but_a_few_do() {
        let odd = |every: u32| {
            let durations = (1..=3000).map(|number| seconds(if number % every == 0 { 30.0 } else { 10.0 }));
            let mut history = History::seed(durations, []);
            for _ in 0..100 {
                history.resolved(seconds(10.0), None);
            }
            chosen(&rule(), &history)
        };
        assert!(odd(2900) < 12.0);
        assert!(odd(200) > 30.0);
    }

    #[test]
    fn a_class_of_two_speeds_is_not_cut_at_the_lower_one() {
        let two = (0..1000).map(|number| seconds(if number % 50 == 0 { 20.0 } else { 5.0 }));
        assert!(chosen(&rule(), &History::seed(two, [])) > 20.0);
    }

    proptest::proptest! {
        #[test]
        fn never_below_the_usual_durations(
            durations in proptest::collection::vec(0.0f64..10_000.0, 20..300),
            attempt in 0u32..40,
            floor in 0u64..100,
        ) {
            let history = History::seed(durations.iter().copied().map(seconds), []);
            let rule = TotalRule { floor: Duration::from_secs(floor), ..TotalRule::default() };
            let (limit, _) = rule.choose(&history, attempt);
            let limit = limit.unwrap();
            let median = |durations: &[f64]| {
                let mut sorted = durations.to_vec();
                sorted.sort_by(f64::total_cmp);
                sorted[sorted.len() / 2]
            };
            let lately = &durations[durations.len().saturating_sub(31)..];
            proptest::prop_assert!(limit >= rule.floor);
            proptest::prop_assert!(limit.as_secs_f64() >= median(&durations).min(median(lately)));
            proptest::prop_assert!(rule.choose(&history, attempt + 1).0.unwrap() >= limit);
        }
    }
}
