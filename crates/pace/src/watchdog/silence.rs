//! How long a run may be silent.

use std::time::Duration;

use super::choice::Reason;
use super::history::History;

/// The silence deadline of a run: `base + scale · N + min(30, 2 · R)` seconds.
///
/// N is the number of hosts in the run, which share mirrors and this machine. R is the highest number of retries that
/// the provider's API or the handshakes needed, a sign of load. The deadline is at least 120 s, and with 20 or more
/// samples at least 1.5 times the longest silence of the class.
#[derive(Debug, Clone, PartialEq)]
pub struct SilenceRule {
    /// The time independent of the run's size.
    pub base: Duration,
    /// Seconds for each host in the run.
    pub scale: f64,
    /// The same for hosts of the smallest kind ("micro").
    pub scale_micro: f64,
    /// The time for each retry.
    pub retry: Duration,
    /// The most that retries add.
    pub retries_cap: Duration,
    /// The shortest deadline.
    pub floor: Duration,
    /// The number of samples from which the class's longest silence counts.
    pub least_samples: usize,
    /// The factor on that silence.
    pub margin: f64,
}

// === impl SilenceRule ===

impl SilenceRule {
    /// The deadline, with its reason, on a host in a run of `hosts`; `micro` if it is of the smallest kind. `retries`
    /// is the highest number of retries so far.
    pub fn choose(&self, history: &History, hosts: u32, micro: bool, retries: u32) -> (Duration, Reason) {
        let scale = if micro { self.scale_micro } else { self.scale };
        let hosts = Duration::try_from_secs_f64(scale * f64::from(hosts)).unwrap_or(Duration::ZERO);
        let retries = self.retry.saturating_mul(retries).min(self.retries_cap);
        let prior = self.base.saturating_add(hosts).saturating_add(retries);
        let usual = history
            .longest_silence()
            .filter(|_| history.silences() >= self.least_samples)
            .and_then(|longest| Duration::try_from_secs_f64(longest.as_secs_f64() * self.margin).ok());
        let prior = (prior, Reason::Prior);
        let floor = (self.floor, Reason::Floor);
        let best = if prior.0 > floor.0 { prior } else { floor };
        match usual {
            Some(usual) if usual > best.0 => (usual, Reason::Silences),
            _ => best,
        }
    }
}

impl Default for SilenceRule {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(15),
            scale: 0.10,
            scale_micro: 0.15,
            retry: Duration::from_secs(2),
            retries_cap: Duration::from_secs(30),
            floor: Duration::from_mins(2),
            least_samples: 20,
            margin: 1.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_the_floor_and_the_class() {
        let rule = SilenceRule::default();
        let none = History::new();
        let seconds = |(limit, reason): (Duration, Reason)| (limit.as_secs_f64(), reason);
        assert_eq!(seconds(rule.choose(&none, 10, false, 0)), (120.0, Reason::Floor));
        assert_eq!(
            seconds(rule.choose(&none, 2000, false, 4)),
            (223.0, Reason::Prior)
        );
        assert_eq!(
            seconds(rule.choose(&none, 2000, false, 400)),
            (245.0, Reason::Prior)
        );
        assert_eq!(seconds(rule.choose(&none, 2000, true, 0)), (315.0, Reason::Prior));
        let few = History::seed([], [Duration::from_mins(10); 19]);
        assert_eq!(seconds(rule.choose(&few, 10, false, 0)), (120.0, Reason::Floor));
        let many = History::seed([], [Duration::from_mins(10); 20]);
        assert_eq!(
            seconds(rule.choose(&many, 10, false, 0)),
            (900.0, Reason::Silences)
        );
    }

    proptest::proptest! {
        #[test]
        fn never_below_the_floor(hosts: u32, micro: bool, retries: u32, scale in -1.0f64..1e300) {
            let rule = SilenceRule { scale, scale_micro: scale, ..SilenceRule::default() };
            let (limit, _) = rule.choose(&History::new(), hosts, micro, retries);
            proptest::prop_assert!(limit >= rule.floor);
        }
    }
}
