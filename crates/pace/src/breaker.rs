//! Stops recoveries and dispatches while a whole group fails alike.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use reveille_text::duration;
use tokio::time::Instant;

/// Watches one group of hosts. If many of them fail alike within a window, the job, the mirror or the network is the
/// likely cause: the breaker opens, which stops recoveries in the group and holds its dispatches. After the hold it
/// lets one host through as a probe. If the probe succeeds, the breaker closes; if it fails in the same way, the hold
/// doubles.
///
/// ```text
///            many fail alike            the hold is over
///  closed ───────────────────► open ───────────────────► probing
///    ▲                          ▲                        │     │
///    │                          └── it fails alike ──────┘     │
///    └──────────────── it ends, well or otherwise ─────────────┘
/// ```
///
/// `C` is the key by which failures are alike: a failure class, or class and message.
#[derive(Debug, Clone)]
pub struct Breaker<C> {
    rule: BreakerRule,
    running: u32,
    /// The number of hosts that ended in each second.
    ended: Vec<(u64, u32)>,
    started: Instant,
    /// The time of each host's last failure, by class.
    failures: HashMap<C, HashMap<u32, Instant>>,
    state: State<C>,
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerRule {
    /// Open only if at least this many hosts fail alike.
    pub hosts: u32,
    /// Open only if more than this share fails, of the hosts that run or ended within the window.
    pub share: f64,
    /// How far back failures count.
    pub window: Duration,
    /// How long dispatches are held first.
    pub hold: Duration,
    /// The longest hold.
    pub longest_hold: Duration,
}

/// A breaker that opened; its text is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened<C> {
    /// The class of the failures.
    pub class: C,
    /// Hosts that failed like that within the window.
    pub hosts: u32,
    /// Hosts that are running or ended within the window.
    pub of: u32,
    /// How long dispatches are held.
    pub hold: Duration,
}

/// Whether a host may be dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Yes.
    Go,
    /// Yes, as the probe; report it as such when it ends.
    Probe,
    /// Not yet.
    Hold {
        /// When to ask again.
        until: Instant,
    },
}

#[derive(Debug, Clone)]
enum State<C> {
    Closed,
    Open {
        class: C,
        until: Instant,
        hold: Duration,
    },
    Probing {
        class: C,
        since: Instant,
        hold: Duration,
    },
}

/// The limit on failure classes that a breaker watches.
const CLASSES: usize = 64;

// === impl Breaker ===

impl<C: Eq + Hash + Clone> Breaker<C> {
    /// A closed breaker.
    pub fn new(rule: BreakerRule, now: Instant) -> Self {
        Self {
            rule,
            running: 0,
            ended: Vec::new(),
            started: now,
            failures: HashMap::new(),
            state: State::Closed,
        }
    }

    /// Whether a new host of the group may be dispatched. Only one host gets [`Pass::Probe`], until it has ended or a
    /// hold has passed without a report.
    pub fn pass(&mut self, now: Instant) -> Pass {
        match &self.state {
            State::Closed => Pass::Go,
            State::Open { until, .. } if now < *until => Pass::Hold { until: *until },
            State::Probing { since, hold, .. } if now < *since + *hold => Pass::Hold {
                until: *since + *hold,
            },
            State::Open { class, hold, .. } | State::Probing { class, hold, .. } => {
                self.state = State::Probing {
                    class: class.clone(),
                    since: now,
                    hold: *hold,
                };
                Pass::Probe
            }
        }
    }

    /// Whether failed hosts of the group may be recovered.
    pub fn may_recover(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The class of the failures, while the group is held.
    pub fn suspected(&self) -> Option<&C> {
        match &self.state {
            State::Closed => None,
            State::Open { class, .. } | State::Probing { class, .. } => Some(class),
        }
    }

    /// A host was dispatched.
    pub fn dispatched(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    /// Records that a host succeeded; `probe` if it got [`Pass::Probe`]. Returns whether this closed the breaker.
    pub fn succeeded(&mut self, probe: bool, now: Instant) -> bool {
        self.leave(now);
        let over = probe && !self.may_recover();
        if over {
            self.close();
        }
        over
    }

    /// Records that an attempt of a host failed; `over` if that ended the host, `probe` if it got [`Pass::Probe`].
    /// `host` is a number unique to the host, since five failures of one host count once. Returns `Some` if the breaker
    /// opened.
    pub fn failed(
        &mut self,
        host: u32,
        class: &C,
        over: bool,
        probe: bool,
        now: Instant,
    ) -> Option<Opened<C>> {
        if over {
            self.leave(now);
        }
        let hosts = self.count(host, class, now);
        match &self.state {
            State::Closed => {
                let of = self.of(now).max(hosts);
                let many = hosts >= self.rule.hosts && f64::from(hosts) > self.rule.share * f64::from(of);
                many.then(|| self.open(class.clone(), self.rule.hold, hosts, now))
            }
            State::Open {
                class: suspected,
                hold,
                ..
            }
            | State::Probing {
                class: suspected,
                hold,
                ..
            } if probe => {
                if suspected != class {
                    // This host has another problem, so the group's problem is over.
                    self.close();
                    return None;
                }
                let hold = hold.saturating_mul(2).min(self.rule.longest_hold);
                Some(self.open(class.clone(), hold, hosts, now))
            }
            _ => None,
        }
    }

    fn open(&mut self, class: C, hold: Duration, hosts: u32, now: Instant) -> Opened<C> {
        self.state = State::Open {
            class: class.clone(),
            until: now + hold,
            hold,
        };
        let of = self.of(now).max(hosts);
        Opened {
            class,
            hosts,
            of,
            hold,
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.failures.clear();
    }

    /// Counts the hosts that failed alike within the window, this one included.
    fn count(&mut self, host: u32, class: &C, now: Instant) -> u32 {
        let window = self.rule.window;
        if !self.failures.contains_key(class) && self.failures.len() >= CLASSES {
            // Forget classes without a failure in the window.
            self.failures.retain(|_, hosts| {
                hosts
                    .values()
                    .any(|at| now.saturating_duration_since(*at) <= window)
            });
            if self.failures.len() >= CLASSES {
                return 0;
            }
        }
        let alike = self.failures.entry(class.clone()).or_default();
        alike.insert(host, now);
        alike.retain(|_, at| now.saturating_duration_since(*at) <= window);
        u32::try_from(alike.len()).unwrap_or(u32::MAX)
    }

    fn leave(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        let second = now.saturating_duration_since(self.started).as_secs();
        let oldest = second.saturating_sub(self.rule.window.as_secs());
        self.ended.retain(|(at, _)| *at >= oldest);
        match self.ended.last_mut() {
            Some((at, count)) if *at == second => *count = count.saturating_add(1),
            _ => self.ended.push((second, 1)),
        }
    }

    /// Hosts that are running or ended within the window.
    fn of(&self, now: Instant) -> u32 {
        let second = now.saturating_duration_since(self.started).as_secs();
        let oldest = second.saturating_sub(self.rule.window.as_secs());
        let lately = self.ended.iter().filter(|(at, _)| *at >= oldest);
        lately.fold(self.running, |sum, (_, count)| sum.saturating_add(*count))
    }
}

impl Default for BreakerRule {
    /// Five hosts and more than 10 % within a minute; held for 30 s at first, at most ten minutes.
    fn default() -> Self {
        Self {
            hosts: 5,
            share: 0.10,
            window: Duration::from_mins(1),
            hold: Duration::from_secs(30),
            longest_hold: Duration::from_mins(10),
        }
    }
}

impl<C: fmt::Display> fmt::Display for Opened<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of {} hosts failed with {}: suspect the job, the mirror or the network; held for {}",
            self.hosts,
            self.of,
            self.class,
            duration::shown(self.hold)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn running(hosts: u32) -> (Breaker<&'static str>, Instant) {
        let start = Instant::now();
        let mut breaker = Breaker::new(BreakerRule::default(), start);
        for _ in 0..hosts {
            assert_eq!(breaker.pass(start), Pass::Go);
            breaker.dispatched();
        }
        (breaker, start)
    }

    #[test]
    fn five_hosts_and_more_than_a_tenth() {
        let (mut breaker, start) = running(60);
        for host in 0..6 {
            for _ in 0..3 {
                assert_eq!(
                    breaker.failed(host, &"refused", false, false, start),
                    None,
                    "{host}"
                );
            }
        }
        assert_eq!(
            breaker.failed(6, &"timeout", true, false, start),
            None,
            "not alike"
        );
        assert!(breaker.may_recover());
        let opened = breaker.failed(7, &"refused", true, false, start).unwrap();
        assert_eq!(
            opened.to_string(),
            "7 of 60 hosts failed with refused: suspect the job, the mirror or the network; held for 30 s"
        );
        assert!(!breaker.may_recover());
        assert_eq!(
            breaker.failed(8, &"refused", true, false, start),
            None,
            "reported once"
        );
    }

    #[test]
    fn failures_far_apart_are_not_a_pattern() {
        let (mut breaker, start) = running(10);
        for host in 0..10 {
            let now = start + SECOND * 20 * host;
            assert_eq!(breaker.failed(host, &"refused", true, false, now), None);
        }
    }

    #[test]
    fn one_host_is_let_through_as_the_probe() {
        let (mut breaker, start) = running(10);
        for host in 0..5 {
            breaker.failed(host, &"refused", true, false, start);
        }
        let until = start + SECOND * 30;
        assert_eq!(breaker.pass(start + SECOND), Pass::Hold { until });
        assert_eq!(breaker.pass(until), Pass::Probe);
        assert!(matches!(breaker.pass(until), Pass::Hold { .. }), "one only");
        breaker.dispatched();
        let again = breaker.failed(11, &"refused", true, true, until).unwrap();
        assert_eq!(again.hold, SECOND * 60);
        let later = until + SECOND * 60;
        assert_eq!(breaker.pass(later), Pass::Probe);
        breaker.dispatched();
        assert!(breaker.succeeded(true, later));
        assert_eq!((breaker.pass(later), breaker.suspected()), (Pass::Go, None));
    }

    #[test]
    fn a_lost_probe_is_replaced_after_a_hold() {
        let (mut breaker, start) = running(5);
        for host in 0..5 {
            breaker.failed(host, &"refused", true, false, start);
        }
        assert_eq!(breaker.pass(start + SECOND * 30), Pass::Probe);
        assert_eq!(breaker.pass(start + SECOND * 60), Pass::Probe);
    }

    proptest::proptest! {
        #[test]
        fn it_opens_for_enough_hosts_only(
            size in 1u32..200,
            calls in proptest::collection::vec((0u32..200, 0u8..3, proptest::bool::ANY, 0u64..20), 0..300),
        ) {
            let (mut breaker, start) = running(size);
            let mut now = start;
            for (host, class, over, wait) in calls {
                now += Duration::from_secs(wait);
                let class = ["refused", "timeout", "exit"][usize::from(class)];
                if let Some(opened) = breaker.failed(host, &class, over, false, now) {
                    proptest::prop_assert!(opened.hosts >= 5);
                    proptest::prop_assert!(f64::from(opened.hosts) > 0.1 * f64::from(opened.of));
                    let held = matches!(breaker.pass(now), Pass::Hold { .. });
                    proptest::prop_assert!(held && !breaker.may_recover());
                }
            }
        }
    }
}
