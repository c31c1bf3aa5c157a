//! `cargo xtask simulate`: plays scenarios from files, or new ones from seeds. The library has the guide.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use reveille_simulate::{
    BROKEN, Kind, Met, REPEATABLE, Report, Scenario, at_every_crossing, kinds, play, random, shrink,
};

/// Play scenarios: from files, or new ones from seeds
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
struct Arguments {
    /// Files to play, with their traces
    files: Vec<PathBuf>,
    /// How long to play new scenarios
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Limit on the number of scenarios
    #[arg(long)]
    count: Option<u64>,
    /// First seed; by default the time of day
    #[arg(long)]
    seed: Option<u64>,
    /// Also draw combinations known to be broken
    #[arg(long)]
    all: bool,
    /// Continue after a violation
    #[arg(long)]
    keep_going: bool,
    /// Only print the scenario of the seed
    #[arg(long)]
    print: bool,
    /// Switch off the engine's rules one by one, and report after how many scenarios a check detects each
    #[arg(long)]
    mutants: bool,
    /// Only rules whose names contain this
    #[arg(long, requires = "mutants", default_value = "")]
    rule: String,
    /// Play each file once for every crossing of its first controller, which dies there
    #[arg(long, requires = "files")]
    crossings: bool,
    /// Directory for scenarios that break a rule
    #[arg(long, default_value = ".")]
    to: PathBuf,
}

/// The number of scenarios after which each attempt state has met each possible event: the rarest pair occurs once in
/// 13,000.
const MEETS_WITHIN: u64 = 250_000;

/// Attempt states, and the events that can occur in them.
const EVENTS: &[Met] = &[
    ("none", "started"),
    ("intended", "began"),
    ("intended", "finished"),
    ("intended", "buried"),
    ("intended", "rebooted"),
    ("intended", "gone"),
    ("intended", "wiped"),
    ("intended", "left"),
    ("begun", "finished"),
    ("begun", "rebooted"),
    ("begun", "gone"),
    ("begun", "wiped"),
    ("begun", "left"),
    ("left, intended", "finished"),
    ("left, intended", "buried"),
    ("left, intended", "rebooted"),
    ("left, intended", "wiped"),
    ("left, intended", "left"),
    ("left, begun", "finished"),
    ("left, begun", "rebooted"),
    ("left, begun", "gone"),
    ("left, begun", "wiped"),
    ("left, begun", "left"),
    ("intended, plain", "finished"),
    ("intended, plain", "plain"),
    ("intended, reboot", "finished"),
];

/// What occurred so far.
#[derive(Default)]
struct Coverage {
    states: BTreeMap<(&'static str, &'static str), u64>,
    kinds: BTreeMap<(Kind, &'static str), u64>,
    events: BTreeMap<Met, u64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    // In memory where possible.
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .map_err(|error| error.to_string())?;
    if arguments.mutants {
        return mutants(arguments, directory.path());
    }
    if arguments.files.is_empty() {
        return fresh(arguments, directory.path());
    }
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for file in &arguments.files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let scenario = Scenario::read(&text)?;
        if arguments.crossings {
            let (plays, deadly) = at_every_crossing(&scenario, directory.path(), |_| {})?;
            let _ = writeln!(
                out,
                "{}: {plays} plays, {} break a rule",
                file.display(),
                deadly.len()
            );
            for deadly in &deadly {
                code = ExitCode::FAILURE;
                let _ = writeln!(out, "{:?}: {:?}", deadly.point, deadly.violations);
            }
            continue;
        }
        let report = play(&scenario, directory.path(), true)?;
        for line in &report.lines {
            // The reader may have closed the pipe.
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(out, "{}: {}", file.display(), words(&report));
        if report
            .violations
            .iter()
            .any(|violation| !scenario.known.contains(&violation.rule))
        {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn fresh(arguments: &Arguments, directory: &Path) -> Result<ExitCode, String> {
    let mut out = std::io::stdout().lock();
    let first = arguments.seed.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs() * 1_000_000)
    });
    let broken = if arguments.all { &[][..] } else { BROKEN };
    if arguments.print {
        let _ = write!(out, "{}", random(first, &kinds(first, broken)).text());
        return Ok(ExitCode::SUCCESS);
    }
    let _ = writeln!(out, "seeds start at {first}");
    let began = Instant::now();
    let end = Duration::try_from_secs_f64(arguments.minutes * 60.0).unwrap_or_default();
    let mut coverage = Coverage::default();
    let mut played = 0;
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    while began.elapsed() < end && arguments.count.is_none_or(|most| played < most) {
        let seed = first.wrapping_add(played);
        let about = kinds(seed, broken);
        let scenario = random(seed, &about);
        let report = play(&scenario, directory, false).map_err(|error| format!("seed {seed}: {error}"))?;
        played += 1;
        coverage.add(&about, &report);
        if played.is_multiple_of(64) && REPEATABLE {
            let again = play(&scenario, directory, false)?;
            if again.trace != report.trace {
                return Err(format!("seed {seed}: two plays differ"));
            }
        }
        let Some(violation) = report.violations.first() else {
            continue;
        };
        *failed.entry(format!("{:?}", violation.rule)).or_default() += 1;
        if arguments.keep_going && failed.values().sum::<u64>() > 20 {
            continue;
        }
        let small = shrink(&scenario, violation.rule, directory);
        let file = arguments.to.join(format!("broken-{seed}.yaml"));
        std::fs::write(&file, small.text()).map_err(|error| format!("{}: {error}", file.display()))?;
        let again = play(&small, directory, false)?;
        let _ = writeln!(
            out,
            "seed {seed} breaks {:?}; kinds {about:?}\n{}\n{}\nwritten to {}",
            violation.rule,
            small.text(),
            words(&again),
            file.display()
        );
        if !arguments.keep_going {
            return Ok(ExitCode::FAILURE);
        }
    }
    let took = began.elapsed().as_secs_f64();
    let _ = writeln!(
        out,
        "{played} scenarios in {took:.1} s, {:.0} a second",
        played as f64 / took
    );
    coverage.show(&mut out);
    let unmet = coverage.unmet();
    if played >= MEETS_WITHIN && !unmet.is_empty() {
        let _ = writeln!(out, "never met: {unmet:?}");
        return Ok(ExitCode::FAILURE);
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let _ = writeln!(out, "broken: {failed:?}");
    Ok(ExitCode::FAILURE)
}

/// The number of scenarios within which a check must detect a rule that is switched off.
const CAUGHT_WITHIN: u64 = 5000;

fn mutants(arguments: &Arguments, directory: &Path) -> Result<ExitCode, String> {
    let mut out = std::io::stdout().lock();
    let most = arguments.count.unwrap_or(CAUGHT_WITHIN);
    let first = arguments.seed.unwrap_or(1);
    let mut code = ExitCode::SUCCESS;
    let named = |rule: &reveille_history::Rule| format!("{rule:?}").contains(&arguments.rule);
    for rule in reveille_history::Rule::ALL.into_iter().filter(named) {
        reveille_history::switch_off(Some(rule));
        let mut caught = None;
        for played in 0..most {
            let seed = first.wrapping_add(played);
            let scenario = random(seed, &kinds(seed, &[]));
            let report =
                play(&scenario, directory, false).map_err(|error| format!("seed {seed}: {error}"))?;
            if let Some(violation) = report.violations.first() {
                caught = Some((played + 1, violation.rule));
                break;
            }
        }
        reveille_history::switch_off(None);
        let line = if let Some((played, broken)) = caught {
            format!("{rule:?}: breaks {broken:?} after {played} scenarios")
        } else {
            code = ExitCode::FAILURE;
            format!("{rule:?}: breaks nothing within {most} scenarios")
        };
        // The reader may have closed the pipe.
        let _ = writeln!(out, "{line}");
    }
    Ok(code)
}

fn words(report: &Report) -> String {
    if report.violations.is_empty() {
        return format!("every rule holds after {:.1} s", report.took.as_secs_f64());
    }
    let broken: Vec<String> = report
        .violations
        .iter()
        .map(|violation| {
            format!(
                "{:.3} {:?}: {}",
                violation.at.as_secs_f64(),
                violation.rule,
                violation.words
            )
        })
        .collect();
    broken.join("\n")
}

// === impl Coverage ===

impl Coverage {
    fn add(&mut self, about: &std::collections::BTreeSet<Kind>, report: &Report) {
        for met in &report.events_met {
            *self.events.entry(*met).or_default() += 1;
        }
        for (fault, state) in &report.met {
            *self.states.entry((fault, state)).or_default() += 1;
            for kind in about {
                *self.kinds.entry((*kind, fault)).or_default() += 1;
            }
        }
    }

    /// Prints in how many scenarios each fault met each attempt state, and together with which kinds.
    fn show(&self, out: &mut impl std::io::Write) {
        const STATES: [&str; 9] = [
            "none",
            "intended",
            "begun",
            "ended",
            "settled",
            "left",
            "intended, plain",
            "begun, plain",
            "ended, plain",
        ];
        let mut faults: Vec<&str> = self.states.keys().map(|(fault, _)| *fault).collect();
        faults.dedup();
        let _ = write!(out, "\n{:<18}", "fault meets");
        for state in STATES {
            let _ = write!(out, "{state:>16}");
        }
        for fault in &faults {
            let _ = write!(out, "\n{fault:<18}");
            for state in STATES {
                let count = self.states.get(&(*fault, state)).copied().unwrap_or_default();
                let _ = write!(out, "{count:>16}");
            }
        }
        let _ = write!(out, "\n\n{:<18}", "fault with");
        for fault in &faults {
            let _ = write!(out, "{:>9}", &fault[..fault.len().min(8)]);
        }
        for kind in Kind::ALL {
            let _ = write!(out, "\n{:<18}", format!("{kind:?}"));
            for fault in &faults {
                let count = self.kinds.get(&(kind, *fault)).copied().unwrap_or_default();
                let _ = write!(out, "{count:>9}");
            }
        }
        let _ = write!(out, "\n\n{:<18}{:<12}{:>9}", "attempt is", "and is", "times");
        for ((state, event), count) in &self.events {
            let _ = write!(out, "\n{state:<18}{event:<12}{count:>9}");
        }
        let _ = writeln!(out);
    }

    /// The possible pairs of attempt state and event that never occurred.
    fn unmet(&self) -> Vec<Met> {
        let met = |pair: &&Met| !self.events.contains_key(*pair);
        EVENTS.iter().filter(met).copied().collect()
    }
}
