//! The command line.

mod import;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reveille_account::SourceError;
use reveille_text::{bounded, duration};

use super::Problem;
use crate::engine::{Options, Source};
use crate::mask::named;
use crate::report::Summary;
use crate::scenario::{Given, MAX_FILE_BYTES, METHODS, Resolve, Scenario, Stage, Threshold, quantity};

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Parser)]
#[command(
    name = "reveille-load",
    version,
    about = "HTTP load testing: scenarios in a file, statistics that can't be misread",
    after_help = "Exit status: 0 all marks were reached, 1 internal error, 2 bad input (nothing was sent), 3 nothing was \
                  answered, 5 interrupted, 6 a mark was missed.\n\
                  HTTP only: no gRPC, no WebSocket.",
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) order: Option<Order>,
    /// A scenario file, or one URL for a quick test
    #[arg(value_name = "SCENARIO|URL")]
    what: Option<String>,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    quick: QuickOptions,
    /// Give a var of the scenario a value
    #[arg(short = 'e', long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// Find HOST:PORT at another address, besides what the scenario says; repeatable
    #[arg(long, value_name = "HOST:PORT:ADDRESS", value_parser = crate::scenario::resolve)]
    resolve: Vec<Resolve>,
    /// Only classes and tasks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,
    /// Nothing with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    exclude_tags: Vec<String>,
    /// A mark to reach besides the scenario's, such as `p99 < 500ms`
    #[arg(long, value_name = "MARK")]
    threshold: Vec<String>,
    /// Show the expanded scenario and its first requests; send nothing
    #[arg(long, conflicts_with = "once")]
    pub(crate) plan: bool,
    /// Run each task once and show requests and answers
    #[arg(long)]
    pub(crate) once: bool,
    /// Print the JSON Schema of scenarios
    #[arg(long)]
    pub(crate) schema: bool,
    #[command(flatten)]
    pub(crate) outputs: OutputOptions,
    /// No progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How much, how long, from where.
#[derive(Debug, Args)]
struct LoadOptions {
    /// So many users instead of the scenario's stages [default for a URL: 10]
    #[arg(short = 'u', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    users: Option<u64>,
    /// Arrivals instead of users: `500/s`
    #[arg(short = 'r', long, value_name = "RATE", value_parser = quantity::rate, conflicts_with = "users")]
    rate: Option<f64>,
    /// How long [default for a URL: 10s]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Users come one by one over this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ramp: Option<Duration>,
    /// The most users at once of arrivals [default: 1000]
    #[arg(long, value_name = "N", requires = "rate", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    max_users: Option<u64>,
    /// Threads that carry users, in this process or in each worker [default: one a core, one in a worker]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Worker processes that carry the users
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    workers: u16,
    /// How long users may take to end before they are cut off
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    grace: Duration,
    /// Zero the numbers, and nothing else, after `ramp` or after a time; repeatable
    #[arg(long, value_name = "WHEN", value_parser = ResetAfter::parse)]
    reset_after: Vec<ResetAfter>,
    /// Makes what is random the same again
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// When numbers are zeroed.
#[derive(Debug, Clone, Copy)]
enum ResetAfter {
    Ramp,
    Time(Duration),
}

/// A quick test of one URL.
#[derive(Debug, Args)]
struct QuickOptions {
    /// The method for a URL [default: GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// A header for a URL
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A body for a URL
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// The wait between two requests of a user, for a URL
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// HTTP/2 for a URL
    #[arg(long)]
    http2: bool,
    /// Do not check certificates, for a URL
    #[arg(short = 'k', long)]
    insecure: bool,
}

/// Where numbers go.
#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// What standard output gets at the end
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// A sample a second and the summary, as NDJSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// The summary as JSON, for `--baseline` of a later test
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// A table of all tasks
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// The marks as JUnit
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// A report with charts in one file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Serve numbers for Prometheus while the test runs
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) prometheus: Option<SocketAddr>,
    /// Compare with the saved summary of an earlier test
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Carry users for a conductor that speaks over standard input
    #[command(hide = true)]
    Worker,
    /// Make a scenario from something else
    Import(import::Import),
}

/// The most that is read of a saved summary.
const MAX_SUMMARY: u64 = 64 << 20;

// === impl ResetAfter ===

impl ResetAfter {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "ramp" => Ok(Self::Ramp),
            time => duration::parse(time)
                .map(Self::Time)
                .map_err(|_| "write `ramp`, or a time such as `30s`".to_owned()),
        }
    }
}

// === impl QuickOptions ===

impl QuickOptions {
    /// A scenario file says all this itself.
    fn refuse(&self) -> Result<(), Problem> {
        let given = [
            ("--method", self.method.is_some()),
            ("--header", !self.headers.is_empty()),
            ("--body", self.body.is_some()),
            ("--wait", self.wait.is_some()),
            ("--http2", self.http2),
            ("--insecure", self.insecure),
        ];
        let named: Vec<&str> = given
            .into_iter()
            .filter_map(|(name, given)| given.then_some(name))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        Err(Problem::input(format!(
            "{} for a URL only; a scenario file says that itself",
            match named[..] {
                [one] => format!("{one} is"),
                _ => format!("{} are", named.join(", ")),
            }
        )))
    }
}

// === impl Arguments ===

impl Arguments {
    pub(crate) fn json(&self) -> bool {
        self.outputs.format == Format::Json
    }

    /// Standard output has events.
    pub(crate) fn tells_events_there(&self) -> bool {
        self.outputs
            .events
            .as_deref()
            .is_some_and(|path| path == Path::new("-"))
    }

    /// The scenario, and how it was read.
    pub(crate) fn scenario(&self) -> Result<(Scenario, Source), Problem> {
        let what = self
            .what
            .as_deref()
            .ok_or_else(|| Problem::input("say what to test: a scenario file, or a URL"))?;
        let is_url = crate::engine::Target::is_absolute(what);
        if !is_url {
            self.quick.refuse()?;
        }
        let (file, text) = if is_url {
            ("URL".to_owned(), self.quick_scenario(what)?)
        } else {
            let text = bounded::text(Path::new(what), MAX_FILE_BYTES as u64).map_err(|error| {
                Problem::input(format!(
                    "can't read {what}: {error}\n  hint: for a quick test of one URL write `http://…` or `https://…`"
                ))
            })?;
            (what.to_owned(), text)
        };
        let given = Given {
            vars: self.given_vars()?,
            env: crate::environment(),
            tags: self.tags.clone(),
            exclude_tags: self.exclude_tags.clone(),
            directory: Path::new(&file).parent().map(Path::to_owned).unwrap_or_default(),
            stages: self.stages(is_url)?,
            resolve: self.resolve.clone(),
        };
        let mut scenario = Scenario::parse(&text, &file, &given).map_err(|mistakes| {
            // Places in a text that nobody wrote help nobody.
            let shown = |mistake: &SourceError| {
                if is_url {
                    mistake.message.clone()
                } else {
                    mistake.to_string()
                }
            };
            Problem::input(mistakes.iter().map(shown).collect::<Vec<_>>().join("\n\n"))
        })?;
        for mark in &self.threshold {
            let parsed = Threshold::parse(mark)
                .map_err(|message| Problem::input(format!("`--threshold {mark}`: {message}")))?;
            parsed.fits(&scenario.rows).map_err(|(message, hint)| {
                Problem::input(format!("`--threshold {mark}`: {message}\n  hint: {hint}"))
            })?;
            scenario.thresholds.push(parsed);
        }
        if is_url {
            scenario.name = named(what);
        }
        Ok((scenario, Source { file, text, given }))
    }

    fn given_vars(&self) -> Result<BTreeMap<String, String>, Problem> {
        self.vars
            .iter()
            .map(|pair| {
                pair.split_once('=')
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .ok_or_else(|| Problem::input(format!("`-e {pair}` has no `=`; write `-e NAME=VALUE`")))
            })
            .collect()
    }

    /// One URL as the text of a scenario.
    fn quick_scenario(&self, url: &str) -> Result<String, Problem> {
        let quick = &self.quick;
        let braces = |text: &str| text.replace("{{", "{{ '{{' }}");
        let mut headers = serde_json::Map::new();
        for header in &quick.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                // Not what was given: it may be a secret.
                Problem::input("a `-H` has no `:`; write `-H 'NAME: VALUE'`")
            })?;
            let name = name.trim().to_ascii_lowercase();
            let before = headers.insert(name.clone(), braces(value.trim()).into());
            if before.is_some() {
                return Err(Problem::input(format!("`-H` gives `{name}` twice")));
            }
        }
        let method = quick.method.as_deref().unwrap_or("GET");
        let (method, shown) = (method.to_ascii_lowercase(), method.to_ascii_uppercase());
        if !METHODS.contains(&&*method) {
            return Err(Problem::input(format!(
                "`-X {shown}`: the methods are {}",
                METHODS.join(", ").to_ascii_uppercase()
            )));
        }
        let mut task = serde_json::Map::new();
        task.insert(method, braces(url).into());
        task.insert("name".into(), named(&format!("{shown} {url}")).into());
        if !headers.is_empty() {
            task.insert("headers".into(), headers.into());
        }
        if let Some(body) = &quick.body {
            task.insert("body".into(), braces(body).into());
        }
        let mut scenario = serde_json::json!({
            "name": "quick",
            "http": {"version": if quick.http2 { "2" } else { "auto" }, "verify": !quick.insecure},
            "tasks": [task],
        });
        if let Some(wait) = quick.wait {
            scenario["wait"] = format!("{}us", wait.as_micros()).into();
        }
        Ok(scenario.to_string())
    }

    fn stages(&self, is_url: bool) -> Result<Option<Vec<Stage>>, Problem> {
        let load = &self.load;
        let duration = load
            .duration
            .or_else(|| is_url.then_some(Duration::from_secs(10)));
        let users = load.users.or_else(|| is_url.then_some(10));
        let ramp = load.ramp.unwrap_or(Duration::ZERO);
        let mut stages = Vec::new();
        match (load.rate, users, duration) {
            (Some(rate), _, Some(time)) => {
                let max_users = load.max_users.unwrap_or(1000);
                if !ramp.is_zero() {
                    stages.push(Stage::Arrive {
                        rate,
                        time: ramp,
                        ramp: true,
                        max_users,
                    });
                }
                stages.push(Stage::Arrive {
                    rate,
                    time,
                    ramp: false,
                    max_users,
                });
            }
            (None, Some(users), Some(time)) => {
                if !ramp.is_zero() {
                    stages.push(Stage::Ramp {
                        to: users,
                        over: ramp,
                    });
                }
                stages.push(Stage::Users { users, time });
            }
            (None, None, None) if load.ramp.is_some() => {
                return Err(Problem::input(
                    "`--ramp` goes with `--users N --duration TIME`, or `--rate R --duration TIME`; the scenario has stages of its own",
                ));
            }
            (None, None, None) => return Ok(None),
            (_, _, None) => return Err(Problem::input("say how long: `--duration 1m`")),
            (None, None, Some(_)) => {
                return Err(Problem::input("`--duration` goes with `--users N` or `--rate R`"));
            }
        }
        Ok(Some(stages))
    }

    pub(crate) fn options(&self, scenario: &Scenario, source: Source) -> Result<Options, Problem> {
        let load = &self.load;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let schedule = scenario.schedule();
        let (mut reset_at, mut reset_after_ramp) = (Vec::new(), false);
        for when in &load.reset_after {
            match when {
                ResetAfter::Ramp if schedule.ramp_end().is_zero() => {
                    return Err(Problem::input("`--reset-after ramp`: no stage is a ramp"));
                }
                ResetAfter::Ramp => reset_after_ramp = true,
                ResetAfter::Time(at) if *at >= schedule.length() => {
                    return Err(Problem::input(format!(
                        "`--reset-after {}`: the stages are over after {}",
                        duration::shown(*at),
                        duration::shown(schedule.length())
                    )));
                }
                ResetAfter::Time(at) => reset_at.push(*at),
            }
        }
        Ok(Options {
            threads: load
                .threads
                .map_or(if load.workers > 0 { 1 } else { cores }, usize::from),
            workers: load.workers.into(),
            grace: load.grace,
            reset_after_ramp,
            reset_at,
            seed: load.seed.unwrap_or_else(|| fastrand::u64(..)),
            source,
        })
    }

    /// An earlier test to compare with.
    pub(crate) fn baseline(&self) -> Result<Option<Summary>, Problem> {
        let Some(path) = &self.outputs.baseline else {
            return Ok(None);
        };
        if self.json() {
            return Err(Problem::input(
                "`--baseline` compares for people; leave out `--format json`",
            ));
        }
        let wrong = |error: &dyn std::fmt::Display| {
            Problem::input(format!("can't compare with {}: {error}", path.display()))
        };
        let text = bounded::text(path, MAX_SUMMARY).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| wrong(&error))
    }
}
