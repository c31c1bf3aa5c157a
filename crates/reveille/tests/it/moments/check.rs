//! The rules that must hold after a moment, for the ledger and for what really ran.

use std::collections::{BTreeMap, BTreeSet};

use super::job::{Fate, Host, Kind, MAIN, PADDING};
use super::record::{Attempt, Event, Start, attempts};

/// Everything that the checks know about a moment.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) kind: Kind,
    pub(crate) hosts: &'a [Host],
    /// From this round on, nothing fails any more.
    pub(crate) fixed: bool,
    pub(crate) events: &'a [Event],
    /// The commands that ran, by machine.
    pub(crate) starts: &'a [Vec<Start>],
    /// The recorded outputs of the hosts.
    pub(crate) logs: &'a BTreeMap<String, String>,
}

/// Retries of a host in a round.
const BUDGET: usize = 8;

/// Status and class, by round and host.
type Outcomes = BTreeMap<(u64, String), (String, String)>;

// === impl Known ===

impl Known<'_> {
    /// The rules that are broken, in words.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let outcomes = self.outcomes(&mut wrong);
        self.limits(&outcomes, &mut wrong);
        self.once(&mut wrong);
        for host in self.hosts {
            let attempts = attempts(self.events, &host.name, &mut wrong);
            self.fates(host, &attempts, &outcomes, &mut wrong);
            self.attempts(host, &attempts, &mut wrong);
            self.truth(host, &attempts, &mut wrong);
            self.output(host, &attempts, &mut wrong);
        }
        wrong
    }

    fn rounds(&self) -> u64 {
        self.events.iter().map(|event| event.round).max().unwrap_or(0)
    }

    fn of_round(&self, round: u64) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.round == round)
    }

    /// Every host on the roll has exactly one outcome in every round. Returns their statuses and classes.
    fn outcomes(&self, wrong: &mut Vec<String>) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let mut roll: BTreeSet<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        for round in 1..=self.rounds() {
            for event in self
                .of_round(round)
                .filter(|event| event.kind == "outcome_reached")
            {
                let host = event.host.clone().unwrap_or_default();
                let class = event.body["outcome"]["class"].as_str().unwrap_or_default();
                let status = status(class);
                if !roll.contains(host.as_str()) {
                    wrong.push(format!(
                        "{host} has an outcome in round {round}, but is not on its roll"
                    ));
                }
                if outcomes
                    .insert((round, host.clone()), (status.to_owned(), class.to_owned()))
                    .is_some()
                {
                    wrong.push(format!("{host} has two outcomes in round {round}"));
                }
            }
            for host in &roll {
                if !outcomes.contains_key(&(round, (*host).to_owned())) {
                    wrong.push(format!("{host} has no outcome in round {round}"));
                }
            }
            roll.retain(|host| {
                let outcome = outcomes.get(&(round, (*host).to_owned()));
                outcome.is_some_and(|(status, _)| status != "success")
            });
        }
        outcomes
    }

    /// Batches run one after the other, nothing is dispatched after a halt, and every halt has a cause.
    fn limits(&self, outcomes: &Outcomes, wrong: &mut Vec<String>) {
        for round in 1..=self.rounds() {
            let roll: Vec<&str> = self
                .hosts
                .iter()
                .map(|host| host.name.as_str())
                .filter(|host| outcomes.contains_key(&(round, (*host).to_owned())))
                .collect();
            let mut halted = None;
            let mut dispatched: BTreeSet<&str> = BTreeSet::new();
            let mut ended: BTreeMap<&str, &str> = BTreeMap::new();
            let failed = |ended: &BTreeMap<&str, &str>| {
                ended
                    .values()
                    .filter(|status| matches!(**status, "failed" | "quarantined"))
                    .count()
            };
            let batch_of = |host: &str| {
                let position = roll.iter().position(|other| *other == host);
                position.map(|position| self.kind.batch(position))
            };
            // A batch in which all hosts fail halts the run too.
            let lost = |ended: &BTreeMap<&str, &str>, below: usize| {
                (0..below).any(|batch| {
                    let mut all = roll
                        .iter()
                        .filter(|host| batch_of(host) == Some(batch))
                        .peekable();
                    all.peek().is_some()
                        && all.all(|host| matches!(ended.get(host), Some(&("failed" | "quarantined"))))
                })
            };
            for event in self.of_round(round) {
                let host = event.host.as_deref().unwrap_or_default();
                match event.kind.as_str() {
                    "halted" => {
                        let reason = event.body["reason"].as_str().unwrap_or_default();
                        let due = match reason {
                            "max_fail" => failed(&ended) > self.kind.max_fail,
                            "max_fail_batch" | "whole_batch" => lost(&ended, roll.len()),
                            _ => false,
                        };
                        if !due {
                            wrong.push(format!("round {round} is halted without a cause: {reason}"));
                        }
                        if halted.replace(reason).is_some() {
                            wrong.push(format!("round {round} is halted twice"));
                        }
                    }
                    "dispatched" => {
                        if halted.is_some() {
                            wrong.push(format!("{host} is dispatched after round {round} was halted"));
                        }
                        if !dispatched.insert(host) {
                            wrong.push(format!("{host} is dispatched twice in round {round}"));
                        }
                        let Some(batch) = batch_of(host) else { continue };
                        let begins = !dispatched
                            .iter()
                            .any(|other| *other != host && batch_of(other) == Some(batch));
                        if begins && (failed(&ended) > self.kind.max_fail || lost(&ended, batch)) {
                            wrong.push(format!(
                                "batch {batch} of round {round} begins after too many failures"
                            ));
                        }
                        for other in &roll {
                            if batch_of(other) < Some(batch) && !ended.contains_key(other) {
                                wrong.push(format!(
                                    "{host} is dispatched in round {round} before {other} of an earlier batch has ended"
                                ));
                            }
                        }
                    }
                    "step_started" if !dispatched.contains(host) => {
                        wrong.push(format!(
                            "{host} begins a step in round {round} and was not dispatched"
                        ));
                    }
                    "outcome_reached" => {
                        let outcome = outcomes.get(&(round, host.to_owned()));
                        let (status, class) = outcome.expect("they were collected from the same events");
                        if dispatched.contains(host) == (status == "cancelled") {
                            wrong.push(format!("{host} is {status} in round {round}: {class}"));
                        }
                        if status == "cancelled" && (halted.is_none() || class != "max_fail_reached") {
                            wrong.push(format!(
                                "{host} is cancelled in round {round} without a halt: {class}"
                            ));
                        }
                        ended.insert(host, status);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A `once` step has run once in all rounds together.
    fn once(&self, wrong: &mut Vec<String>) {
        let all = self.starts.iter().flatten();
        let ran = all.filter(|start| start.step == "migrate").count();
        if ran != 1 {
            wrong.push(format!("what runs once has run {ran} times"));
        }
    }

    /// Every host has an outcome that its fate allows, and a host that succeeded has run all steps.
    fn fates(&self, host: &Host, attempts: &[Attempt], outcomes: &Outcomes, wrong: &mut Vec<String>) {
        for round in 1..=self.rounds() {
            let Some((status, class)) = outcomes.get(&(round, host.name.clone())) else {
                continue;
            };
            let well = host.fate.ends_well(self.fixed && round > 1);
            let unhelped = self.is_unhelped(host, round);
            let class = class.as_str();
            let as_it_has_to = match status.as_str() {
                "cancelled" => true,
                "success" => well,
                "failed" if class == "command_failed" => !well,
                "quarantined" if class == "recovery_limit" => {
                    !well || host.fate == Fate::Sick && unhelped || self.is_spent(host, round)
                }
                "failed" => {
                    matches!(class, "connection_lost" | "connect_refused") && self.is_spent(host, round)
                }
                _ => false,
            };
            if !as_it_has_to {
                wrong.push(format!(
                    "{}, which is {:?}, ends in round {round} as {status}: {class}",
                    host.name, host.fate
                ));
            }
            let ended = |step: &str, good: bool| {
                let of = attempts.iter().filter(|attempt| attempt.step == step);
                of.filter_map(|attempt| attempt.ended.as_ref())
                    .filter(|(ended, class, _)| {
                        *ended == round && (!good || self::status(class) == "success")
                    })
                    .count()
            };
            if status == "success" {
                for step in MAIN.iter().filter(|step| **step != "migrate") {
                    if ended(step, true) != 1 {
                        let times = ended(step, true);
                        wrong.push(format!(
                            "{} succeeded in round {round}, and {step} did {times} times",
                            host.name
                        ));
                    }
                }
            }
            for step in ["note", "rescue"] {
                let wanted = usize::from(matches!(status.as_str(), "failed" | "quarantined"));
                let ran = ended(step, false);
                if ran != wanted && !(ran < wanted && step == "rescue" && unhelped) {
                    wrong.push(format!(
                        "{} is {status} in round {round}: {step} ran {} times",
                        host.name,
                        ended(step, false)
                    ));
                }
            }
        }
    }

    /// Whether a host may have used up its retries. Each controller counts the tries to connect anew.
    fn is_spent(&self, host: &Host, round: u64) -> bool {
        let tries = self.of_round(round).filter(|event| {
            let body = &event.body;
            event.host.as_ref() == Some(&host.name)
                && match event.kind.as_str() {
                    "connect_failed" => {
                        body["retry_in_ms"].is_u64() && body["away"] != true && body["throttled"] != true
                    }
                    "recovering" => body["rung"].is_null(),
                    _ => false,
                }
        });
        tries.count() >= BUDGET
    }

    /// Whether a host that had failed could not be reached afterwards. Then neither recoveries nor `on_failed` steps try
    /// another route.
    fn is_unhelped(&self, host: &Host, round: u64) -> bool {
        let mut failed = false;
        self.of_round(round)
            .filter(|event| event.host.as_ref() == Some(&host.name))
            .any(|event| {
                match event.kind.as_str() {
                    "host_failed" => failed = true,
                    "healed" => failed = false,
                    "connect_failed" => return failed && event.body["retry_in_ms"].is_null(),
                    _ => {}
                }
                false
            })
    }

    /// Each attempt has one end, and only a failed attempt that may be repeated is followed by another.
    fn attempts(&self, host: &Host, attempts: &[Attempt], wrong: &mut Vec<String>) {
        for attempt in attempts {
            let name = format!("{}: attempt {} of {}", host.name, attempt.number, attempt.step);
            if attempt.ended.is_none() && !attempt.buried && !attempt.left {
                wrong.push(format!("{name} has no end"));
            }
        }
        for round in 1..=self.rounds() {
            let repaired = self.of_round(round).filter(|event| {
                event.host.as_deref() == Some(&host.name)
                    && event.kind == "healed"
                    && event.body["rung"]["repair"].is_u64()
            });
            let repaired = repaired.count();
            for step in MAIN.into_iter().chain(["note", "rescue", "mend"]) {
                let ran = attempts
                    .iter()
                    .filter(|attempt| attempt.step == step && attempt.round == round && !attempt.buried)
                    .count();
                let most = match step {
                    "refresh" => 2,
                    "install" => 1 + repaired,
                    _ => 1,
                };
                if ran > most {
                    wrong.push(format!(
                        "{}: {step} ran {ran} times in round {round}, which allows {most}",
                        host.name
                    ));
                }
            }
        }
    }

    /// Every recorded attempt has really run, once, one after the other, and has ended as recorded.
    fn truth(&self, host: &Host, attempts: &[Attempt], wrong: &mut Vec<String>) {
        for machine in self.starts {
            let mut running: Option<&Start> = None;
            for start in machine.iter().filter(|start| start.host == host.name) {
                let name = format!("{}: {} ({})", host.name, start.step, start.word);
                if let Some(before) = running
                    && before.ended.is_none_or(|(line, _)| line > start.began)
                {
                    wrong.push(format!(
                        "{name} began while {} ({}) ran",
                        before.step, before.word
                    ));
                }
                if start.ended.is_none() {
                    wrong.push(format!("{name} has not ended"));
                }
                running = Some(start);
            }
        }
        let steps: BTreeSet<&str> = attempts.iter().map(|attempt| attempt.step.as_str()).collect();
        let really: BTreeSet<&str> = self
            .starts
            .iter()
            .flatten()
            .filter(|start| start.host == host.name)
            .map(|start| start.step.as_str())
            .collect();
        for step in steps.union(&really).filter(|step| **step != "send") {
            let recorded: Vec<Option<i64>> = attempts
                .iter()
                .filter(|attempt| attempt.step == **step)
                .filter_map(|attempt| attempt.ended.as_ref().map(|(_, _, status)| *status))
                .collect();
            let mut ran: Vec<Option<i64>> = self
                .starts
                .iter()
                .flatten()
                .filter(|start| (start.host.as_str(), start.step.as_str()) == (&host.name, step))
                .map(|start| start.ended.map(|(_, status)| status))
                .collect();
            // An attempt that was left may have run without a known end.
            let left = attempts
                .iter()
                .filter(|attempt| attempt.step == **step && attempt.left && attempt.ended.is_none());
            if ran.len() > recorded.len() && ran.len() - recorded.len() <= left.count() {
                ran.truncate(recorded.len());
            }
            if recorded != ran {
                wrong.push(format!(
                    "{}: {step} ended with {recorded:?} on record, and with {ran:?} on the machine",
                    host.name
                ));
            }
        }
    }

    /// The recorded output is complete, except for attempts that were left where they may still run.
    fn output(&self, host: &Host, attempts: &[Attempt], wrong: &mut Vec<String>) {
        let own = |start: &&Start| start.host == host.name;
        let mut said: Vec<&str> = self
            .starts
            .iter()
            .flatten()
            .filter(own)
            .map(|start| start.word.as_str())
            .collect();
        let log = &self.logs[&host.name];
        let mut kept: Vec<&str> = log
            .lines()
            .filter_map(|line| line.strip_prefix("word "))
            .collect();
        said.sort_unstable();
        kept.sort_unstable();
        let left = attempts
            .iter()
            .filter(|attempt| attempt.left && attempt.ended.is_none())
            .count();
        let missing = said.iter().filter(|word| !kept.contains(word)).count();
        if missing > 0 && missing <= left {
            said.retain(|word| kept.contains(word));
        }
        if said != kept {
            wrong.push(format!("{} said {said:?}, and {kept:?} is on record", host.name));
        }
        let padding = "x".repeat(PADDING);
        let whole = log.lines().filter(|line| *line == padding).count();
        let worked = self.starts.iter().flatten().filter(own);
        let worked = worked
            .filter(|start| start.step == "work" && start.ended.is_some_and(|(_, status)| status == 0))
            .count();
        if whole != worked {
            wrong.push(format!(
                "{} worked {worked} times, and {whole} outputs are whole",
                host.name
            ));
        }
    }
}

/// The status of a class.
pub(crate) fn status(class: &str) -> &'static str {
    let class = reveille_account::Class::ALL
        .iter()
        .find(|known| known.as_str() == class);
    class.map_or("unknown", |class| class.status().as_str())
}
