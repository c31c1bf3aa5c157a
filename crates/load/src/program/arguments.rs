//! The command line: one definition for parsing, help and man pages.

mod examples;
mod import;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reveille_account::SourceError;
use reveille_text::{bounded, duration};

use super::problem::Problem;
use crate::engine::{Options, Source};
use crate::mask::named;
use crate::report::Summary;
use crate::scenario::{Given, MAX_FILE_BYTES, METHODS, Resolve, Scenario, Stage, Threshold, quantity};
use crate::target::Target;

#[derive(Debug, Parser)]
#[command(
    name = "reveille-load",
    version,
    propagate_version = true,
    about = "Load-test HTTP services: users or arrivals from a scenario file, or one URL",
    override_usage = "reveille-load [OPTIONS] <SCENARIO|URL>\n       reveille-load <COMMAND>",
    after_help = examples::PROGRAM,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Scenario file, or a URL for a quick test
    #[arg(value_name = "SCENARIO|URL")]
    what: Option<String>,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    pub(crate) scenario: ScenarioOptions,
    #[command(flatten)]
    url: UrlOptions,
    #[command(flatten)]
    pub(crate) outputs: OutputOptions,
}

/// How many users, and for how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadOptions {
    /// Number of users; overrides the stages [default for a URL: 10]
    #[arg(short = 'u', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    users: Option<u64>,
    /// Rate of arrivals, such as 500/s; overrides the stages
    ///
    /// An arrival starts an iteration at its time, whether or not earlier requests were answered (open model).
    #[arg(short = 'r', long, value_name = "RATE", value_parser = quantity::rate, conflicts_with = "users")]
    rate: Option<f64>,
    /// Duration of the test, with --users or --rate [default for a URL: 10s]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Increase the users or the rate from zero over TIME, before the duration
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ramp: Option<Duration>,
    /// Run at most N users at once with --rate [default: 1000]
    #[arg(long, value_name = "N", requires = "rate", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    max_users: Option<u64>,
    /// Number of threads of this process, or of each worker [default: one for each core; 1 in a worker]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), hide_short_help = true)]
    threads: Option<u16>,
    /// Number of worker processes; 0 runs the users in this process
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = clap::value_parser!(u16).range(0..=256),
        hide_short_help = true
    )]
    workers: u16,
    /// How long users may continue after the end before they are cut off
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse, hide_short_help = true)]
    grace: Duration,
    /// Reset the numbers, and nothing else, at the end of the first ramp (`ramp`) or after TIME; repeatable
    #[arg(long, value_name = "ramp|TIME", value_parser = ResetAfter::parse)]
    reset_after: Vec<ResetAfter>,
    /// Random seed
    #[arg(long, value_name = "N", hide_short_help = true)]
    seed: Option<u64>,
}

/// When numbers are reset.
#[derive(Debug, Clone, Copy)]
enum ResetAfter {
    Ramp,
    Time(Duration),
}

/// What of a scenario runs, and with which values.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scenario")]
pub(crate) struct ScenarioOptions {
    /// Set a variable; overrides `vars` of the scenario
    #[arg(short = 'e', long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// Run only classes and tasks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,
    /// Skip classes, tasks and a bootstrap with one of these tags
    #[arg(long, alias = "exclude-tags", value_name = "TAG", value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Add a threshold, such as `p99 < 500ms`; exit 6 if it is missed
    #[arg(long, value_name = "THRESHOLD")]
    threshold: Vec<String>,
    /// Connect to ADDRESS for HOST:PORT; overrides `resolve` of the scenario
    #[arg(
        long,
        value_name = "HOST:PORT:ADDRESS",
        value_parser = crate::scenario::resolve,
        hide_short_help = true
    )]
    resolve: Vec<Resolve>,
    /// Print what would be sent; send nothing
    #[arg(long, conflicts_with = "once")]
    pub(crate) plan: bool,
    /// Run each task once; print requests and answers
    #[arg(long)]
    pub(crate) once: bool,
    /// Print the JSON Schema of scenarios, for editors
    #[arg(long, hide_short_help = true)]
    pub(crate) schema: bool,
}

/// The request of a quick test.
#[derive(Debug, Args)]
#[command(next_help_heading = "Request to a URL")]
struct UrlOptions {
    /// Method [default: GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// Header; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Body
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Wait of a user between two requests
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Use HTTP/2, without TLS too
    #[arg(long)]
    http2: bool,
    /// Do not check TLS certificates
    #[arg(short = 'k', long)]
    insecure: bool,
}

/// What is reported, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Format of the result on standard output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the summary as JSON to FILE, for --baseline
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Compare the result with a saved summary
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a report with charts to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the thresholds as a JUnit report to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write a table of all tasks to FILE
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) csv: Option<PathBuf>,
    /// Write a sample each second, and the summary, as lines of JSON to FILE (- for standard output)
    #[arg(long, value_name = "FILE|-", hide_short_help = true)]
    pub(crate) events: Option<PathBuf>,
    /// Serve the numbers to Prometheus during the test
    #[arg(long, value_name = "ADDRESS:PORT", hide_short_help = true)]
    pub(crate) prometheus: Option<SocketAddr>,
    /// Do not show progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Format of the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON object
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run users for a conductor that sends commands over standard input
    #[command(hide = true)]
    Worker,
    /// Print a scenario made from a browser's recording or an API description
    #[command(after_help = examples::IMPORT)]
    Import(import::Import),
    /// Write man pages to a directory
    Man {
        /// The directory
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// The longest saved summary that is read, in bytes.
const MAX_SUMMARY: u64 = 64 << 20;

// === impl ResetAfter ===

impl ResetAfter {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "ramp" => Ok(Self::Ramp),
            time => duration::parse(time)
                .map(Self::Time)
                .map_err(|_| "write `ramp` or a time such as `30s`".to_owned()),
        }
    }
}

// === impl ScenarioOptions ===

impl ScenarioOptions {
    fn vars(&self) -> Result<BTreeMap<String, String>, Problem> {
        let pair = |text: &String| {
            text.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .ok_or_else(|| Problem::input(format!("`-e {text}` has no `=`; write `-e NAME=VALUE`")))
        };
        self.vars.iter().map(pair).collect()
    }
}

// === impl UrlOptions ===

impl UrlOptions {
    /// Refuses options that a scenario file sets itself.
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
            .iter()
            .filter_map(|(name, given)| given.then_some(*name))
            .collect();
        let are = match named[..] {
            [] => return Ok(()),
            [_] => "is",
            _ => "are",
        };
        Err(Problem::input(format!(
            "{} {are} for a URL only; a scenario file has keys for this",
            named.join(", ")
        )))
    }

    /// The text of a scenario with one request.
    fn scenario(&self, url: &str) -> Result<String, Problem> {
        let braces = |text: &str| text.replace("{{", "{{ '{{' }}");
        let mut headers = serde_json::Map::new();
        for header in &self.headers {
            // The message omits the header, which may be a secret.
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| Problem::input("a `-H` has no `:`; write `-H 'NAME: VALUE'`"))?;
            let name = name.trim().to_ascii_lowercase();
            if headers
                .insert(name.clone(), braces(value.trim()).into())
                .is_some()
            {
                return Err(Problem::input(format!("`-H` sets `{name}` twice")));
            }
        }
        let method = self.method.as_deref().unwrap_or("GET");
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
        if let Some(body) = &self.body {
            task.insert("body".into(), braces(body).into());
        }
        let mut scenario = serde_json::json!({
            "name": "quick",
            "http": {"version": if self.http2 { "2" } else { "auto" }, "verify": !self.insecure},
            "tasks": [task],
        });
        if let Some(wait) = self.wait {
            scenario["wait"] = format!("{}us", wait.as_micros()).into();
        }
        Ok(scenario.to_string())
    }
}

// === impl LoadOptions ===

impl LoadOptions {
    /// The stages that override those of the file.
    fn stages(&self, is_url: bool) -> Result<Option<Vec<Stage>>, Problem> {
        let users = self.users.or_else(|| is_url.then_some(10));
        let time = self
            .duration
            .or_else(|| is_url.then_some(Duration::from_secs(10)));
        let ramp = self.ramp.filter(|ramp| !ramp.is_zero());
        let (ramp, steady) = match (self.rate, users, time) {
            (Some(rate), _, Some(time)) => {
                let max_users = self.max_users.unwrap_or(1000);
                let arrive = |time, ramp| Stage::Arrive {
                    rate,
                    time,
                    ramp,
                    max_users,
                };
                (ramp.map(|ramp| arrive(ramp, true)), arrive(time, false))
            }
            (None, Some(to), Some(time)) => (
                ramp.map(|over| Stage::Ramp { to, over }),
                Stage::Users { users: to, time },
            ),
            (None, None, None) if self.ramp.is_some() => {
                return Err(Problem::input(
                    "`--ramp` needs `--users N --duration TIME` or `--rate R --duration TIME`; without them the stages of \
                     the scenario run",
                ));
            }
            (None, None, None) => return Ok(None),
            (_, _, None) => return Err(Problem::input("add the duration of the test: `--duration 1m`")),
            (None, None, Some(_)) => {
                return Err(Problem::input("`--duration` needs `--users N` or `--rate R`"));
            }
        };
        Ok(Some(ramp.into_iter().chain([steady]).collect()))
    }
}

// === impl Arguments ===

impl Arguments {
    pub(crate) fn json(&self) -> bool {
        self.outputs.format == Format::Json
    }

    /// Whether events go to standard output.
    pub(crate) fn prints_events(&self) -> bool {
        self.outputs.events.as_deref() == Some(Path::new("-"))
    }

    /// The scenario, and what workers need to read it.
    pub(crate) fn scenario(&self) -> Result<(Scenario, Source), Problem> {
        let what = self
            .what
            .as_deref()
            .ok_or_else(|| Problem::input("name what to test: a scenario file or a URL"))?;
        let is_url = Target::is_absolute(what);
        let (file, text) = if is_url {
            ("URL".to_owned(), self.url.scenario(what)?)
        } else {
            self.url.refuse()?;
            let text = bounded::text(Path::new(what), MAX_FILE_BYTES as u64).map_err(|error| {
                Problem::input(format!(
                    "can't read {what}: {error}\n  hint: for a quick test of a URL, write `http://…` or `https://…`"
                ))
            })?;
            (what.to_owned(), text)
        };
        let options = &self.scenario;
        let given = Given {
            vars: options.vars()?,
            env: crate::environment(),
            tags: options.tags.clone(),
            skip_tags: options.skip_tags.clone(),
            directory: Path::new(&file).parent().map(Path::to_owned).unwrap_or_default(),
            stages: self.load.stages(is_url)?,
            resolve: options.resolve.clone(),
        };
        let mut scenario = Scenario::parse(&text, &file, &given).map_err(|mistakes| {
            // The user did not write the text for a URL, so its lines mean nothing to them.
            let shown = |mistake: &SourceError| {
                if is_url {
                    mistake.message.clone()
                } else {
                    mistake.to_string()
                }
            };
            Problem::input(mistakes.iter().map(shown).collect::<Vec<_>>().join("\n\n"))
        })?;
        for text in &options.threshold {
            let wrong = |message| Problem::input(format!("`--threshold {text}`: {message}"));
            let threshold = Threshold::parse(text).map_err(wrong)?;
            threshold
                .fits(&scenario.rows)
                .map_err(|(message, hint)| wrong(format!("{message}\n  hint: {hint}")))?;
            scenario.thresholds.push(threshold);
        }
        if is_url {
            scenario.name = named(what);
        }
        Ok((scenario, Source { file, text, given }))
    }

    pub(crate) fn options(&self, scenario: &Scenario, source: Source) -> Result<Options, Problem> {
        let load = &self.load;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let schedule = scenario.schedule();
        let reset_at = load.reset_after.iter().map(|when| match when {
            ResetAfter::Ramp if schedule.ramp_end().is_zero() => Err(Problem::input(
                "`--reset-after ramp`: the first stage is not a ramp",
            )),
            ResetAfter::Ramp => Ok(schedule.ramp_end()),
            ResetAfter::Time(at) if *at >= schedule.length() => Err(Problem::input(format!(
                "`--reset-after {}`: the stages end after {}",
                duration::shown(*at),
                duration::shown(schedule.length())
            ))),
            ResetAfter::Time(at) => Ok(*at),
        });
        Ok(Options {
            threads: load
                .threads
                .map_or(if load.workers > 0 { 1 } else { cores }, usize::from),
            workers: load.workers.into(),
            grace: load.grace,
            reset_at: reset_at.collect::<Result<_, _>>()?,
            seed: load.seed.unwrap_or_else(|| fastrand::u64(..)),
            source,
        })
    }

    /// The saved summary to compare with.
    pub(crate) fn baseline(&self) -> Result<Option<Summary>, Problem> {
        let Some(path) = &self.outputs.baseline else {
            return Ok(None);
        };
        if self.json() {
            return Err(Problem::input(
                "`--baseline` prints a comparison for people; omit `--format json`",
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_option_has_a_sentence_and_a_heading() {
        let mut program = Arguments::command().term_width(1000);
        program.build();
        let help = program.render_long_help().to_string();
        let theirs = ["help", "version", "what"];
        for option in program.get_arguments() {
            let name = option.get_id().as_str();
            let sentence = option.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                !sentence.is_empty() && !sentence.ends_with('.'),
                "{name}: {sentence:?}"
            );
            if !theirs.contains(&name) {
                assert!(help.contains(&sentence), "{name} is not in the help");
                assert!(option.get_help_heading().is_some(), "{name} has no heading");
            }
        }
    }

    /// Short and long help at the widths of narrow, usual and wide terminals.
    #[test]
    fn help_reads_well() {
        for width in [60, 80, 120] {
            let mut program = Arguments::command().term_width(width);
            program.build();
            let mut text = format!(
                "$ reveille-load -h\n{}\n$ reveille-load --help\n{}",
                program.render_help(),
                program.render_long_help()
            );
            for name in ["import", "man"] {
                let command = program.find_subcommand_mut(name).expect(name);
                text += &format!("\n$ reveille-load {name} --help\n{}", command.render_long_help());
            }
            insta::assert_snapshot!(format!("help-{width}"), text);
        }
    }
}
