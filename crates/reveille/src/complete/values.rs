//! The values of arguments: runs, hosts, classes, tags, steps, faults, job files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use reveille_account::{Class, HostName, RunId, RunState, Status};
use reveille_drill::FaultKind;
use reveille_fleet::RunRecipe;
use reveille_job::Job;
use reveille_ledger::{Ledger, RunLine};
use reveille_text::{counted, duration, harmless};

use super::line::Line;
use super::pattern::{Names, last_name};

/// Values of one word that a shell is given.
const MAX_VALUES: usize = 200;
/// The help of a value that is the beginning of names.
pub(super) const GOES_ON: &str = "more names begin with this";
/// Hosts that completions look through.
const MAX_HOSTS: usize = 100_000;
/// The newest runs that completions look through.
const MAX_RUNS: usize = 2000;
/// Runs that follow hosts where either may stand.
const RUNS_AFTER_HOSTS: usize = 20;

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Run,
    OpenRun,
    RunOrHost,
    Hosts,
    Pattern,
    Class,
    CountOfClass,
    StatusOrClass,
    Tag,
    StepOfJob,
    StepOfRun,
    Fault,
    JobFile,
    Path,
}

// === impl Kind ===

impl Kind {
    /// What an argument of a command names, if it is one of these.
    pub(super) fn of(command: &str, argument: &str) -> Option<Self> {
        Some(match argument {
            "run" if command == "resume" => Self::OpenRun,
            "run" => Self::Run,
            "what" => Self::RunOrHost,
            "host_list" => Self::Hosts,
            "limit" | "why" => Self::Pattern,
            "class" => Self::Class,
            "allow_class" => Self::CountOfClass,
            "only" => Self::StatusOrClass,
            "tags" | "skip_tags" => Self::Tag,
            "start_at" => Self::StepOfJob,
            "step" => Self::StepOfRun,
            "faults" => Self::Fault,
            "job" => Self::JobFile,
            "inventory" | "vault_password_file" => Self::Path,
            _ => return None,
        })
    }
}

/// The values that begin with what is typed.
pub(super) fn of(kind: Kind, typed: &str, line: &Line) -> Vec<CompletionCandidate> {
    let mut values = match kind {
        Kind::Run => runs_alone(line, typed, |_| true),
        Kind::OpenRun => runs_alone(line, typed, |run| run.state != RunState::Closed),
        Kind::RunOrHost => runs_and_hosts(line, typed),
        Kind::Hosts => names(line, typed, Names::List),
        Kind::Pattern => names(line, typed, Names::Pattern),
        Kind::Class => classes(typed, ""),
        Kind::CountOfClass => classes(typed, "="),
        Kind::StatusOrClass => outcomes(typed),
        Kind::Tag => tags(line, typed),
        Kind::StepOfJob => {
            let job = line.job();
            let steps = job.iter().flat_map(Job::main_steps);
            some(steps.map(|step| (step.name.clone(), "")), typed)
        }
        Kind::StepOfRun => some(steps_of_run(line).into_iter().map(|name| (name, "")), typed),
        Kind::Fault => faults(typed),
        Kind::Path => PathCompleter::any().complete(OsStr::new(typed)),
        Kind::JobFile => {
            let is_job = |path: &std::path::Path| {
                path.extension()
                    .is_some_and(|extension| extension == "yaml" || extension == "yml")
            };
            PathCompleter::any().filter(is_job).complete(OsStr::new(typed))
        }
    };
    values.truncate(MAX_VALUES);
    values
}

/// The values that begin with what is typed, each with its help.
fn some<H: Into<String>>(
    values: impl IntoIterator<Item = (String, H)>,
    typed: &str,
) -> Vec<CompletionCandidate> {
    let fitting = values.into_iter().filter(|(value, _)| value.starts_with(typed));
    fitting
        .take(MAX_VALUES)
        .map(|(value, help)| {
            let help: String = help.into();
            CompletionCandidate::new(value).help((!help.is_empty()).then(|| help.into()))
        })
        .collect()
}

/// `last`, then the newest runs.
fn runs(line: &Line, typed: &str, fits: impl Fn(&RunLine) -> bool) -> Vec<CompletionCandidate> {
    let runs = line
        .ledger()
        .and_then(|ledger| ledger.newest_runs(MAX_RUNS).ok())
        .unwrap_or_default();
    let newest = runs
        .first()
        .filter(|run| fits(run))
        .map(|run| ("last".to_owned(), described(run)));
    let all = runs.iter().filter(|run| fits(run));
    some(
        newest
            .into_iter()
            .chain(all.map(|run| (run.run.to_string(), described(run)))),
        typed,
    )
}

/// Runs, also as `@last` and `@RUN`.
fn runs_alone(line: &Line, typed: &str, fits: impl Fn(&RunLine) -> bool) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.strip_prefix('@') else {
        return runs(line, typed, fits);
    };
    let found = runs(line, typed, fits).into_iter();
    found.map(|candidate| candidate.add_prefix("@")).collect()
}

/// `run deploy-app, closed, 2h ago`
fn described(line: &RunLine) -> String {
    let state = match line.state {
        RunState::Open => "open",
        RunState::Interrupted => "interrupted",
        RunState::Closed => "closed",
    };
    let name = harmless::shortened(&harmless::line(line.name.as_deref().unwrap_or_default()), 40);
    let blank = if name.is_empty() { "" } else { " " };
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let seconds = now.saturating_sub(line.started_ms) / 1000;
    let unit = [86_400, 3600, 60]
        .into_iter()
        .find(|unit| seconds >= *unit)
        .unwrap_or(1);
    let age = duration::shown(Duration::from_secs(seconds / unit * unit));
    format!("{}{blank}{name}, {state}, {age} ago", line.kind.as_str())
}

/// For `logs [RUN] HOST…`: hosts of the run that is named, or of the last one and then runs.
fn runs_and_hosts(line: &Line, typed: &str) -> Vec<CompletionCandidate> {
    let Some(ledger) = line.ledger() else {
        return Vec::new();
    };
    let named = line.texts("what");
    let run = named_run(&ledger, named.first());
    let hosts = run.and_then(|run| ledger.hosts_that_begin(run, typed, MAX_HOSTS).ok());
    let hosts = hosts.unwrap_or_default();
    let mut values = hosts_that_begin(hosts.iter().map(HostName::as_str), typed);
    if named.is_empty() {
        values.truncate(MAX_VALUES - RUNS_AFTER_HOSTS);
        values.extend(runs(line, typed, |_| true).into_iter().take(RUNS_AFTER_HOSTS));
    }
    values
}

/// The hosts that begin with what is typed. If there are too many, how their names go on: a shell inserts what all its
/// values have in common, which of a part of the hosts would be too much.
fn hosts_that_begin<'h>(hosts: impl Iterator<Item = &'h str>, typed: &str) -> Vec<CompletionCandidate> {
    let fitting: Vec<&str> = hosts.filter(|host| host.starts_with(typed)).collect();
    if fitting.len() <= MAX_VALUES {
        return fitting.into_iter().map(CompletionCandidate::new).collect();
    }
    let common = fitting.iter().fold(fitting[0], |common, host| {
        let same = common.char_indices().zip(host.chars());
        let end = same
            .take_while(|((_, one), other)| one == other)
            .last()
            .map_or(0, |((at, one), _)| at + one.len_utf8());
        &common[..end]
    });
    let next = |host: &&str| host[common.len()..].chars().next().map_or(0, char::len_utf8);
    let beginnings: BTreeSet<&str> = fitting
        .iter()
        .map(|host| &host[..common.len() + next(host)])
        .collect();
    beginnings
        .into_iter()
        .take(MAX_VALUES)
        .map(|beginning| CompletionCandidate::new(beginning).help(Some(GOES_ON.into())))
        .collect()
}

/// The run that a word names, or the newest.
fn named_run(ledger: &Ledger, word: Option<&String>) -> Option<RunId> {
    let named = word.and_then(|word| ledger.resolve_run(word).ok());
    named.or_else(|| ledger.resolve_run("last").ok())
}

fn steps_of_run(line: &Line) -> Vec<String> {
    let steps = || {
        let ledger = line.ledger()?;
        let run = named_run(&ledger, line.texts("what").first())?;
        let recipe = RunRecipe::restore(&ledger.run(run).ok()?).ok()?;
        Some(recipe.job.steps.iter().map(|step| step.name.clone()).collect())
    };
    steps().unwrap_or_default()
}

/// Hosts, and in patterns groups and the hosts of runs, after what is typed before the last name.
fn names(line: &Line, typed: &str, names: Names) -> Vec<CompletionCandidate> {
    let (before, name) = typed.split_at(last_name(typed, names));
    let found = if names == Names::Pattern && name.starts_with('@') {
        hosts_of_runs(line, name)
    } else {
        let Some(inventory) = line.inventory() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if names == Names::Pattern {
            let groups = inventory
                .groups()
                .into_iter()
                .filter(|(_, hosts)| !hosts.is_empty());
            let groups = groups.map(|(group, hosts)| {
                (
                    group.to_owned(),
                    format!("group of {}", counted(hosts.len(), "host")),
                )
            });
            found = some(groups, name);
        }
        let hosts = inventory.hosts().take(MAX_HOSTS);
        found.extend(hosts_that_begin(hosts.map(HostName::as_str), name));
        if names == Names::Pattern && (name.is_empty() || found.is_empty()) && "@last:".starts_with(name) {
            found.truncate(MAX_VALUES - 1);
            found.push(CompletionCandidate::new("@last:").help(Some("hosts of the last run".into())));
        }
        found
    };
    found
        .into_iter()
        .map(|candidate| candidate.add_prefix(before))
        .collect()
}

/// `@last:failed`, `@RUN:CLASS`, `@FILE`.
fn hosts_of_runs(line: &Line, name: &str) -> Vec<CompletionCandidate> {
    if let Some((run, outcome)) = name.split_once(':') {
        let outcomes = outcomes(outcome).into_iter();
        return outcomes
            .map(|candidate| candidate.add_prefix(format!("{run}:")))
            .collect();
    }
    let typed = &name[1..];
    let runs = runs(line, typed, |_| true).into_iter();
    let mut values: Vec<CompletionCandidate> = runs
        .map(|candidate| {
            let value = format!("{}:", candidate.get_value().to_string_lossy());
            CompletionCandidate::new(value).help(candidate.get_help().cloned())
        })
        .collect();
    if !typed.is_empty() {
        values.extend(PathCompleter::any().complete(OsStr::new(typed)));
    }
    values
        .into_iter()
        .map(|candidate| candidate.add_prefix("@"))
        .collect()
}

fn classes(typed: &str, end: &str) -> Vec<CompletionCandidate> {
    some(
        Class::ALL
            .iter()
            .map(|class| (format!("{class}{end}"), class.meaning())),
        typed,
    )
}

/// Statuses, then classes.
fn outcomes(typed: &str) -> Vec<CompletionCandidate> {
    let statuses = [
        Status::Success,
        Status::Failed,
        Status::Quarantined,
        Status::Cancelled,
        Status::Ghost,
    ];
    let statuses = statuses.map(|status| (status.as_str().to_owned(), "status"));
    let mut values = some(statuses, typed);
    values.extend(classes(typed, ""));
    values
}

fn tags(line: &Line, typed: &str) -> Vec<CompletionCandidate> {
    let job = line.job();
    let tags: BTreeSet<String> = job
        .iter()
        .flat_map(|job| &job.steps)
        .flat_map(|step| step.tags.clone())
        .collect();
    some(tags.into_iter().map(|tag| (tag, "")), typed)
}

fn faults(typed: &str) -> Vec<CompletionCandidate> {
    let all = [
        ("all=".to_owned(), "every kind"),
        ("none".to_owned(), "no faults"),
    ];
    let kinds = FaultKind::all().map(|kind| (format!("{kind}="), kind.meaning()));
    some(kinds.chain(all), typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hosts: &[String], typed: &str) -> Vec<String> {
        let values = hosts_that_begin(hosts.iter().map(String::as_str), typed);
        let values = values
            .iter()
            .map(|value| value.get_value().to_string_lossy().into_owned());
        values.collect()
    }

    #[test]
    fn of_too_many_hosts_the_ways_to_go_on_are_shown() {
        let hosts: Vec<String> = (1..=10_000).map(|number| format!("host{number:05}")).collect();
        assert_eq!(shown(&hosts, "ho"), ["host0", "host1"]);
        let next: Vec<String> = (0..10).map(|digit| format!("host0{digit}")).collect();
        assert_eq!(shown(&hosts, "host0"), next);
        assert_eq!(shown(&hosts, "host1"), ["host10000"]);
        assert_eq!(shown(&hosts, "host0123").len(), 10);
        let mut hosts = hosts;
        hosts.push("host".to_owned());
        assert_eq!(shown(&hosts, "h"), ["host", "host0", "host1"]);
    }
}
