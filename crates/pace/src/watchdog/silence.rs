//! How long a run may be silent.

use std::time::Duration;

use super::choice::Reason;
use super::history::History;

/// The silence deadline of a run: `base + scale · N + min(30, 2 · R)` seconds.
///
/// N is the number of hosts in the run: all of them share mirrors and this machine. R is the highest number of retries
/// that the provider's interface or the handshakes needed: a sign of how strained the surroundings are. Never below
/// 120 s, and with 20 or more samples never below 1.5 times the longest silence of the class.
#[derive(Debug, Clone, PartialEq)]
pub struct SilenceRule {
    /// Seconds at least.
    pub base: Duration,
    /// Seconds for each host in the run: [`SCALE`](Self::SCALE), or [`SCALE_MICRO`](Self::SCALE_MICRO).
    pub scale: f64,
    /// Seconds for each retry.
    pub retry: Duration,
    /// The most that retries add.
    pub retries_cap: Duration,
    /// The shortest deadline.
    pub floor: Duration,
    /// Samples from which the class's longest silence counts.
    pub least_samples: usize,
    /// How many times that silence.
    pub margin: f64,
}

// === impl SilenceRule ===

impl SilenceRule {
    /// Seconds a host.
    pub const SCALE: f64 = 0.10;
    /// Seconds a host where the hosts are of the smallest kind ("micro").
    pub const SCALE_MICRO: f64 = 0.15;

    /// The deadline of a run of `hosts`, with `retries` as the highest count of retries so far, and why.
    pub fn choose(&self, history: &History, hosts: u32, retries: u32) -> (Duration, Reason) {
        let hosts = Duration::try_from_secs_f64(self.scale * f64::from(hosts)).unwrap_or(Duration::ZERO);
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
            scale: Self::SCALE,
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
        assert_eq!(seconds(rule.choose(&none, 10, 0)), (120.0, Reason::Floor));
        assert_eq!(seconds(rule.choose(&none, 2000, 4)), (223.0, Reason::Prior));
        assert_eq!(seconds(rule.choose(&none, 2000, 400)), (245.0, Reason::Prior));
        let micro = SilenceRule {
            scale: SilenceRule::SCALE_MICRO,
            ..rule.clone()
        };
        assert_eq!(seconds(micro.choose(&none, 2000, 0)), (315.0, Reason::Prior));
        let few = History::seed([], [Duration::from_mins(10); 19]);
        assert_eq!(seconds(rule.choose(&few, 10, 0)), (120.0, Reason::Floor));
        let many = History::seed([], [Duration::from_mins(10); 20]);
        assert_eq!(seconds(rule.choose(&many, 10, 0)), (900.0, Reason::Silences));
    }

    proptest::proptest! {
        #[test]
        fn never_below_the_floor(hosts: u32, retries: u32, scale in -1.0f64..1e300) {
            let rule = SilenceRule { scale, ..SilenceRule::default() };
            let (limit, _) = rule.choose(&History::new(), hosts, retries);
            proptest::prop_assert!(limit >= rule.floor);
        }
    }
}
