//! From what was asked for to a run in the ledger, through the engine, to its end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Account, EventKind, Exit, HostName, RunId};
use reveille_fleet::{HostPlan, RollHost, RunEnd, RunPlan, Stop, stopper};
use reveille_history::HostState;
use reveille_inventory::Inventory;
use reveille_job::{Job, JobSource, Order, Shared};
use reveille_ledger::{Ledger, RollEntry, RunHandle, RunKind, RunRecord, RunSpec};
use reveille_transport::{Client, KnownHosts};
use serde_json::{Map, Value, json};

use crate::choose::Chosen;
use crate::cli::{Globals, Pacing, Report};
use crate::failure::Failure;
use crate::options::{Options, settings};
use crate::passwords::Passwords;
use crate::printer::Printer;
use crate::reach::Reached;
use crate::render::{self, end::Extra};
use crate::targets::plans;
use crate::{secrets, state};

/// The var of the roll that holds how a host is reached.
const CONNECTION: &str = "reveille_connection";

/// A run that is about to be recorded.
pub(crate) struct Request {
    pub(crate) kind: RunKind,
    pub(crate) job: Job,
    pub(crate) hosts: Vec<(HostName, Reached, Map<String, Value>)>,
    pub(crate) groups: Vec<(String, Vec<String>)>,
    /// Names of vars that came from a vault; they are not recorded.
    pub(crate) vault_vars: HashMap<HostName, Vec<String>>,
    pub(crate) passwords: Passwords,
    pub(crate) options: Options,
    pub(crate) comment: Option<String>,
    pub(crate) input: Option<Bytes>,
    pub(crate) seed: u64,
    pub(crate) state_dir: PathBuf,
}

// === impl Request ===

impl Request {
    /// A run that needs no vars and no groups: one command, or copies.
    pub(crate) fn plain(
        kind: RunKind,
        job: Job,
        chosen: Chosen,
        options: Options,
        pacing: &Pacing,
        globals: &Globals,
    ) -> Result<Self, Failure> {
        Ok(Self {
            kind,
            job,
            hosts: chosen
                .hosts
                .into_iter()
                .map(|(name, way)| (name, way, Map::new()))
                .collect(),
            groups: Vec::new(),
            vault_vars: HashMap::new(),
            passwords: chosen.passwords,
            options,
            comment: pacing.comment.clone(),
            input: None,
            seed: seed(),
            state_dir: state::directory(globals)?,
        })
    }
}

/// A run that the engine has let go of; to be reported.
#[must_use]
pub(crate) struct Finished {
    pub(crate) ledger: Ledger,
    pub(crate) run: RunId,
    fold: bool,
    /// How many it worked on.
    hosts: usize,
    end: Result<RunEnd, reveille_fleet::Failure>,
    watched: Result<(), Failure>,
    /// What nobody read, in words.
    unread: Vec<String>,
}

/// Records a new run, takes it to its end and reports that.
pub(crate) fn start(request: Request, report: &Report, printer: &Printer) -> Result<Exit, Failure> {
    execute(request, report, printer)?.report(None, report, printer)
}

/// Records a new run and takes it to its end.
pub(crate) fn execute(request: Request, report: &Report, printer: &Printer) -> Result<Finished, Failure> {
    render::destination::check(report)?;
    let Request {
        kind,
        job,
        mut hosts,
        groups,
        vault_vars,
        passwords,
        mut options,
        comment,
        input,
        seed,
        state_dir,
    } = request;
    options.input = input.as_ref().map(|input| sha256(input));
    let secrets = secrets::find(&job)?;
    order(&mut hosts, job.order, seed);
    // Until the roll is on disk nothing was dispatched: whatever is wrong with the ledger is wrong input.
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
    let client = client(&state_dir, &options)?;
    let host_plans = plans(
        hosts
            .iter()
            .map(|(name, reached, _)| (name.clone(), reached.clone(), None)),
        &options,
        &passwords,
        printer,
    )?;
    let delegates = delegates(&options, &passwords, printer)?;
    let (settings, banner) = settings(&options, &job, &host_plans, input, seed)?;
    let mut spec = RunSpec::new(kind, recorded_source(job.source()));
    if let JobSource::File { file, text, .. } = job.source() {
        spec.file = Some(file.clone());
        spec.sha256 = Some(sha256(text.as_bytes()));
    }
    spec.options = serde_json::to_value(&options).unwrap_or_default();
    spec.vars = match job.source() {
        JobSource::File { .. } => json!({ "groups": groups }),
        JobSource::Command { .. } => json!({}),
    };
    spec.seed = seed;
    spec.user = state::user();
    spec.node = state::node();
    spec.comment = comment;
    let uses_vars = matches!(job.source(), JobSource::File { .. });
    let roll: Vec<RollEntry> = hosts
        .iter()
        .map(|(name, reached, vars)| {
            let mut kept = Map::new();
            if uses_vars {
                let from_vault = vault_vars.get(name).map_or(&[][..], Vec::as_slice);
                let plain = vars
                    .iter()
                    .filter(|(key, _)| !reveille_inventory::is_secret(key) && !from_vault.contains(key));
                kept.extend(plain.map(|(key, value)| (key.clone(), value.clone())));
            }
            kept.insert(
                CONNECTION.to_owned(),
                serde_json::to_value(reached).unwrap_or_default(),
            );
            let mut entry = RollEntry::new(name.clone());
            entry.address = Some(reached.way.address.clone());
            entry.port = reached.way.port;
            entry.vars = Value::Object(kept).to_string();
            entry
        })
        .collect();
    let handle = ledger.create_run(&spec, &roll).map_err(refused)?;
    drop(roll);
    let all_vars: HashMap<HostName, Map<String, Value>> = if uses_vars {
        hosts.into_iter().map(|(name, _, vars)| (name, vars)).collect()
    } else {
        HashMap::new()
    };
    let run_id = handle.run().to_string();
    let plan = RunPlan {
        shared: Shared::new(&run_id, groups, std::env::vars()).with_secrets(secrets),
        vars: Arc::new(move |name| all_vars.get(name).cloned().unwrap_or_default()),
        job: Arc::new(job),
        roll: host_plans
            .iter()
            .map(|host| RollHost {
                name: host.name.clone(),
                state: HostState::Waiting,
                ready: true,
                place: None,
            })
            .collect(),
        halted: None,
        once: Vec::new(),
        resumed: false,
        hosts: host_plans,
        delegates,
        settings,
    };
    work(
        handle,
        client,
        plan,
        &banner,
        &options,
        &Account::default(),
        report,
        printer,
    )
}

/// A job as it is recorded: its file is found from any directory, and with it what its steps send.
fn recorded_source(source: &JobSource) -> String {
    let mut source = source.clone();
    if let JobSource::File { file, .. } = &mut source
        && let Ok(path) = std::path::absolute(&*file)
        && let Some(path) = path.to_str()
    {
        path.clone_into(file);
    }
    serde_json::to_string(&source).unwrap_or_default()
}

/// Goes on with a run that has hosts without an outcome.
pub(crate) fn resume(
    ledger: &Ledger,
    record: &RunRecord,
    concurrency: Option<u32>,
    input: Option<Bytes>,
    report: &Report,
    printer: &Printer,
) -> Result<Exit, Failure> {
    render::destination::check(report)?;
    let recorded = Recorded::read(record, concurrency, input, printer)?;
    let handle = ledger.take_over(record.run, &state::node())?;
    recorded.go_on(ledger, record, handle, true, report, printer)
}

/// Opens a new round for `hosts` and runs it.
pub(crate) fn retry(
    ledger: &Ledger,
    record: &RunRecord,
    hosts: &[HostName],
    concurrency: Option<u32>,
    input: Option<Bytes>,
    report: &Report,
    printer: &Printer,
) -> Result<Exit, Failure> {
    render::destination::check(report)?;
    let recorded = Recorded::read(record, concurrency, input, printer)?;
    let handle = ledger.take_over(record.run, &state::node())?;
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
    runtime(1)?.block_on(handle.open_round(roll))?;
    let record = ledger.run(record.run)?;
    recorded.go_on(ledger, &record, handle, false, report, printer)
}

/// The ways to every host that was on a roll of the run, and a client for them.
pub(crate) fn ways(
    ledger: &Ledger,
    record: &RunRecord,
    printer: &Printer,
) -> Result<(Vec<HostPlan>, Client), Failure> {
    let options: Options =
        serde_json::from_value(record.spec.options.clone()).map_err(|_| damaged(record, "options"))?;
    let inventory = options.passwords.reload(printer)?;
    let passwords = options.passwords.find(inventory.as_ref())?;
    let hosts = ledger
        .roll(record.run, 1)?
        .into_iter()
        .map(|entry| {
            let (reached, _) = recorded_way(record, &entry)?;
            Ok((entry.host, reached, None))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut plans = plans(hosts, &options, &passwords, printer)?;
    // Those that steps of others ran on are none of the run's hosts, or some of them.
    let on_roll: HashSet<HostName> = plans.iter().map(|plan| plan.name.clone()).collect();
    let others = delegates(&options, &passwords, printer)?.into_values();
    plans.extend(others.filter(|plan| !on_roll.contains(&plan.name)));
    Ok((plans, client(ledger.state_directory(), &options)?))
}

/// How a host of the roll is reached, and its vars.
fn recorded_way(record: &RunRecord, entry: &RollEntry) -> Result<(Reached, Map<String, Value>), Failure> {
    let mut kept: Map<String, Value> =
        serde_json::from_str(&entry.vars).map_err(|_| damaged(record, "roll"))?;
    let reached = kept.remove(CONNECTION).ok_or_else(|| damaged(record, "roll"))?;
    let reached = serde_json::from_value(reached).map_err(|_| damaged(record, "roll"))?;
    Ok((reached, kept))
}

/// What an earlier controller was asked to do, and all that it was given.
struct Recorded {
    options: Options,
    job: Job,
    secrets: BTreeMap<String, String>,
    passwords: Passwords,
    /// The inventory, if some of it is not recorded.
    inventory: Option<Inventory>,
    input: Option<Bytes>,
}

impl Recorded {
    /// Reads it, and asks anew for what is never recorded. Nothing is changed before that is there.
    fn read(
        record: &RunRecord,
        concurrency: Option<u32>,
        input: Option<Bytes>,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        check_input(record, input.as_ref())?;
        let mut options: Options =
            serde_json::from_value(record.spec.options.clone()).map_err(|_| damaged(record, "options"))?;
        options.concurrency = concurrency.or(options.concurrency);
        let source: JobSource =
            serde_json::from_str(&record.spec.text).map_err(|_| damaged(record, "job"))?;
        if let JobSource::File { file, text, .. } = &source
            && std::fs::read(file).is_ok_and(|now| now != text.as_bytes())
        {
            printer.warning(&format!("{file} has changed since; using the recorded one"));
        }
        let job = Job::from_source(&source).map_err(Failure::Mistakes)?;
        let secrets = secrets::find(&job)?;
        let inventory = options.passwords.reload(printer)?;
        let passwords = options.passwords.find(inventory.as_ref())?;
        Ok(Self {
            options,
            job,
            secrets,
            passwords,
            inventory,
            input,
        })
    }

    /// Goes on with the hosts that have no outcome in the present round.
    fn go_on(
        self,
        ledger: &Ledger,
        record: &RunRecord,
        handle: RunHandle,
        resumed: bool,
        report: &Report,
        printer: &Printer,
    ) -> Result<Exit, Failure> {
        let Self {
            options,
            job,
            secrets,
            passwords,
            inventory,
            input,
        } = self;
        let recalled = reveille_fleet::recall(ledger, record.run, &job)?;
        let mut vars: HashMap<HostName, Map<String, Value>> = HashMap::new();
        let mut hosts = Vec::new();
        for (entry, before) in recalled.remaining {
            let name = entry.host.clone();
            let (reached, mut kept) = recorded_way(record, &entry)?;
            if let Some(inventory) = &inventory {
                let now = inventory.template_vars(name.as_str()).into_iter();
                kept.extend(now.filter(|(var, _)| inventory.is_secret(name.as_str(), var)));
            }
            vars.insert(name.clone(), kept);
            hosts.push((name, reached, Some(before)));
        }
        let host_plans = plans(hosts, &options, &passwords, printer)?;
        let state_dir = ledger.state_directory().to_owned();
        let client = client(&state_dir, &options)?;
        let (settings, banner) = settings(&options, &job, &host_plans, input, record.spec.seed)?;
        let groups: Vec<(String, Vec<String>)> =
            serde_json::from_value(record.spec.vars["groups"].clone()).unwrap_or_default();
        let run_id = record.run.to_string();
        let before = ledger.account(record.run)?;
        let plan = RunPlan {
            shared: Shared::new(&run_id, groups, std::env::vars()).with_secrets(secrets),
            vars: Arc::new(move |name| vars.get(name).cloned().unwrap_or_default()),
            roll: recalled.roll,
            halted: recalled.halted,
            once: recalled.once,
            resumed,
            job: Arc::new(job),
            hosts: host_plans,
            delegates: delegates(&options, &passwords, printer)?,
            settings,
        };
        work(handle, client, plan, &banner, &options, &before, report, printer)?.report(None, report, printer)
    }
}

/// The hosts that steps of others run on.
fn delegates(
    options: &Options,
    passwords: &Passwords,
    printer: &Printer,
) -> Result<HashMap<HostName, HostPlan>, Failure> {
    let ways = options
        .delegates
        .iter()
        .map(|(name, reached)| (name.clone(), reached.clone(), None));
    let plans = plans(ways, options, passwords, printer)?;
    Ok(plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect())
}

fn damaged(record: &RunRecord, what: &str) -> Failure {
    Failure::System(format!("{}'s record of its {what} can't be read", record.run))
}

/// Runs the engine, with whoever watches.
#[expect(
    clippy::too_many_arguments,
    reason = "the last station of a run: everything comes together here"
)]
fn work(
    handle: RunHandle,
    client: Client,
    plan: RunPlan,
    banner: &str,
    options: &Options,
    before: &Account,
    report: &Report,
    printer: &Printer,
) -> Result<Finished, Failure> {
    let runtime = runtime(plan.settings.sessions)?;
    let ledger = handle.ledger().clone();
    let run = handle.run();
    if let Some(bytes) = options.max_output {
        handle.limit_output(bytes);
    }
    let hosts = plan.hosts.len();
    let total = hosts as u64 + before.ended();
    let after = events_before(&ledger, run)?;
    printer.say(&format!("{run}  {banner}"));
    let (display, shown) = render::outlet::Display::start(*printer, total, ledger.clone())?;
    let (end, watched, unread) = runtime.block_on(async {
        let (stopper, listener) = stopper();
        let signals = tokio::spawn(listen(stopper, display.clone()));
        let (over, is_over) = tokio::sync::watch::channel(false);
        let mut watchers = tokio::task::JoinSet::new();
        let view = render::live::View::new(total, before, *printer, !options.fold, display);
        watchers.spawn(render::live::watch(handle.follow(after), view, shown));
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
        // It holds a way to the display, which ends with the last of them.
        let _ = signals.await;
        let (mut watched, mut unread) = (Ok(()), Vec::new());
        let ending = async {
            while let Some(result) = watchers.join_next().await {
                let result =
                    result.unwrap_or_else(|error| Err(Failure::System(format!("a watcher failed: {error}"))));
                match result {
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
        (end, watched, unread)
    });
    Ok(Finished {
        ledger,
        run,
        fold: options.fold,
        hosts,
        end,
        watched,
        unread,
    })
}

/// The last event before those of this process, to which the opening of its round belongs.
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
    /// Reports the end, with what the command has to add, and tells the exit status.
    pub(crate) fn report(
        self,
        extra: Option<&Extra>,
        report: &Report,
        printer: &Printer,
    ) -> Result<Exit, Failure> {
        let Self {
            ledger,
            run,
            fold,
            hosts,
            end,
            watched,
            unread,
        } = self;
        let kind = ledger.run(run)?.spec.kind;
        let exit = despite_readers(!unread.is_empty(), || {
            for words in &unread {
                printer.warning(words);
            }
            render::end::report(&ledger, run, kind, fold, hosts, extra, report, printer)
        })?;
        // What the engine says weighs more than what a watcher could not write; both more than the account.
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

/// Writes the report of a run that is over. Whoever reads it may stand still: then a signal ends the program, and if it was
/// seen to stand still before, time does.
fn despite_readers<T: Send>(stalled: bool, write: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let failed = |error: std::io::Error| Failure::System(format!("can't start the runtime: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    std::thread::scope(|scope| {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let writing = scope.spawn(move || {
            let written = write();
            // Whoever waits for it is there until then.
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
            #[expect(
                clippy::disallowed_methods,
                reason = "the thread stands in a write that nobody takes, and nothing else can end that"
            )]
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        Ok(match writing.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Ends with the first signal that asks the program to end.
async fn any_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Two stages: the first signal asks to stop soon, the second to leave.
async fn listen(stopper: reveille_fleet::Stopper, display: render::outlet::Display) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        display.say("warning: can't listen for signals: Ctrl-C ends the program at once".to_owned());
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if stopper.asked() == Stop::No {
            display.say(
                "stopping: nothing more is dispatched, running steps may finish; once more to leave at once"
                    .to_owned(),
            );
            stopper.ask(Stop::Soon);
        } else {
            stopper.ask(Stop::Now);
        }
    }
}

fn client(state_dir: &Path, options: &Options) -> Result<Client, Failure> {
    let mut files = options.known_hosts.clone();
    if let Some(home) = state::home() {
        files.push(home.join(".ssh/known_hosts"));
    }
    files.push("/etc/ssh/ssh_known_hosts".into());
    let known_hosts = KnownHosts::load(&files, Some(state_dir.join("known_hosts")))
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Client::new(options.deadlines(), Arc::new(known_hosts)))
}

fn order(hosts: &mut [(HostName, Reached, Map<String, Value>)], order: Order, seed: u64) {
    match order {
        Order::Inventory => {}
        Order::Sorted => hosts.sort_by(|(one, ..), (other, ..)| one.cmp(other)),
        Order::Reverse => hosts.reverse(),
        Order::Shuffled => fastrand::Rng::with_seed(seed).shuffle(hosts),
    }
}

/// The input of a run is not kept; whoever goes on with it has to bring the same again.
fn check_input(record: &RunRecord, input: Option<&Bytes>) -> Result<(), Failure> {
    let wanted = record.spec.options["input"].as_str();
    let given = input.map(|input| sha256(input));
    match (wanted, given) {
        (Some(wanted), Some(given)) if wanted == given => Ok(()),
        (None, None) => Ok(()),
        (Some(_), None) => Err(Failure::usage(format!(
            "{} gave its command an input, which is not kept; give the same file again with --stdin",
            record.run
        ))),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "this is not the input that {} began with",
            record.run
        ))),
        (None, Some(_)) => Err(Failure::usage(format!("{} began without an input", record.run))),
    }
}

/// A seed for a new run.
pub(crate) fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// How long the report of a run is tried to be written to somebody who was seen to read nothing.
const READER: Duration = Duration::from_secs(5);

/// Sessions from which on one thread is not enough to drive them. Below, one thread costs less than several that share
/// the same work: at 512 real sessions it made less than half the context switches of two.
const SESSIONS_OF_A_THREAD: usize = 2000;

/// The runtime of everything that waits: one thread, or a few for very many sessions.
pub(crate) fn runtime(sessions: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = if sessions > SESSIONS_OF_A_THREAD {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)));
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::System(format!("can't start the runtime: {error}")))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}
