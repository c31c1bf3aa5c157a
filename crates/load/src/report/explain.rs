//! What sets the rate, in a sentence that can't be misread.

use reveille_text::duration::shown_seconds;
use reveille_text::grouped;

use super::summary::Law;
use crate::engine::Outcome;
use crate::scenario::Scenario;

/// A rate this far below what is offered is set by the service.
const BELOW: f64 = 0.9;

/// Requests that the scenario wanted to send; none if some users send as soon as they are answered.
///
/// For the closed model that is what users would send if answers took no time; for the open one, the arrivals that were due.
pub(super) fn offered(scenario: &Scenario, outcome: &Outcome) -> Option<f64> {
    let totals = &outcome.totals;
    let arrivals = totals.counters.arrivals_due as f64 * scenario.requests_each();
    let mut closed = 0.0;
    for (class, time) in scenario.classes.iter().zip(&totals.classes) {
        if time.user_seconds > 0.0 {
            closed += time.user_seconds * class.offered_each()?;
        }
    }
    Some(arrivals + closed)
}

pub(super) fn law(scenario: &Scenario, outcome: &Outcome) -> Option<Law> {
    let totals = &outcome.totals;
    let user_seconds: f64 = totals.classes.iter().map(|class| class.user_seconds).sum();
    let ended = totals.ended();
    if user_seconds <= 0.0 || ended == 0 || totals.counters.arrivals_due > 0 {
        return None;
    }
    let users = user_seconds / outcome.load.as_secs_f64().max(1e-3);
    let response = totals.all.actual.mean().as_secs_f64();
    let counters = &totals.counters;
    // Each iteration is followed by a wait; those that the end cut short, or that go on, are not measured.
    let waits = if scenario.is_greedy() {
        counters.waits
    } else {
        counters.waits.max(counters.iterations)
    };
    let wait = counters.waited / counters.waits.max(1) as f64 * waits as f64 / ended as f64;
    Some(Law {
        users,
        response_seconds: response,
        wait_seconds: wait,
        at_most: users / (response + wait).max(1e-9),
    })
}

pub(super) fn sentences(
    scenario: &Scenario,
    outcome: &Outcome,
    offered: Option<f64>,
    law: Option<&Law>,
) -> Vec<String> {
    let mut sentences = Vec::new();
    let totals = &outcome.totals;
    let load = outcome.load.as_secs_f64().max(1e-3);
    let ended_rate = totals.ended() as f64 / outcome.total.as_secs_f64().max(1e-3);
    let mut tester = Vec::new();
    if let Some((from, why)) = &outcome.saturated {
        tester.push(format!(
            "generator saturated from {}: numbers are lower bounds ({why})",
            clock(*from)
        ));
    }
    if totals.all.kinds.contains_key(&crate::stats::Kind::Tester) {
        tester.push(
            "the tester ran out of descriptors, ports or memory: these failures are its own, not the service's".into(),
        );
    }
    if let Some(law) = law {
        let mut text = format!(
            "{} users × ({} response + {} wait) ⇒ at most {} requests/s",
            number(law.users),
            shown_seconds(law.response_seconds),
            shown_seconds(law.wait_seconds),
            rate(law.at_most)
        );
        // Timers fire late by a millisecond or so: of short waits that is much, and no fault of the service.
        let unhindered = law.users / law.wait_seconds.max(1e-9);
        let offered_rate = offered.map(|offered| offered / load);
        match offered_rate {
            _ if !tester.is_empty() => {}
            _ if totals.all.counts.completed == 0 => {
                text.push_str("; nothing was answered as expected: see the failures");
            }
            Some(offered) if ended_rate < offered.min(unhindered) * BELOW => text.push_str(&format!(
                "; the service, not the tester, sets the rate: {} requests/s were offered",
                rate(offered)
            )),
            Some(_) => text.push_str(&format!(
                "; the scenario sets the rate: its users wait {:.0} % of their time",
                100.0 * law.wait_seconds / (law.response_seconds + law.wait_seconds).max(1e-9)
            )),
            None => text.push_str(
                "; the service, not the tester, sets the rate: users send as soon as they are answered",
            ),
        }
        sentences.push(text);
    }
    let counters = &totals.counters;
    if counters.arrivals_due > 0 {
        let mut text = format!(
            "{} arrivals were due ({}/s), {} started, {} of them late, {} never",
            counters.arrivals_due,
            rate(counters.arrivals_due as f64 / load),
            counters.arrivals_started,
            counters.arrivals_late,
            counters.arrivals_never
        );
        let all_busy = outcome.peak_users >= scenario.schedule().most_users();
        if !all_busy && counters.arrivals_late > 0 {
            text.push_str("; users were free: late is what the tester itself began late");
        } else if counters.arrivals_late + counters.arrivals_never > counters.arrivals_due / 100
            && tester.is_empty()
        {
            text.push_str(&format!(
                "; the service, not the tester, sets the rate: it ends {} requests/s, and all {} users of the open model were busy",
                rate(ended_rate),
                scenario.schedule().most_users()
            ));
        }
        sentences.push(text);
    }
    if totals.all.counts.missed > 0 {
        sentences.push(format!(
            "answers stalled: {} requests would have been sent meanwhile; latencies from the intended start count them",
            totals.all.counts.missed
        ));
    }
    if counters.behind > 0 {
        sentences.push(format!(
            "{} iterations began behind their users' pace; latencies from the intended start count that",
            counters.behind
        ));
    }
    if counters.out_of_data > 0 {
        sentences.push(format!(
            "{} users stopped because no row of data was left for them",
            counters.out_of_data
        ));
    }
    sentences.extend(tester);
    sentences
}

/// `00:03:10`.
pub(super) fn clock(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A rate with three digits or more.
pub(crate) fn rate(rate: f64) -> String {
    if rate >= 100.0 {
        number(rate)
    } else if rate >= 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.2}")
    }
}

/// A whole number in groups of three.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and rates are not negative, and far below 2^64"
)]
pub(crate) fn number(value: f64) -> String {
    grouped(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(999.0), "999");
        assert_eq!(rate(24.93), "24.9");
        assert_eq!(rate(7.0), "7.00");
        assert_eq!(clock(std::time::Duration::from_secs(190)), "00:03:10");
    }
}
