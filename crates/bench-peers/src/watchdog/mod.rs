//! `cargo xtask bench watchdog`: durations of commands, replayed against the rules that could have watched them.
//!
//! The loop is closed: a rule learns only from runs that it let end. What it kills is tried again, three times in all,
//! with the duration that the data has; a run is a sample if one of its attempts ends.

mod data;
mod replay;
mod rules;
mod synthetic;
mod tally;

use std::path::PathBuf;

use clap::Args;
use xtask::failure::{Failure, Result};
use xtask::tell;
use xtask::workspace::Workspace;

use self::data::Stream;
use self::replay::Replay;
use self::rules::Kind;
use self::tally::Tally;
use crate::benchmarks_page::{Section, command_line};
use crate::proc;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// CSV with the columns stream, start, runtime_s, sorted by start within a stream; gzipped if it ends in .gz
    #[arg(value_name = "FILE", required_unless_present = "synthetic")]
    files: Vec<PathBuf>,
    /// Durations made up from this seed: changes of speed, heavy tails, two speeds, drift, shared slowness
    #[arg(long, value_name = "SEED", conflicts_with = "files")]
    synthetic: Option<u64>,
    /// Hosts that run a command at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    cohort: u16,
    /// Decides which attempts hang
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the tables, and leave BENCHMARKS.md alone
    #[arg(long)]
    print: bool,
}

/// Shares of attempts that hang.
const HANGS: [f64; 3] = [0.0, 0.01, 0.05];

pub(super) fn run(arguments: &Arguments, workspace: &Workspace) -> Result {
    let load = proc::load();
    let (name, streams) = match arguments.synthetic {
        Some(seed) => ("watchdog-synthetic", synthetic::streams(seed)),
        None => ("watchdog", data::read(&arguments.files)?),
    };
    let runs: usize = streams.iter().map(|stream| stream.durations.len()).sum();
    if runs == 0 {
        return Err(Failure::Missing("there are no durations in it".to_owned()));
    }
    let made_up = if arguments.synthetic.is_some() {
        " (made up)"
    } else {
        ""
    };
    let section = Section {
        name,
        title: format!(
            "The watchdog's total deadline on {runs} durations of {} classes{made_up}",
            streams.len()
        ),
        command: shown(&command_line()),
        versions: Vec::new(),
        load,
        body: tables(arguments, &streams),
    };
    section.publish(workspace, arguments.print)
}

fn tables(arguments: &Arguments, streams: &[Stream]) -> String {
    let cohort = usize::from(arguments.cohort);
    let parts = [
        (
            "One run after the other".to_owned(),
            1,
            replay::JUDGED,
            &HANGS[..],
        ),
        (
            format!("{cohort} hosts at a time"),
            cohort,
            replay::JUDGED,
            &HANGS[..],
        ),
        (
            "Classes with 20 to 99 samples, one run after the other".to_owned(),
            1,
            replay::YOUNG,
            &HANGS[..1],
        ),
    ];
    let mut text = String::new();
    for (title, hosts, judged, hangs) in parts {
        tell::line(&title);
        text.push_str(&format!("**{title}**\n\n{}", Tally::HEAD));
        for kind in Kind::ALL {
            for share in hangs {
                let replay = Replay {
                    kind,
                    hang_share: *share,
                    hosts,
                    judged: judged.clone(),
                    seed: arguments.seed,
                };
                let tally = replay.run(streams);
                text.push_str(&tally.row(kind.name(), *share));
            }
        }
        text.push('\n');
    }
    text.push_str(&halves(arguments, streams));
    text.push_str(NOTES);
    text
}

/// The rule on each half of the streams alone: what was chosen on one should hold on the other.
fn halves(arguments: &Arguments, streams: &[Stream]) -> String {
    let (first, second): (Vec<_>, Vec<_>) = streams.iter().map(Stream::halves).map(<(_, _)>::from).unzip();
    let mut text = format!("**Each half of the classes' runs alone**\n\n{}", Tally::HEAD);
    for (name, half) in [("first half", first), ("second half", second)] {
        let replay = Replay {
            kind: Kind::Reveille,
            hang_share: 0.0,
            hosts: 1,
            judged: replay::JUDGED,
            seed: arguments.seed,
        };
        text.push_str(&replay.run(&half).row(&format!("**Reveille**, {name}"), 0.0));
    }
    text.push('\n');
    text
}

const NOTES: &str = "\
Runs count from the 51st of a class on. False kills: healthy attempts that were killed. Abandoned: runs whose three \
attempts were all killed, at least one of them healthy. Deadline ÷ run: that of the first attempt, extensions included, \
mean over all runs. Each attempt hangs with the given probability; a rule that kills is tried again with a longer \
deadline: ours 2 and 8 times as long, the others 2 and 4 times. No rule judges before 20 samples; the others \
remember the last 1,000. Ours is used without its floor of a minute, which would hide it.

- **Reveille**: `TotalRule` and, several hosts at a time, `Cohort`: \
five or more that overrun together, and more than 5 %, get twice as long, in vain once, or twice if they are more than a \
quarter; in `crates/pace/src/watchdog`
- conformal: 1.10 times the bound that 99.9 % of exchangeable runs stay below; one view, no hiccup, no cohorts
- static: 90 s
- mean + 4 deviations; phi-accrual with threshold 8: a normal distribution, deviation at least 0.1 s (Akka's default)
- 3 medians
";

/// A command line without the directories of the one who gave it.
fn shown(command: &str) -> String {
    let words = command
        .split(' ')
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

// === impl Stream ===

impl Stream {
    /// Both halves, as streams of their own.
    fn halves(&self) -> [Stream; 2] {
        let (first, second) = self.durations.split_at(self.durations.len() / 2);
        [first, second].map(|half| Stream {
            durations: half.to_vec(),
        })
    }
}
