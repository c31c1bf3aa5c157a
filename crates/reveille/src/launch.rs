//! Records a run, or takes up a recorded one, runs the engine and reports the end.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Account, EventKind, Exit, HostName, RunId};
use reveille_fleet::{
    Before, Prepared, Recalled, RecipeError, RunEnd, RunHost, RunRecipe, Typed, Unrecorded, secrets, sha256,
    stopper,
};
use reveille_inventory::Inventory;
use reveille_job::{Job, JobSource};
use reveille_ledger::export::SummaryOptions;
use reveille_ledger::{Ledger, RollEntry, RunHandle, RunKind, RunRecord};
use reveille_text::bounded::{self, ReadError};
use reveille_transport::Client;
use reveille_view::{Clock, Line, Note, Role, RunView, cut, lines};
use reveille_way::{Destination, Passwords};

use crate::again;
use crate::choose::reach;
use crate::cli::Shown as Progress;
use crate::cli::{Globals, OnHosts, Report, ResumeArgs};
use crate::failure::Failure;
use crate::options::{banner, password_sources, run_options};
use crate::printer::Printer;
use crate::render::stream::StreamOut;
use crate::render::terminal;
use crate::render::{self, end::Extra};
use crate::runtime::runtime;
use crate::signals::{any_signal, listen};
use crate::state;

/// A run that is about to be recorded.
pub(crate) struct Request {
    pub(crate) recipe: RunRecipe,
    pub(crate) hosts: Vec<RunHost>,
    pub(crate) passwords: Passwords,
    pub(crate) input: Option<Bytes>,
    pub(crate) state_dir: PathBuf,
}

// === impl Request ===

impl Request {
    /// A run whose job needs no vars and no groups: a command or copies.
    pub(crate) fn plain(
        kind: RunKind,
        job: Job,
        on: &OnHosts,
        fold: bool,
        globals: &Globals,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let mut options = run_options(Some(&on.reach), &on.pacing, fold)?;
        let chosen = reach(&on.reach, None, &mut options, globals, printer)?;
        let (hosts, passwords) = chosen.without_vars();
        Ok(Self {
            recipe: RunRecipe {
                kind,
                job,
                options,
                groups: Vec::new(),
                seed: seed(),
                comment: on.pacing.comment.clone(),
            },
            hosts,
            passwords,
            input: None,
            state_dir: state::directory(globals)?,
        })
    }
}

/// A run that the engine has left, before its report.
#[must_use]
pub(crate) struct Finished {
    pub(crate) ledger: Ledger,
    pub(crate) run: RunId,
    fold: bool,
    /// The number of hosts that this process worked on.
    hosts: usize,
    /// The run as the screen has seen it, if it has seen all of it.
    view: Option<RunView>,
    end: Result<RunEnd, reveille_fleet::Failure>,
    watched: Result<(), Failure>,
    /// Warnings about outputs that nobody read.
    unread: Vec<String>,
}

/// Records a new run, runs it and reports its end.
pub(crate) fn start(request: Request, report: &Report, printer: &Printer) -> Result<Exit, Failure> {
    execute(request, report, printer)?.report(None, report, printer)
}

/// Records a new run and runs it.
pub(crate) fn execute(request: Request, report: &Report, printer: &Printer) -> Result<Finished, Failure> {
    render::destination::check(report)?;
    let Request {
        mut recipe,
        mut hosts,
        passwords,
        input,
        state_dir,
    } = request;
    recipe.take_environment();
    recipe.options.input = input.as_ref().map(|input| sha256(input));
    let unrecorded = Unrecorded {
        secrets: secrets(&recipe.job, printer)?,
        environment: recipe.environment()?,
        input,
    };
    recipe.order(&mut hosts);
    // Nothing is dispatched before the roll is on disk, so that all errors up to there are errors of usage.
    let refused = |error: reveille_ledger::Error| {
        let place = state_dir.display().to_string();
        let error = error.to_string();
        Failure::usage(if error.contains(&place) {
            error
        } else {
            format!("in the state directory {place}: {error}")
        })
    };
    let ledger = Ledger::open(&state_dir).map_err(refused)?;
    let prepared = recipe.prepare(&hosts, &passwords, &state_dir, printer)?;
    let handle = match recipe.record(&ledger, &hosts, state::user(), state::node()) {
        Err(RecipeError::Ledger(error)) => return Err(refused(error)),
        recorded => recorded?,
    };
    let recalled = Recalled::beginning(&hosts);
    let hosts = hosts.into_iter().map(|host| (host, None)).collect();
    let work = Work {
        prepared,
        hosts,
        recalled,
        resumed: false,
        unrecorded,
        before: Account::default(),
    };
    work.run(recipe, handle, report, printer)
}

/// Opens the ledger for a command that changes a recorded run; `recent` finds the one that `last` means. Creates no
/// ledger if there is none.
pub(crate) fn open(
    globals: &Globals,
    run: &str,
    recent: impl FnOnce(&Ledger) -> Result<RunId, Failure>,
) -> Result<(Ledger, RunRecord), Failure> {
    let directory = state::directory(globals)?;
    Ledger::open_existing(&directory)?;
    let ledger = Ledger::open(&directory)?;
    let run = match run {
        "last" => recent(&ledger)?,
        run => ledger.resolve_run(run)?,
    };
    let record = ledger.run(run)?;
    Ok((ledger, record))
}

/// Resumes a run, which has hosts without an outcome.
pub(crate) fn resume(
    ledger: &Ledger,
    record: &RunRecord,
    args: &ResumeArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    render::destination::check(&args.report)?;
    let restored = Restored::read(record, args, None, printer)?;
    let handle = ledger.take_over(record.run, &state::node())?;
    let recalled = reveille_fleet::recall(ledger, record.run, &restored.recipe.job)?;
    let entries = recalled.remaining.iter().map(|(entry, _)| entry);
    let on_roll = restored.make(ledger, record.run, entries, printer)?;
    restored.go_on(handle, on_roll, recalled, true, &args.report, printer)
}

/// Opens a new round for `hosts` and runs it.
pub(crate) fn retry(
    ledger: &Ledger,
    record: &RunRecord,
    hosts: &[HostName],
    args: &ResumeArgs,
    printer: &Printer,
) -> Result<Exit, Failure> {
    render::destination::check(&args.report)?;
    let typed = record.spec.options.get("typed");
    let typed: Option<Typed> = typed.and_then(|typed| serde_json::from_value(typed.clone()).ok());
    let account = ledger.account(record.run)?;
    let again = typed.map(|typed| again::command(&typed, record.run, &account));
    let restored = Restored::read(record, args, again.as_deref(), printer)?;
    let mut entries: HashMap<HostName, RollEntry> = HashMap::new();
    for round in 1..=record.round {
        entries.extend(
            ledger
                .roll(record.run, round)?
                .into_iter()
                .map(|entry| (entry.host.clone(), entry)),
        );
    }
    let roll: Vec<RollEntry> = hosts.iter().filter_map(|host| entries.remove(host)).collect();
    // Errors surface before the round exists.
    let on_roll = restored.make(ledger, record.run, &roll, printer)?;
    let handle = ledger.take_over(record.run, &state::node())?;
    runtime(1)?.block_on(handle.open_round(roll))?;
    let recalled = reveille_fleet::recall(ledger, record.run, &restored.recipe.job)?;
    restored.go_on(handle, on_roll, recalled, false, &args.report, printer)
}

/// The hosts on all rolls of the run, its delegates, and a client for them.
pub(crate) fn machines(
    ledger: &Ledger,
    record: &RunRecord,
    printer: &Printer,
) -> Result<(Vec<Destination>, Client), Failure> {
    let recipe = RunRecipe::restore(record)?;
    let inventory = recipe.options.passwords.reload(printer)?;
    let passwords = recipe.options.passwords.find(inventory.as_ref(), printer)?;
    let hosts = ledger
        .roll(record.run, 1)?
        .iter()
        .map(|entry| RunHost::restore(record.run, entry, None))
        .collect::<Result<Vec<_>, _>>()?;
    let prepared = recipe.prepare(&hosts, &passwords, ledger.state_directory(), printer)?;
    let mut machines = prepared.to;
    let on_roll: HashSet<HostName> = machines.iter().map(|to| to.name.clone()).collect();
    let others = prepared.delegates.into_values();
    machines.extend(others.filter(|to| !on_roll.contains(&to.name)));
    Ok((machines, prepared.client))
}

/// A recorded run, with the secrets and the input, which are not recorded.
struct Restored {
    recipe: RunRecipe,
    passwords: Passwords,
    /// The inventory, if it has vault vars, which are not recorded.
    inventory: Option<Inventory>,
    unrecorded: Unrecorded,
}

impl Restored {
    /// Restores the run, and asks for its passwords and secrets, before anything is changed.
    fn read(
        record: &RunRecord,
        args: &ResumeArgs,
        again: Option<&str>,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let mut recipe = RunRecipe::restore(record)?;
        let input = args.stdin.as_deref().map(read_input).transpose()?;
        recipe.check_input(record.run, input.as_ref())?;
        let options = &mut recipe.options;
        options.concurrency = args.concurrency.or(options.concurrency);
        let given = password_sources(&args.passwords)?;
        options.passwords = std::mem::take(&mut options.passwords).replaced(given);
        let inventory = options.passwords.inventory.take();
        if inventory.is_none() && !args.vault_password_file.is_empty() {
            return Err(Failure::usage(format!(
                "--vault-password-file: {} uses no secrets of its inventory",
                record.run
            )));
        }
        options.passwords.inventory =
            inventory.map(|sources| sources.with_vault_passwords(&args.vault_password_file));
        let changes = recipe.changed_files();
        for change in &changes {
            printer.warning(change);
        }
        let is_there =
            matches!(recipe.job.source(), JobSource::File { file, .. } if Path::new(file).is_file());
        if let Some(command) = again.filter(|_| !changes.is_empty() && is_there) {
            printer.warning(&format!(
                "to use the files as they are now, interrupt this and run: {command}"
            ));
        }
        let environment = recipe.environment()?;
        let secrets = secrets(&recipe.job, printer)?;
        let inventory = recipe.options.passwords.reload(printer)?;
        let passwords = recipe.options.passwords.find(inventory.as_ref(), printer)?;
        Ok(Self {
            recipe,
            passwords,
            inventory,
            unrecorded: Unrecorded {
                secrets,
                environment,
                input,
            },
        })
    }

    /// Restores hosts of the roll, and prepares to connect to them.
    fn make<'a>(
        &self,
        ledger: &Ledger,
        run: RunId,
        entries: impl IntoIterator<Item = &'a RollEntry>,
        printer: &Printer,
    ) -> Result<(Vec<RunHost>, Prepared), Failure> {
        let hosts = entries
            .into_iter()
            .map(|entry| RunHost::restore(run, entry, self.inventory.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let state_dir = ledger.state_directory();
        let prepared = self.recipe.prepare(&hosts, &self.passwords, state_dir, printer)?;
        Ok((hosts, prepared))
    }

    /// Runs the hosts that have no outcome in the current round.
    fn go_on(
        self,
        handle: RunHandle,
        (hosts, prepared): (Vec<RunHost>, Prepared),
        mut recalled: Recalled,
        resumed: bool,
        report: &Report,
        printer: &Printer,
    ) -> Result<Exit, Failure> {
        let remaining = std::mem::take(&mut recalled.remaining).into_iter();
        let mut befores: HashMap<HostName, Before> =
            remaining.map(|(entry, before)| (entry.host, before)).collect();
        let hosts = hosts.into_iter().map(|host| {
            let before = befores.remove(&host.name);
            (host, before)
        });
        let work = Work {
            prepared,
            hosts: hosts.collect(),
            recalled,
            resumed,
            unrecorded: self.unrecorded,
            before: handle.ledger().account(handle.run())?,
        };
        work.run(self.recipe, handle, report, printer)?
            .report(None, report, printer)
    }
}

/// The engine's work.
struct Work {
    prepared: Prepared,
    hosts: Vec<(RunHost, Option<Before>)>,
    recalled: Recalled,
    resumed: bool,
    unrecorded: Unrecorded,
    /// The account before this process.
    before: Account,
}

impl Work {
    /// Runs the engine, the display and the writers of events and artifacts.
    fn run(
        self,
        recipe: RunRecipe,
        handle: RunHandle,
        report: &Report,
        printer: &Printer,
    ) -> Result<Finished, Failure> {
        let Self {
            prepared,
            hosts,
            recalled,
            resumed,
            unrecorded,
            before,
        } = self;
        let options = recipe.options.clone();
        let run = handle.run();
        let fit = prepared.fit.clone();
        let ledger = handle.ledger().clone();
        let total = hosts.len() as u64 + before.ended();
        let (view, begin) = render::view::begin(&ledger, run, total, &recipe)?;
        let name = view.head.name.clone();
        let (mut plan, client) = recipe.plan(run, prepared, hosts, recalled, resumed, unrecorded);
        let banner = banner(plan.hosts.len(), &plan.settings, &fit, &options);
        let runtime = runtime(plan.settings.sessions)?;
        if let Some(bytes) = options.max_output {
            handle.limit_output(bytes);
        }
        let hosts = plan.hosts.len();
        let after = events_before(&ledger, run)?;
        let clock = Clock::here();
        let now = unix_ms();
        let first = format!("{} {run}: {banner}", cut(&name, NAME));
        let first = match printer.progress {
            Progress::Live => {
                let columns = terminal::size().columns;
                lines::on_terminal(&Note::of_run(now, first), columns, &clock)
            }
            _ => vec![
                Line::new()
                    .with(clock.with_offset(now), Role::Faint)
                    .with(format!(" {first}"), Role::Plain),
            ],
        };
        for line in first {
            printer.say(&printer.painted(&line));
        }
        let data = printer.of_data(report);
        let stream =
            (!options.fold).then(|| StreamOut::new(data, plan.hosts.iter().map(|host| &host.to.name)));
        let logs = format!(
            "reveille logs{} {run} HOST",
            state::option(ledger.state_directory())
        );
        let streams = stream.is_some();
        let (display, shown) = render::outlet::Display::start(data, logs, stream)?;
        if streams {
            let display = display.clone();
            plan.settings.world.hear = Some(Arc::new(move |host, stream, bytes| {
                display.hear(host, stream, bytes);
            }));
        }
        let (end, view, watched, unread) = runtime.block_on(async {
            let (stopper, listener) = stopper();
            let (ask, asked) = tokio::sync::mpsc::channel(4);
            let signals = tokio::spawn(listen(stopper, display.clone(), ask.clone()));
            if printer.progress == Progress::Live && options.input.is_none() {
                render::asking::listen(ask);
            }
            let (over, is_over) = tokio::sync::watch::channel(false);
            let mut watchers = tokio::task::JoinSet::new();
            let live = render::live::Live::new(view, after, *printer, display, streams);
            let watching = tokio::spawn(render::live::watch(handle.follow(begin), live, shown, asked));
            if let Some(path) = report.events.clone() {
                watchers.spawn(render::events::write(handle.follow(after), path, is_over));
            }
            if let Some(directory) = report.export_to.clone() {
                watchers.spawn(render::artifacts::refresh(
                    ledger.clone(),
                    run,
                    directory,
                    handle.follow(after),
                ));
            }
            let end = reveille_fleet::run(handle, Arc::new(client), plan, listener).await;
            over.send_replace(true);
            signals.abort();
            // It holds a sender to the display, which ends after the last sender is dropped.
            let _ = signals.await;
            let (mut seen, mut watched, mut unread) = (None, Ok(()), Vec::new());
            let ending = async {
                let failed =
                    |error: tokio::task::JoinError| Failure::System(format!("a watcher failed: {error}"));
                match watching.await.map_err(failed).flatten() {
                    Ok((view, words)) => {
                        seen = Some(view);
                        unread.extend(words);
                    }
                    Err(failure) => watched = Err(failure),
                }
                while let Some(result) = watchers.join_next().await {
                    match result.map_err(failed).flatten() {
                        Ok(words) => unread.extend(words),
                        Err(failure) if watched.is_ok() => watched = Err(failure),
                        Err(_) => {}
                    }
                }
            };
            tokio::select! {
                () = ending => {}
                () = any_signal() => {}
            }
            (end, seen, watched, unread)
        });
        Ok(Finished {
            ledger,
            run,
            fold: options.fold,
            hosts,
            view,
            end,
            watched,
            unread,
        })
    }
}

/// Unix milliseconds.
fn unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// The last event before those of this process. The opening of a round is one of this process.
fn events_before(ledger: &Ledger, run: RunId) -> Result<u64, Failure> {
    let last = ledger.last_event(run)?;
    let before = last.saturating_sub(1);
    let opened = ledger
        .events_after(run, before, None)?
        .first()
        .is_some_and(|event| matches!(event.kind, EventKind::RunOpened { .. }));
    Ok(if opened { before } else { last })
}

// === impl Finished ===

impl Finished {
    /// Reports the end, with the command's own addition, and returns the exit status.
    pub(crate) fn report(
        self,
        extra: Option<&Extra>,
        report: &Report,
        printer: &Printer,
    ) -> Result<Exit, Failure> {
        self.reported(extra, report, printer)
            .map_err(Failure::after_dispatch)
    }

    fn reported(self, extra: Option<&Extra>, report: &Report, printer: &Printer) -> Result<Exit, Failure> {
        let Self {
            ledger,
            run,
            fold,
            hosts,
            view,
            end,
            watched,
            unread,
        } = self;
        // What the run came to does not depend on who reads the report.
        let unreported = || {
            let mut summary = ledger.summary(run, SummaryOptions::default())?;
            render::end::allowance(&mut summary, extra.is_some())?;
            Ok(extra.map_or(summary.exit, |extra| extra.exit))
        };
        let exit = despite_readers(!unread.is_empty(), unreported, || {
            for words in &unread {
                printer.warning(words);
            }
            let ended = render::end::Ended {
                ledger: &ledger,
                run,
                folded: fold,
                worked_on: hosts,
                view,
            };
            ended.report(extra, report, printer)
        })?;
        // An error of the engine takes precedence over one of a writer, and both over the account.
        match end {
            Err(failure) => {
                exit?;
                return Err(failure.into());
            }
            Ok(RunEnd::DiskFull) => {
                exit?;
                return Err(Failure::System(format!(
                    "the disk of {} is full: dispatching stopped and the last outcomes were written; free some space, \
                     then `reveille resume{} {run}`",
                    ledger.state_directory().display(),
                    state::option(ledger.state_directory())
                )));
            }
            Ok(RunEnd::Closed | RunEnd::Interrupted) => {}
        }
        watched?;
        exit
    }
}

/// Writes the report of a run. If its reader does not read, a signal ends the program with the exit status of the run; if
/// the reader already stalled during the run, so does a timeout.
fn despite_readers<T: Send>(
    stalled: bool,
    unreported: impl FnOnce() -> Result<Exit, Failure>,
    write: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let runtime = runtime(1)?;
    std::thread::scope(|scope| {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let writing = scope.spawn(move || {
            let written = write();
            // The receiver lives until then.
            let _ = done.send(());
            written
        });
        let left = runtime.block_on(async {
            let time_is_up = async {
                if stalled {
                    tokio::time::sleep(READER).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                _ = is_done => false,
                () = any_signal() => true,
                () = time_is_up => true,
            }
        });
        if left {
            let exit = unreported().unwrap_or(Exit::Internal);
            #[expect(
                clippy::disallowed_methods,
                reason = "nothing else ends a thread that blocks in a write"
            )]
            std::process::exit(i32::from(exit.code()));
        }
        Ok(match writing.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Limit of `--stdin`, in bytes, because the input is kept in memory.
const INPUT_LIMIT: u64 = 64 << 20;

/// Reads the standard input for every host.
pub(crate) fn read_input(path: &Path) -> Result<Bytes, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!(
            "can't use {} as the command's input: {why}",
            path.display()
        ))
    };
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?)
    };
    match bounded::bytes_of(source, INPUT_LIMIT) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error @ ReadError::TooLong { .. }) => {
            Err(wrong(format!("{error}; copy it to the hosts instead")))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// A seed for a new run.
pub(crate) fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// Cells of a job's name or a command in the first line of a run.
const NAME: usize = 60;

/// Timeout for writing the report to a reader that stalled during the run.
const READER: Duration = Duration::from_secs(5);
