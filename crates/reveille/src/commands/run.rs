//! `reveille run`: runs a job, step by step, on the selected hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reveille_account::{Exit, HostName};
use reveille_fleet::{Preview, RunRecipe, Typed};
use reveille_job::{Becoming, Extra, Job, MAX_FILE_BYTES, Scope, Selection, Shared, Step, Unused};
use reveille_ledger::RunKind;
use reveille_text::bounded;
use serde_json::Value;

use crate::choose::{Chosen, delegates, reach};
use crate::cli::{Globals, RunArgs};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::options::run_options;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(args: &RunArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let mut options = run_options(Some(&args.on.reach), &args.on.pacing, !args.stream)?;
    options.typed = typed()?;
    options.preview = Preview {
        check: args.check,
        diff: args.diff,
    };
    let extra = variables(&args.vars)?;
    let mut job = read_job(&args.job, extra.values)?;
    let selection = Selection {
        tags: args.tags.clone(),
        skip_tags: args.skip_tags.clone(),
        start_at: args.start_at.clone(),
    };
    job.select(&selection).map_err(Failure::usage)?;
    let mut chosen = reach(
        &args.on.reach,
        job.hosts.as_deref(),
        &mut options,
        globals,
        printer,
    )?;
    let groups = chosen.groups();
    let shared = Shared::new("RUN", groups.clone(), job.environment());
    expand(&mut job, &chosen, &shared)?;
    let mut elsewhere = BTreeSet::new();
    if job.steps.iter().any(Step::runs_elsewhere) {
        for (name, _) in &chosen.hosts {
            let vars = chosen.inventory.template_vars(name.as_str());
            let names = job.delegates(&Scope::new(name.as_str(), &vars, &shared));
            elsewhere.extend(names.map_err(|mistake| Failure::Mistakes(vec![mistake]))?);
        }
    }
    delegates(elsewhere, &args.on.reach, &mut chosen, &mut options, printer)?;
    let (hosts, passwords) = chosen.with_vars();
    let scopes = hosts
        .iter()
        .map(|host| Scope::new(host.name.as_str(), &host.vars, &shared).hiding(&host.unrecorded));
    let mistakes = job.check_all(scopes.clone());
    if !mistakes.is_empty() {
        return Err(Failure::Mistakes(mistakes));
    }
    let missing = job.needed_files_missing();
    if !missing.is_empty() {
        return Err(Failure::usage(missing.join("\n       ")));
    }
    for unused in job.unused(&extra.typed, scopes.clone()) {
        warn_of(&unused, printer);
    }
    if args.plan {
        let reports = ["format", "junit", "events", "export-to", "notify"];
        if let Some(option) = args.on.reach.origins.on_the_command_line(&reports) {
            return Err(Failure::usage(format!(
                "--{option} has no effect with --plan, which runs nothing and prints text"
            )));
        }
        for (host, scope) in hosts.iter().zip(scopes) {
            let becoming = |name: &str| {
                let other = options.delegates.get(&HostName::from(name));
                let way = other.filter(|_| name != host.name.as_str()).unwrap_or(&host.way);
                Becoming {
                    always: way.escalate.clone(),
                    on_request: way.becomes.clone(),
                }
            };
            let plan = job
                .plan(&scope, becoming)
                .map_err(|mistake| Failure::Mistakes(vec![mistake]))?;
            printer.data(plan.trim_end())?;
        }
        return Ok(Exit::Success);
    }
    let request = Request {
        recipe: RunRecipe {
            kind: if args.check { RunKind::Check } else { RunKind::Run },
            job,
            options,
            groups,
            seed: launch::seed(),
            comment: args.on.pacing.comment.clone(),
        },
        hosts,
        passwords,
        input: None,
        state_dir: state::directory(globals)?,
    };
    launch::start(request, &args.on.report, printer)
}

/// Repeats the steps with `loop` for the hosts.
fn expand(job: &mut Job, chosen: &Chosen, shared: &Shared) -> Result<(), Failure> {
    if !job.has_loops() {
        return Ok(());
    }
    let names = chosen.hosts.iter().map(|(name, _)| name.as_str());
    let hosts: Vec<_> = names
        .map(|name| {
            let inventory = &chosen.inventory;
            (name, inventory.template_vars(name), inventory.vault_vars(name))
        })
        .collect();
    let scopes = hosts
        .iter()
        .map(|(name, vars, hidden)| Scope::new(name, vars, shared).hiding(hidden));
    job.expand(&scopes).map_err(Failure::Mistakes)
}

/// The command line of this process, without `--notify`, whose command may contain a token.
fn typed() -> Result<Option<Typed>, Failure> {
    // A directory that is gone can't be suggested either.
    let Ok(directory) = std::env::current_dir() else {
        return Ok(None);
    };
    if directory.to_str().is_none() {
        return Err(Failure::usage(format!(
            "the name of the working directory, {}, is not UTF-8, so that the run can't be recorded; change to another one",
            directory.display()
        )));
    }
    let words = std::env::args_os().skip(1);
    // A word that is not text can't be suggested.
    let words: Result<Vec<String>, _> = words.map(std::ffi::OsString::into_string).collect();
    let Ok(words) = words else { return Ok(None) };
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--notify" {
            words.next();
        } else if !word.starts_with("--notify=") {
            kept.push(word);
        }
    }
    Ok(Some(Typed {
        directory,
        words: kept,
    }))
}

/// Reads and checks a job file.
pub(crate) fn read_job(path: &Path, vars: BTreeMap<String, Value>) -> Result<Job, Failure> {
    let wrong = |why: String| Failure::usage(format!("can't read the job {}: {why}", path.display()));
    let bytes = bounded::bytes(path, MAX_FILE_BYTES as u64).map_err(|error| wrong(error.to_string()))?;
    Job::parse_bytes(&bytes, &path.display().to_string(), vars).map_err(Failure::Mistakes)
}

/// Reads the arguments of `-e`. Their values are recorded with the run, and visible in process lists.
fn variables(arguments: &[String]) -> Result<Extra, Failure> {
    let extra = Extra::read(arguments).map_err(Failure::usage)?;
    if let Some(name) = extra.values.keys().find(|name| reveille_text::is_secret(name)) {
        return Err(Failure::usage(format!(
            "-e {name}: the name looks like a secret, and these values are recorded; make it a variable of the job: \
             `{name}: {{secret: {{env: {}}}}}`",
            name.to_uppercase()
        )));
    }
    Ok(extra)
}

/// Warns of a variable that has no effect.
fn warn_of(unused: &Unused, printer: &Printer) {
    let name = &unused.name;
    let hint = match &unused.near {
        Some(near) => format!("; did you mean `{near}`?"),
        None if name.starts_with("ansible_") => {
            "; the options (see `reveille run --help`) set how hosts are reached".to_owned()
        }
        None => String::new(),
    };
    printer.warning(&format!("-e {name}: the job does not use this variable{hint}"));
}
