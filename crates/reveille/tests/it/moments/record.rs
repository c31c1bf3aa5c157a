//! Reads the record of a run, and the files about what really ran.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// An execution of a command, as the machine's file has it.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) host: String,
    pub(crate) step: String,
    pub(crate) word: String,
    /// Lines of the machine's file: the start, and the end with the exit status.
    pub(crate) began: usize,
    pub(crate) ended: Option<(usize, i64)>,
}

/// The parts of an event that the checks use.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) round: u64,
    pub(crate) host: Option<String>,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

/// An attempt, as the ledger has it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) round: u64,
    pub(crate) step: String,
    pub(crate) number: u64,
    /// Round, class and exit status of its end.
    pub(crate) ended: Option<(u64, String, Option<i64>)>,
    /// It never ran and never will.
    pub(crate) buried: bool,
    /// It was left in its round.
    pub(crate) left: bool,
}

/// Reads a machine's file: a line for each start and each end, in the order in which they happened.
pub(crate) fn starts(truth: &str) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    for (line, text) in truth.lines().enumerate() {
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["begin", host, step, word] => starts.push(Start {
                host: host.to_owned(),
                step: step.to_owned(),
                word: word.to_owned(),
                began: line,
                ended: None,
            }),
            ["end", _, _, word, status] => {
                let start = starts.iter_mut().find(|start| start.word == word);
                start.expect("what ended has begun").ended = Some((line, status.parse().unwrap()));
            }
            _ => panic!("a machine tells what nobody knows: {text}"),
        }
    }
    starts
}

/// Reads the events of an exported run.
pub(crate) fn events(export: &Path) -> Vec<Event> {
    let text = fs::read_to_string(export.join("events.ndjson")).unwrap();
    let event = |line: &str| {
        let body: Value = serde_json::from_str(line).unwrap();
        Event {
            round: body["round"].as_u64().unwrap(),
            host: body["host"].as_str().map(str::to_owned),
            kind: body["event"].as_str().unwrap().to_owned(),
            body,
        }
    };
    text.lines().map(event).collect()
}

/// The attempts of a host, in the order of their starts. Contradictions are added to `wrong`.
pub(crate) fn attempts(events: &[Event], host: &str, wrong: &mut Vec<String>) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut at: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.host.as_deref() == Some(host)) {
        let Some(step) = event.body["step"]["name"].as_str() else {
            continue;
        };
        let Some(number) = event.body["attempt"].as_u64() else {
            continue;
        };
        let key = (step.to_owned(), number);
        if event.kind == "step_started" {
            if at.insert(key, attempts.len()).is_some() {
                wrong.push(format!("{host}: attempt {number} of {step} is begun twice"));
            }
            attempts.push(Attempt {
                round: event.round,
                step: step.to_owned(),
                number,
                ended: None,
                buried: false,
                left: false,
            });
            continue;
        }
        let Some(attempt) = at.get(&key).map(|at| &mut attempts[*at]) else {
            wrong.push(format!(
                "{host}: {} without a beginning: {}",
                event.kind, event.body
            ));
            continue;
        };
        let over = attempt.ended.is_some() || attempt.buried;
        match event.kind.as_str() {
            "step_finished" | "step_lost" if over => {
                wrong.push(format!("{host}: attempt {number} of {step} ends twice"));
            }
            "step_finished" => {
                let class = event.body["class"].as_str().unwrap().to_owned();
                let status = event.body["exit_status"].as_i64();
                attempt.ended = Some((event.round, class, status));
            }
            "step_left" => attempt.left = true,
            "step_lost" => match event.body["loss"].as_str().unwrap() {
                "buried" => attempt.buried = true,
                // A copy ends with its controller, and is repeated.
                "plain" if step == "send" => attempt.buried = true,
                loss => wrong.push(format!("{host}: attempt {number} of {step} is lost: {loss}")),
            },
            _ => {}
        }
    }
    attempts
}
