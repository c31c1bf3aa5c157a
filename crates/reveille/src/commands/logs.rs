//! `reveille logs`: prints what happened on hosts, and their output.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use reveille_account::{Event, EventKind, Exit, HostName, RunId, RunState, Status, Stream};
use reveille_fleet::RunRecipe;
use reveille_ledger::output::Frame;
use reveille_ledger::{Ledger, RunRecord, Selector};
use reveille_text::glob::Glob;
use reveille_text::harmless;
use reveille_view::{Lines, Role, Said, elapsed, words};
use serde_json::{Value, json};

use crate::cli::{Format, Globals, LogsArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::fold::lost;
use crate::runtime::runtime;
use crate::state;

/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) fn run(args: &LogsArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let (run, patterns) = which(&ledger, args)?;
    let record = ledger.run(run)?;
    let recipe = RunRecipe::restore(&record)?;
    let steps: Vec<String> = recipe.job.steps.iter().map(|step| step.name.clone()).collect();
    let step = args
        .step
        .as_deref()
        .map(|step| find_step(step, &steps))
        .transpose()?;
    let hosts = hosts(&ledger, &record, &patterns, args)?;
    let mut logs = Logs {
        ledger: &ledger,
        record,
        steps,
        step,
        raw: args.raw,
        several: hosts.len() > 1,
        printer,
        places: HashMap::new(),
    };
    if args.format == Format::Json {
        let hosts = hosts
            .iter()
            .map(|host| logs.json(host))
            .collect::<Result<Vec<_>, _>>()?;
        printer.data(&json!({ "schema": 1, "run_id": run.to_string(), "hosts": hosts }).to_string())?;
        return Ok(Exit::Success);
    }
    for host in &hosts {
        logs.print(host)?;
    }
    if args.follow {
        logs.follow(&hosts)?;
    }
    Ok(Exit::Success)
}

/// The run and the hosts that the arguments name.
fn which(ledger: &Ledger, args: &LogsArgs) -> Result<(RunId, Vec<String>), Failure> {
    let directory = state::option(ledger.state_directory());
    let Some((first, rest)) = args.what.split_first() else {
        if args.failed {
            return Ok((ledger.resolve_run("last")?, Vec::new()));
        }
        return Err(Failure::usage("name a host, or add --failed for all that failed"));
    };
    let name = first.strip_prefix('@').unwrap_or(first);
    let is_run = name == "last" || name.starts_with("r-");
    if rest.is_empty() && !is_run {
        return Ok((ledger.resolve_run("last")?, vec![first.clone()]));
    }
    let run = ledger.resolve_run(first);
    match run {
        Ok(run) if rest.is_empty() && !args.failed => Err(Failure::usage(format!(
            "name a host of the run: `reveille logs{directory} {run} HOST`"
        ))),
        Ok(run) => Ok((run, rest.to_vec())),
        // Only hosts are named.
        Err(_) if !is_run => Ok((ledger.resolve_run("last")?, args.what.clone())),
        Err(error) => Err(error.into()),
    }
}

/// The position of a step, by its name or its number from 1.
fn find_step(text: &str, steps: &[String]) -> Result<u32, Failure> {
    let named = steps.iter().position(|name| name == text);
    let numbered = text
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_sub(1));
    let found = named.or(numbered.filter(|index| *index < steps.len()));
    found.and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
        let quoted: Vec<String> = steps
            .iter()
            .map(|name| format!("`{}`", harmless::line(name)))
            .collect();
        Failure::usage(format!(
            "--step {text}: the run has no such step; its steps are {}",
            quoted.join(", ")
        ))
    })
}

/// The hosts of the run that the patterns match, in the roll's order.
fn hosts(
    ledger: &Ledger,
    record: &RunRecord,
    patterns: &[String],
    args: &LogsArgs,
) -> Result<Vec<HostName>, Failure> {
    let run = record.run;
    let mut hosts: Vec<HostName> = Vec::new();
    let mut known: HashSet<HostName> = HashSet::new();
    for round in 1..=record.round {
        for entry in ledger.roll(run, round)? {
            if known.insert(entry.host.clone()) {
                hosts.push(entry.host);
            }
        }
    }
    if args.failed {
        let mut failed: HashSet<HostName> = HashSet::new();
        for status in [
            Status::Failed,
            Status::Quarantined,
            Status::Cancelled,
            Status::Ghost,
        ] {
            failed.extend(ledger.hosts_with(run, Selector::Status(status))?);
        }
        hosts.retain(|host| failed.contains(host));
        if hosts.is_empty() && patterns.is_empty() {
            return Err(Failure::usage(format!("no host of {run} has failed")));
        }
    }
    if patterns.is_empty() {
        return Ok(hosts);
    }
    let patterns: Vec<(&String, Glob)> = patterns.iter().map(|text| (text, Glob::new(text))).collect();
    // A name with brackets, such as an IPv6 address, is itself too.
    let fits =
        |(text, glob): &(&String, Glob), host: &HostName| host.as_str() == *text || glob.fits(host.as_str());
    for pattern in &patterns {
        if !hosts.iter().any(|host| fits(pattern, host)) {
            let directory = state::option(ledger.state_directory());
            let which = if args.failed { "failed host" } else { "host" };
            return Err(Failure::usage(format!(
                "{run} has no {which} {}; `reveille show{directory} {run} --format json` lists its hosts",
                pattern.0
            )));
        }
    }
    hosts.retain(|host| patterns.iter().any(|pattern| fits(pattern, host)));
    Ok(hosts)
}

/// Prints what the ledger has of hosts.
struct Logs<'a> {
    ledger: &'a Ledger,
    record: RunRecord,
    steps: Vec<String>,
    /// Only this step.
    step: Option<u32>,
    raw: bool,
    /// There are other hosts.
    several: bool,
    printer: &'a Printer,
    /// How much of each host has been printed, to follow it.
    places: HashMap<HostName, Place>,
}

/// How much of a host has been printed.
#[derive(Debug)]
struct Place {
    /// The newest event.
    event: u64,
    /// The round whose output is being printed, and its frames that have been.
    round: u32,
    frames: usize,
    /// When the host was dispatched, Unix milliseconds.
    begin_ms: Option<u64>,
    /// The step and attempt whose output came last, and its unfinished lines.
    heading: Option<(u32, u32)>,
    lines: Lines,
}

impl Place {
    fn new() -> Self {
        Self {
            event: 0,
            round: 0,
            frames: 0,
            begin_ms: None,
            heading: None,
            lines: Lines::new(false),
        }
    }
}

impl Logs<'_> {
    fn print(&mut self, host: &HostName) -> Result<(), Failure> {
        if self.several && !self.raw {
            self.strong(&format!("══ {host}"))?;
        }
        let mut place = Place::new();
        let mut events: Vec<Event> = Vec::new();
        for event in self.ledger.events(self.record.run, Some(host)) {
            events.push(event?);
        }
        let rounds: BTreeSet<u32> = events.iter().map(|event| event.round).collect();
        for round in &rounds {
            let round = *round;
            let of_round: Vec<&Event> = events.iter().filter(|event| event.round == round).collect();
            if rounds.len() > 1 && !self.raw {
                self.strong(&format!("── round {round}"))?;
            }
            place.begin_ms = None;
            for event in of_round {
                self.event(&mut place, event)?;
            }
            self.output(host, &mut place, round)?;
            self.end_line(host, &mut place)?;
        }
        self.places.insert(host.clone(), place);
        Ok(())
    }

    /// Prints what comes, until the run is closed or interrupted.
    fn follow(&mut self, hosts: &[HostName]) -> Result<(), Failure> {
        let runtime = runtime(1)?;
        loop {
            let run = self.record.run;
            let over = self.ledger.run(run)?.state == RunState::Closed || self.ledger.holder(run)?.is_none();
            for host in hosts {
                let mut place = self.places.remove(host).unwrap_or_else(Place::new);
                // Output is written before the event that ends its step.
                let events = self.ledger.events_after(run, place.event, Some(host))?;
                let round = events.last().map_or(place.round, |event| event.round);
                if round > 0 {
                    self.output(host, &mut place, round)?;
                }
                for event in events {
                    self.end_line(host, &mut place)?;
                    self.event(&mut place, &event)?;
                }
                self.places.insert(host.clone(), place);
            }
            if over || self.printer.is_closed() {
                return Ok(());
            }
            runtime.block_on(async { tokio::time::sleep(LOOK).await });
        }
    }

    fn event(&self, place: &mut Place, event: &Event) -> Result<(), Failure> {
        place.event = place.event.max(event.seq);
        let begin = *place.begin_ms.get_or_insert(event.wall_ms);
        if self.raw || !self.is_wanted(&event.kind) {
            return Ok(());
        }
        let Some(text) = words::of(&event.kind, self.printer.verbose > 0) else {
            return Ok(());
        };
        let ms = event.wall_ms.saturating_sub(begin);
        let time = format!("{}.{}", elapsed(ms), ms % 1000 / 100);
        let line = format!("{time}  {}", harmless::line(&text));
        self.printer.text(&self.printer.tone_out(&line, Role::Faint))
    }

    /// Whether an event is about the step that is asked for.
    fn is_wanted(&self, kind: &EventKind) -> bool {
        let Some(wanted) = self.step else { return true };
        step_of(kind).is_some_and(|step| step == wanted)
    }

    /// Prints the output of a round that has not been printed.
    fn output(&self, host: &HostName, place: &mut Place, round: u32) -> Result<(), Failure> {
        if place.round != round {
            (place.round, place.frames, place.heading) = (round, 0, None);
        }
        let mut reader = self.ledger.read_output(self.record.run, host, round)?;
        let mut frames = 0;
        while let Some(frame) = reader.next_frame()? {
            frames += 1;
            if frames > place.frames && self.step.is_none_or(|step| step == frame.step) {
                self.frame(host, place, &frame)?;
            }
        }
        place.frames = place.frames.max(frames);
        Ok(())
    }

    fn frame(&self, host: &HostName, place: &mut Place, frame: &Frame) -> Result<(), Failure> {
        if self.raw {
            if frame.gap > 0 {
                self.printer.warning(&lost(frame.gap));
            }
            return self.printer.data_bytes(&frame.bytes);
        }
        let now = (frame.step, frame.attempt);
        if place.heading != Some(now) {
            self.end_line(host, place)?;
            place.heading = Some(now);
            let name = self.steps.get(frame.step as usize).map_or("", String::as_str);
            self.strong(&format!("── {}, attempt {}", harmless::line(name), frame.attempt))?;
        }
        if frame.gap > 0 {
            self.end_line(host, place)?;
            self.printer.text(&lost(frame.gap))?;
        }
        let mut said = Vec::new();
        place.lines.take(host, frame.stream, &frame.bytes, 0, &mut said);
        self.lines(&said)
    }

    /// Prints what is held of an unfinished line.
    fn end_line(&self, host: &HostName, place: &mut Place) -> Result<(), Failure> {
        let mut said = Vec::new();
        place.lines.end(host, &mut said);
        self.lines(&said)
    }

    fn lines(&self, said: &[Said]) -> Result<(), Failure> {
        for said in said {
            let role = match said.stream {
                Stream::Stdout => Role::Plain,
                Stream::Stderr => Role::Odd,
            };
            let line = format!("{} {}", said.mark.as_str(), said.text);
            self.printer.text(&self.printer.tone_out(line.trim_end(), role))?;
        }
        Ok(())
    }

    fn strong(&self, text: &str) -> Result<(), Failure> {
        self.printer.text(&self.printer.tone_out(text, Role::Strong))
    }

    fn json(&self, host: &HostName) -> Result<Value, Failure> {
        let mut rounds = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for event in self.ledger.events(self.record.run, Some(host)) {
            events.push(event?);
        }
        for round in 1..=self.record.round {
            let of_round: Vec<&Event> = events
                .iter()
                .filter(|event| event.round == round && self.is_wanted(&event.kind))
                .collect();
            let mut outputs: Vec<Value> = Vec::new();
            let mut texts: HashMap<(u32, u32), [Vec<u8>; 3]> = HashMap::new();
            let mut order = Vec::new();
            for frame in self.ledger.read_output(self.record.run, host, round)? {
                let frame = frame?;
                if self.step.is_some_and(|step| step != frame.step) {
                    continue;
                }
                let key = (frame.step, frame.attempt);
                if !order.contains(&key) {
                    order.push(key);
                }
                let texts = texts.entry(key).or_default();
                texts[usize::from(frame.stream == Stream::Stderr)].extend_from_slice(&frame.bytes);
                if frame.gap > 0 {
                    texts[2] = b"gap".to_vec();
                }
            }
            for key in order {
                let [stdout, stderr, gap] = texts.remove(&key).unwrap_or_default();
                outputs.push(json!({
                    "step": key.0,
                    "name": self.steps.get(key.0 as usize),
                    "attempt": key.1,
                    "stdout": String::from_utf8_lossy(&stdout),
                    "stderr": String::from_utf8_lossy(&stderr),
                    "truncated": !gap.is_empty(),
                }));
            }
            if !of_round.is_empty() || !outputs.is_empty() {
                rounds.push(json!({ "round": round, "events": of_round, "outputs": outputs }));
            }
        }
        Ok(json!({ "host": host, "rounds": rounds }))
    }
}

/// The step that an event is about.
fn step_of(kind: &EventKind) -> Option<u32> {
    match kind {
        EventKind::StepStarted { step, .. }
        | EventKind::StepBegan { step, .. }
        | EventKind::StepLost { step, .. }
        | EventKind::StepLeft { step, .. }
        | EventKind::StepSkipped { step, .. }
        | EventKind::StepFinished { step, .. }
        | EventKind::Looked { step, .. }
        | EventKind::ConnectionLost { step, .. }
        | EventKind::Reattached { step, .. }
        | EventKind::DeadlinePassed { step, .. }
        | EventKind::OnceSettled { step, .. } => Some(step.index),
        EventKind::OutcomeReached { outcome } => outcome.step.as_ref().map(|step| step.index),
        _ => None,
    }
}
