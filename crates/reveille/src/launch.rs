//! From what was asked for to a run in the ledger, through the engine, to its end.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use reveille_account::{Exit, HostName, RunId, Status};
use reveille_fleet::{HostPlan, RunEnd, RunPlan, Stop, stopper};
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
    end: Result<RunEnd, reveille_fleet::Failure>,
    watched: Result<(), Failure>,
}

/// Records a new run, takes it to its end and reports that.
pub(crate) fn start(request: Request, report: &Report, printer: &Printer) -> Result<Exit, Failure> {
    execute(request, report, printer)?.report(None, report, printer)
}

/// Records a new run and takes it to its end.
pub(crate) fn execute(request: Request, report: &Report, printer: &Printer) -> Result<Finished, Failure> {
    check_report(report)?;
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
    let mut spec = RunSpec::new(kind, serde_json::to_string(job.source()).unwrap_or_default());
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
    let first = hosts.first().map(|(name, ..)| name.clone());
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
        planned: host_plans.len() as u64,
        failed: 0,
        hosts: host_plans,
        delegates,
        first,
        settings,
    };
    work(handle, client, plan, &banner, &options, 0, report, printer)
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
    check_report(report)?;
    let recorded = Recorded::read(record, concurrency, input, printer)?;
    let handle = ledger.take_over(record.run, &state::node())?;
    recorded.go_on(ledger, record, handle, report, printer)
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
    check_report(report)?;
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
    recorded.go_on(ledger, &record, handle, report, printer)
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
    let plans = plans(hosts, &options, &passwords, printer)?;
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
        let remaining = ledger.remaining(record.run)?;
        let mut vars: HashMap<HostName, Map<String, Value>> = HashMap::new();
        let mut hosts = Vec::new();
        for host in remaining {
            let name = host.entry.host.clone();
            let (mut reached, mut kept) = recorded_way(record, &host.entry)?;
            if let Some(address) = host.entry.address.clone().filter(|_| host.replaced) {
                reached.moved(&name, record.run, address, host.entry.port);
            }
            if let Some(inventory) = &inventory {
                let now = inventory.template_vars(name.as_str()).into_iter();
                kept.extend(now.filter(|(var, _)| inventory.is_secret(name.as_str(), var)));
            }
            vars.insert(name.clone(), kept);
            hosts.push((name, reached, Some(host)));
        }
        let host_plans = plans(hosts, &options, &passwords, printer)?;
        let state_dir = ledger.state_directory().to_owned();
        let client = client(&state_dir, &options)?;
        let (settings, banner) = settings(&options, &job, &host_plans, input, record.spec.seed)?;
        let groups: Vec<(String, Vec<String>)> =
            serde_json::from_value(record.spec.vars["groups"].clone()).unwrap_or_default();
        let run_id = record.run.to_string();
        let before = ledger.account(record.run)?.ended();
        let roll = ledger.roll(record.run, record.round)?;
        let failed = ledger
            .outcomes(record.run)?
            .iter()
            .filter(|host| host.round == record.round)
            .filter(|host| matches!(host.outcome.status(), Status::Failed | Status::Quarantined))
            .count();
        let plan = RunPlan {
            shared: Shared::new(&run_id, groups, std::env::vars()).with_secrets(secrets),
            vars: Arc::new(move |name| vars.get(name).cloned().unwrap_or_default()),
            planned: roll.len() as u64,
            failed: failed as u64,
            first: roll.first().map(|entry| entry.host.clone()),
            job: Arc::new(job),
            hosts: host_plans,
            delegates: delegates(&options, &passwords, printer)?,
            settings,
        };
        work(handle, client, plan, &banner, &options, before, report, printer)?.report(None, report, printer)
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
    ended_before: u64,
    report: &Report,
    printer: &Printer,
) -> Result<Finished, Failure> {
    let runtime = runtime(plan.settings.sessions)?;
    let ledger = handle.ledger().clone();
    let run = handle.run();
    if let Some(bytes) = options.max_output {
        handle.limit_output(bytes);
    }
    let total = plan.hosts.len() as u64;
    let after = ledger.last_event(run)?;
    printer.say(&format!("{run}  {banner}"));
    let (end, watched) = runtime.block_on(async {
        let (stopper, listener) = stopper();
        let signals = tokio::spawn(listen(stopper, *printer));
        let mut watchers = tokio::task::JoinSet::new();
        let view = render::live::View::new(total + ended_before, ended_before, *printer, !options.fold);
        watchers.spawn(render::live::watch(handle.follow(after), view, ledger.clone()));
        if let Some(path) = report.events.clone() {
            watchers.spawn(render::events::write(handle.follow(after), path));
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
        signals.abort();
        let mut watched = Ok(());
        while let Some(result) = watchers.join_next().await {
            let result =
                result.unwrap_or_else(|error| Err(Failure::System(format!("a watcher failed: {error}"))));
            watched = watched.and(result);
        }
        (end, watched)
    });
    Ok(Finished {
        ledger,
        run,
        fold: options.fold,
        end,
        watched,
    })
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
            end,
            watched,
        } = self;
        let kind = ledger.run(run)?.spec.kind;
        let exit = render::end::report(&ledger, run, kind, fold, extra, report, printer);
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

/// Two stages: the first signal asks to stop soon, the second to leave.
async fn listen(stopper: reveille_fleet::Stopper, printer: Printer) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        printer.warning("can't listen for signals: Ctrl-C ends the program at once");
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if stopper.asked() == Stop::No {
            printer.note(
                "stopping: nothing more is dispatched, running steps may finish; once more to leave at once",
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

fn check_report(report: &Report) -> Result<(), Failure> {
    let events_to_stdout = report.events.as_deref() == Some(Path::new("-"));
    if events_to_stdout && report.format == crate::cli::Format::Json {
        return Err(Failure::usage(
            "--format json and --events - both write to standard output; send one to a file",
        ));
    }
    Ok(())
}

/// A seed for a new run.
pub(crate) fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

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
