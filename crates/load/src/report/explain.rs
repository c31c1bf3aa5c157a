//! What limits the rate, in sentences.

use reveille_text::duration::{shown, shown_seconds};
use reveille_text::{counted, grouped};
use serde::{Deserialize, Serialize};

use crate::engine::Outcome;
use crate::scenario::Scenario;
use crate::stats::Kind;

/// If less than this share of the offered rate is answered, the service limits the rate.
const BELOW: f64 = 0.9;

/// Little's law for the closed model: each user waits for an answer, and then for its own time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Law {
    /// The mean number of users.
    pub users: f64,
    /// The mean response time, in seconds.
    pub response_seconds: f64,
    /// The mean wait for each request, in seconds.
    pub wait_seconds: f64,
    /// The highest rate of requests per second that follows.
    pub at_most: f64,
}

/// Requests that the scenario was to send; none if some users send as soon as they are answered.
///
/// In the closed model these are the requests that users would send if answers took no time, in the open model those of
/// the arrivals that were due.
pub(super) fn offered(scenario: &Scenario, outcome: &Outcome) -> Option<f64> {
    let numbers = &outcome.totals.numbers;
    let arrivals = numbers.counters.arrivals_due as f64 * scenario.requests_each();
    let mut closed = 0.0;
    for (class, time) in scenario.classes.iter().zip(&numbers.classes) {
        if time.user_seconds > 0.0 {
            closed += time.user_seconds * class.offered_each()?;
        }
    }
    Some(arrivals + closed)
}

pub(super) fn law(scenario: &Scenario, outcome: &Outcome) -> Option<Law> {
    let (all, numbers) = (&outcome.totals.all, &outcome.totals.numbers);
    let user_seconds: f64 = numbers.classes.iter().map(|class| class.user_seconds).sum();
    let counters = &numbers.counters;
    if user_seconds <= 0.0 || all.ended() == 0 || counters.arrivals_due > 0 {
        return None;
    }
    let users = user_seconds / outcome.load.as_secs_f64().max(1e-3);
    let response = all.actual.mean().as_secs_f64();
    // Each iteration is followed by a wait. Waits that the end cut short are not measured.
    let waits = if scenario.is_greedy() {
        counters.waits
    } else {
        counters.waits.max(counters.iterations)
    };
    let wait = counters.waited / counters.waits.max(1) as f64 * waits as f64 / all.ended() as f64;
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
    let (all, counters) = (&outcome.totals.all, &outcome.totals.numbers.counters);
    let load = outcome.load.as_secs_f64().max(1e-3);
    let ended_rate = all.ended() as f64 / outcome.total.as_secs_f64().max(1e-3);
    let mut tester = Vec::new();
    if let Some((from, why)) = &outcome.saturated {
        let from = shown(*from);
        tester.push(format!(
            "the tester was saturated from {from} on: the numbers are lower bounds ({why})"
        ));
    }
    if all.kinds.contains_key(&Kind::Tester) {
        tester.push(
            "the tester ran out of file descriptors, ports or memory: these failures are not the service's"
                .to_owned(),
        );
    }
    if all.counts.completed == 0 && all.ended() > 0 {
        sentences.push("no request was answered as expected".to_owned());
    } else if let Some(law) = law {
        let mut text = format!(
            "{} users × ({} response + {} wait) ⇒ at most {} requests/s",
            number(law.users),
            shown_seconds(law.response_seconds),
            shown_seconds(law.wait_seconds),
            rate(law.at_most)
        );
        // Timers are about a millisecond late. For short waits that is much, and not caused by the service.
        let unhindered = law.users / law.wait_seconds.max(1e-9);
        match offered.map(|offered| offered / load) {
            _ if !tester.is_empty() => {}
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
    if counters.arrivals_due > 0 {
        let most = scenario.schedule().most_users();
        let mut text = format!(
            "{} due ({}/s): {} started, {} of them late; {} never started",
            counted(counters.arrivals_due, "arrival"),
            rate(counters.arrivals_due as f64 / load),
            grouped(counters.arrivals_started),
            grouped(counters.arrivals_late),
            grouped(counters.arrivals_never)
        );
        let waited = counters.arrivals_late + counters.arrivals_never;
        if outcome.peak_users < most && counters.arrivals_late > 0 {
            text.push_str("; users were free, so the delay is the tester's");
        } else if waited > counters.arrivals_due / 100 && tester.is_empty() {
            text.push_str(&format!(
                "; the service, not the tester, sets the rate: it answers {} requests/s, and all {} were busy",
                rate(ended_rate),
                counted(most, "user")
            ));
        }
        sentences.push(text);
    }
    for (count, noun, text) in [
        (
            all.counts.missed,
            "request",
            "would have been sent while answers stalled; latencies from the intended start include them",
        ),
        (
            counters.behind,
            "iteration",
            "started later than their pace; latencies from the intended start include the delay",
        ),
        (
            counters.out_of_data,
            "user",
            "stopped because no row of data was left",
        ),
    ] {
        if count > 0 {
            sentences.push(format!("{} {text}", counted(count, noun)));
        }
    }
    sentences.extend(tester);
    sentences
}

/// A rate with at least three digits.
pub(crate) fn rate(rate: f64) -> String {
    if rate >= 100.0 {
        number(rate)
    } else if rate >= 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.2}")
    }
}

/// A whole number, with its digits in groups of three.
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
    }
}
