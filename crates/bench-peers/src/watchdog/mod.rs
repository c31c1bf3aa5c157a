//! `cargo xtask bench watchdog`: durations of commands, replayed against the rules that could have watched them.
//!
//! The loop is closed: a rule learns only from runs that it let end. A run that it kills is tried again, three times in
//! all, with the duration that the data has; a run is a sample if one of its attempts ends.

mod data;
mod replay;
mod rules;
mod synthetic;
mod tally;

use std::path::PathBuf;

use clap::Args;
use xtask::failure::{Failure, Result};

use self::data::Stream;
use self::replay::Replay;
use self::rules::Kind;
use self::tally::Tally;
use crate::bench::Bench;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// CSV with the columns stream, start, runtime_s, sorted by start within a stream; gzipped if it ends in .gz
    #[arg(value_name = "FILE", required_unless_present = "synthetic")]
    files: Vec<PathBuf>,
    /// Use synthetic durations from this seed instead: changes of speed, heavy tails, two speeds, drift, shared
    /// slowness
    #[arg(long, value_name = "SEED", conflicts_with = "files")]
    synthetic: Option<u64>,
    /// Hosts that run a command at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    cohort: u16,
    /// Random seed for which attempts hang
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Shares of attempts that hang.
const HANGS: [f64; 3] = [0.0, 0.01, 0.05];

pub(super) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    let (name, made_up, streams) = match arguments.synthetic {
        Some(seed) => ("watchdog-synthetic", " (synthetic)", synthetic::streams(seed)),
        None => ("watchdog", "", data::read(&arguments.files)?),
    };
    let runs: usize = streams.iter().map(|stream| stream.durations.len()).sum();
    if runs == 0 {
        return Err(Failure::Missing("the files have no durations".to_owned()));
    }
    let classes = streams.len();
    let title = format!("The watchdog's total deadline on {runs} durations of {classes} classes{made_up}");
    bench.publish(name, &title, &[], &tables(arguments, &streams))
}

fn tables(arguments: &Arguments, streams: &[Stream]) -> String {
    let cohort = usize::from(arguments.cohort);
    let replay = |kind, hang_share, hosts, judged| Replay {
        kind,
        hang_share,
        hosts,
        judged,
        seed: arguments.seed,
    };
    let young = "Classes with 20 to 99 samples, one run after the other";
    let parts = [
        ("One run after the other", 1, replay::JUDGED, &HANGS[..]),
        (
            &format!("{cohort} hosts at a time"),
            cohort,
            replay::JUDGED,
            &HANGS[..],
        ),
        (young, 1, replay::YOUNG, &HANGS[..1]),
    ];
    let mut text = String::new();
    for (title, hosts, judged, hangs) in parts {
        let mut table = Table::new(Tally::COLUMNS);
        for kind in Kind::ALL {
            for share in hangs {
                let tally = replay(kind, *share, hosts, judged.clone()).run(streams);
                tally.row(&mut table, kind.name(), *share);
            }
        }
        text.push_str(&format!("**{title}**\n\n{table}\n"));
    }
    // What was chosen on one half of the streams should hold on the other.
    let mut halves = Table::new(Tally::COLUMNS);
    let (first, second): (Vec<_>, Vec<_>) = streams.iter().map(Stream::halves).unzip();
    for (name, half) in [("first half", first), ("second half", second)] {
        let tally = replay(Kind::Reveille, 0.0, 1, replay::JUDGED).run(&half);
        tally.row(&mut halves, &format!("**Reveille**, {name}"), 0.0);
    }
    format!("{text}**Each half of the classes' runs alone**\n\n{halves}\n{NOTES}")
}

const NOTES: &str = "\
Runs count from the 51st of a class on. False kills: healthy attempts that were killed. Abandoned: runs whose three \
attempts were all killed, at least one of them healthy. Deadline ÷ run: the deadline of the first attempt, with its \
extensions; the mean of all runs. Each attempt hangs with the given probability. After a kill, the next attempt has a \
longer deadline: 2 and 8 times as long with Reveille, 2 and 4 times with the others. No rule judges before 20 samples; \
the others remember the last 1,000. Reveille's floor of a minute is off, because it would hide the rule.

- **Reveille**: `TotalRule` and, with several hosts at a time, `Cohort` in `crates/pace/src/watchdog`: if five or more \
hosts, and more than 5 %, overrun together, they get twice as long, without success once, or twice if they are more than \
a quarter
- conformal: 1.10 times the bound that 99.9 % of exchangeable runs stay below; one view, no hiccup, no cohorts
- static: 90 s
- mean + 4 deviations; phi-accrual with threshold 8: a normal distribution, deviation at least 0.1 s (Akka's default)
- 3 medians
";

// === impl Stream ===

impl Stream {
    /// Both halves, as streams of their own.
    fn halves(&self) -> (Stream, Stream) {
        let (first, second) = self.durations.split_at(self.durations.len() / 2);
        let stream = |half: &[f64]| Stream {
            durations: half.to_vec(),
        };
        (stream(first), stream(second))
    }
}
