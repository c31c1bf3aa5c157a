//! Shrinks a scenario that breaks a rule, by leaving out parts while the rule stays broken.

use std::path::Path;

use crate::check::Rule;
use crate::run::play;
use crate::scenario::{LifeSpec, Pacing, Scenario};

/// The limit on plays per scenario.
const PLAYS: usize = 600;

/// Returns the smallest scenario found.
pub fn shrink(scenario: &Scenario, rule: Rule, directory: &Path) -> Scenario {
    let mut best = scenario.clone();
    let mut plays = PLAYS;
    let breaks = |scenario: &Scenario| {
        play(scenario, directory, false)
            .is_ok_and(|report| report.violations.iter().any(|violation| violation.rule == rule))
    };
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            if plays == 0 {
                return best;
            }
            plays -= 1;
            if breaks(&candidate) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(candidate) => best = candidate,
            None => return best,
        }
    }
}

/// All variants with one part less, largest parts first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        if candidate != *scenario {
            all.push(candidate);
        }
    };
    offer(&|scenario| scenario.faults.clear());
    offer(&|scenario| scenario.happenings.clear());
    offer(&|scenario| scenario.lives.clear());
    for at in (0..scenario.hosts.len())
        .rev()
        .filter(|_| scenario.hosts.len() > 1)
    {
        offer(&|scenario| {
            scenario.hosts.remove(at);
        });
    }
    let lines = scenario.job.lines().count();
    for many in [3, 2, 1] {
        for from in (1..lines).rev() {
            offer(&|scenario| {
                let kept = scenario.job.lines().enumerate();
                let kept: Vec<&str> = kept
                    .filter(|(at, _)| !(from..from + many).contains(at))
                    .map(|(_, line)| line)
                    .collect();
                scenario.job = kept.join("\n") + "\n";
            });
        }
    }
    for at in (0..scenario.lives.len()).rev() {
        offer(&|scenario| {
            scenario.lives.remove(at);
        });
        offer(&|scenario| scenario.lives[at] = LifeSpec::default());
    }
    for at in (0..scenario.faults.len()).rev() {
        offer(&|scenario| {
            scenario.faults.remove(at);
        });
    }
    for at in (0..scenario.happenings.len()).rev() {
        offer(&|scenario| {
            scenario.happenings.remove(at);
        });
    }
    for at in 0..scenario.hosts.len() {
        offer(&|scenario| scenario.hosts[at].routes.clear());
        offer(&|scenario| scenario.hosts[at].not_ready = false);
        offer(&|scenario| scenario.hosts[at].password = false);
    }
    let usual = Pacing::default();
    offer(&|scenario| scenario.pacing = Pacing::default());
    offer(&|scenario| scenario.pacing.serial.clear());
    offer(&|scenario| scenario.pacing.max_fail = None);
    offer(&|scenario| scenario.pacing.sessions = usual.sessions);
    for word in [
        ", idempotent: true",
        ", durable: false",
        ", ignore_errors: true",
        ", once: true",
        ", run_on: balancer",
        " out=30",
        " out=4000",
    ] {
        offer(&|scenario| scenario.job = scenario.job.replacen(word, "", 1));
    }
    all
}
