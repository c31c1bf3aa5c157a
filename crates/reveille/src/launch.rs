//! From what was asked for to a run in the ledger, through the engine, to its end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Exit, HostName, RunId, Status};
use reveille_fleet::{HostPlan, RunEnd, RunPlan, Settings, Stop, stopper};
use reveille_inventory::{Connection, Hop, Transport};
use reveille_job::{Amount, Job, JobSource, Order, Shared};
use reveille_ledger::output::OutputCaps;
use reveille_ledger::{Ledger, Remaining, RollEntry, RunHandle, RunKind, RunRecord, RunSpec};
use reveille_pace::Portion;
use reveille_transport::supervisor::Become;
use reveille_transport::{Client, Deadlines, HostKeyPolicy, Identities, KnownHosts, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cli::{HostKey, Pacing, Reach, Report};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::{self, end::Extra};
use crate::{limits, state};

/// Sessions at once if nobody says otherwise.
const SESSIONS: u32 = 512;
/// The var of the roll that holds how a host is reached.
const CONNECTION: &str = "reveille_connection";

/// The options that a run keeps, so that `resume` goes on as it began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Options {
    concurrency: Option<u32>,
    serial: Vec<String>,
    max_fail: Option<String>,
    grace_ms: u64,
    connect_timeout_ms: u64,
    host_key: String,
    max_output: Option<u64>,
    fold: bool,
    /// SHA-256 of the commands' input, which is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    /// Host keys that are known beside the user's files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    known_hosts: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hurry: Option<Hurry>,
}

/// Shorter deadlines and waits than the usual ones, for hosts that are next door.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "milliseconds, as in the ledger's options"
)]
pub(crate) struct Hurry {
    pub(crate) banner_ms: u64,
    pub(crate) key_exchange_ms: u64,
    pub(crate) authentication_ms: u64,
    pub(crate) channel_ms: u64,
    /// The first and the longest wait between tries.
    pub(crate) backoff_ms: (u64, u64),
}

/// How a host is reached, with every option applied; recorded with the roll.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reached {
    address: String,
    port: u16,
    user: String,
    keys: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    jump: Vec<(String, u16, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    escalate: Option<String>,
    becomes: String,
    #[serde(default)]
    not_ready: bool,
    /// The agent's keys are not offered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keys_only: bool,
}

/// A run that is about to be recorded.
pub(crate) struct Request {
    pub(crate) kind: RunKind,
    pub(crate) job: Job,
    pub(crate) hosts: Vec<(HostName, Reached, Map<String, Value>)>,
    pub(crate) groups: Vec<(String, Vec<String>)>,
    pub(crate) options: Options,
    pub(crate) comment: Option<String>,
    pub(crate) input: Option<Bytes>,
    pub(crate) seed: u64,
    pub(crate) state_dir: PathBuf,
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

// === impl Options ===

impl Options {
    pub(crate) fn new(reach: Option<&Reach>, pacing: &Pacing, fold: bool) -> Result<Self, Failure> {
        let options = Self {
            concurrency: pacing.concurrency,
            serial: pacing.serial.clone(),
            max_fail: pacing.max_fail.clone(),
            grace_ms: millis(pacing.grace),
            connect_timeout_ms: reach.map_or(10_000, |reach| millis(reach.connect_timeout)),
            host_key: match reach.map(|reach| reach.host_key).unwrap_or_default() {
                HostKey::Strict => "strict",
                HostKey::AcceptNew => "accept-new",
                HostKey::Off => "off",
            }
            .to_owned(),
            max_output: pacing.max_output,
            fold,
            input: None,
            known_hosts: Vec::new(),
            hurry: None,
        };
        options.portions()?;
        Ok(options)
    }

    /// For a rehearsal: host keys from a file of its own, and perhaps no time to lose.
    pub(crate) fn rehearsing(mut self, known_hosts: PathBuf, hurry: Option<Hurry>) -> Self {
        self.known_hosts.push(known_hosts);
        self.hurry = hurry;
        self
    }

    fn deadlines(&self) -> Deadlines {
        let connect = Duration::from_millis(self.connect_timeout_ms);
        let usual = Deadlines {
            connect,
            ..Deadlines::default()
        };
        self.hurry.map_or(usual, |hurry| Deadlines {
            banner: Duration::from_millis(hurry.banner_ms),
            key_exchange: Duration::from_millis(hurry.key_exchange_ms),
            authentication: Duration::from_millis(hurry.authentication_ms),
            channel: Duration::from_millis(hurry.channel_ms),
            ..usual
        })
    }

    fn portions(&self) -> Result<(Vec<Portion>, Option<Portion>), Failure> {
        let parse = |option: &str, text: &String| {
            text.parse::<Portion>()
                .map_err(|error| Failure::usage(format!("{option}: {error}")))
        };
        let serial = self
            .serial
            .iter()
            .map(|text| parse("--serial", text))
            .collect::<Result<_, _>>()?;
        let max_fail = self
            .max_fail
            .as_ref()
            .map(|text| parse("--max-fail", text))
            .transpose()?;
        Ok((serial, max_fail))
    }

    fn policy(&self) -> HostKeyPolicy {
        match self.host_key.as_str() {
            "strict" => HostKeyPolicy::Strict,
            "off" => HostKeyPolicy::Off,
            _ => HostKeyPolicy::AcceptNew,
        }
    }
}

// === impl Reached ===

impl Reached {
    /// What the inventory says of a host, with the command line's word on top.
    pub(crate) fn new(connection: Connection, reach: &Reach, job_becomes: bool) -> Result<Self, Failure> {
        if connection.transport == Transport::Local {
            return Err(Failure::usage(format!(
                "{} has ansible_connection=local, which is not supported yet; use its SSH server",
                connection.address
            )));
        }
        if connection.becomes.method != reveille_inventory::BecomeMethod::Sudo {
            return Err(Failure::usage(format!(
                "{} has an ansible_become_method other than sudo, which is not supported yet",
                connection.address
            )));
        }
        let user = reach.user.clone().or(connection.user).unwrap_or_else(state::user);
        let becomes = reach
            .become_user
            .clone()
            .or(connection.becomes.user)
            .unwrap_or_else(|| "root".to_owned());
        let wanted =
            reach.escalate || reach.become_user.is_some() || job_becomes || connection.escalate.is_some();
        let hop = |hop: Hop| {
            let hop_user = hop.user.unwrap_or_else(|| user.clone());
            (hop.address, hop.port.unwrap_or(22), hop_user)
        };
        Ok(Self {
            address: connection.address,
            port: reach.port.or(connection.port).unwrap_or(22),
            keys: if reach.key.is_empty() {
                connection.key_files
            } else {
                reach.key.clone()
            },
            jump: connection.jump.into_iter().map(hop).collect(),
            escalate: wanted.then(|| becomes.clone()),
            becomes,
            not_ready: connection.not_ready,
            keys_only: false,
            user,
        })
    }

    /// A plain way to an address with one key and no agent, for the drill.
    pub(crate) fn plain(address: String, port: u16, user: &str, key: PathBuf) -> Self {
        Self {
            address,
            port,
            user: user.to_owned(),
            keys: vec![key],
            jump: Vec::new(),
            escalate: None,
            becomes: "root".to_owned(),
            not_ready: false,
            keys_only: true,
        }
    }
}

/// Key files are read once, however many hosts name them.
struct KeyRing {
    agent: Option<PathBuf>,
    loaded: HashMap<(Vec<PathBuf>, bool), Arc<Identities>>,
    warnings: Vec<String>,
}

impl KeyRing {
    fn new() -> Self {
        let agent = std::env::var_os("SSH_AUTH_SOCK")
            .map(PathBuf::from)
            .filter(|path| path.exists());
        Self {
            agent,
            loaded: HashMap::new(),
            warnings: Vec::new(),
        }
    }

    fn get(&mut self, files: &[PathBuf], keys_only: bool) -> Result<Arc<Identities>, Failure> {
        let wanted = (files.to_vec(), keys_only);
        if let Some(identities) = self.loaded.get(&wanted) {
            return Ok(Arc::clone(identities));
        }
        let agent = self.agent.clone().filter(|_| !keys_only);
        let identities = if files.is_empty() {
            let directory = state::home().map(|home| home.join(".ssh")).unwrap_or_default();
            let (identities, warnings) = Identities::defaults(&directory, agent);
            self.warnings.extend(warnings.iter().map(ToString::to_string));
            identities
        } else {
            let expanded: Vec<PathBuf> = files.iter().map(|path| expand_home(path)).collect();
            Identities::load(&expanded, agent).map_err(|error| Failure::usage(error.to_string()))?
        };
        let identities = Arc::new(identities);
        self.loaded.insert(wanted, Arc::clone(&identities));
        Ok(identities)
    }
}

fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), state::home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Turns recorded ways into targets.
fn plans(
    hosts: impl IntoIterator<Item = (HostName, Reached, Option<Remaining>)>,
    policy: HostKeyPolicy,
    printer: &Printer,
) -> Result<Vec<HostPlan>, Failure> {
    let mut ring = KeyRing::new();
    let mut plans = Vec::new();
    for (name, reached, before) in hosts {
        let identities = ring.get(&reached.keys, reached.keys_only)?;
        let mut jump: Option<Arc<Target>> = None;
        for (address, port, user) in reached.jump {
            jump = Some(Arc::new(Target {
                name: name.clone(),
                address,
                port,
                user,
                identities: Arc::clone(&identities),
                host_keys: policy,
                jump: jump.take(),
            }));
        }
        let target = Target {
            name: name.clone(),
            address: reached.address,
            port: reached.port,
            user: reached.user,
            identities,
            host_keys: policy,
            jump,
        };
        plans.push(HostPlan {
            name,
            target: Arc::new(target),
            escalate: reached.escalate.map(|user| Become { user }),
            becomes: Become {
                user: reached.becomes,
            },
            before,
            not_ready: reached.not_ready,
        });
    }
    for warning in ring.warnings {
        printer.warning(&warning);
    }
    Ok(plans)
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
        mut options,
        comment,
        input,
        seed,
        state_dir,
    } = request;
    options.input = input.as_ref().map(|input| sha256(input));
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
    let policy = options.policy();
    let client = client(&state_dir, &options)?;
    let host_plans = plans(
        hosts
            .iter()
            .map(|(name, reached, _)| (name.clone(), reached.clone(), None)),
        policy,
        printer,
    )?;
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
                let plain = vars.iter().filter(|(key, _)| !reveille_inventory::is_secret(key));
                kept.extend(plain.map(|(key, value)| (key.clone(), value.clone())));
            }
            kept.insert(
                CONNECTION.to_owned(),
                serde_json::to_value(reached).unwrap_or_default(),
            );
            let mut entry = RollEntry::new(name.clone());
            entry.address = Some(reached.address.clone());
            entry.port = reached.port;
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
        shared: Shared::new(&run_id, groups, std::env::vars()),
        vars: Arc::new(move |name| all_vars.get(name).cloned().unwrap_or_default()),
        job: Arc::new(job),
        planned: host_plans.len() as u64,
        failed: 0,
        hosts: host_plans,
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
    check_input(record, input.as_ref())?;
    let handle = ledger.take_over(record.run, &state::node())?;
    go_on(ledger, record, handle, concurrency, input, report, printer)
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
    check_input(record, input.as_ref())?;
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
    go_on(ledger, &record, handle, concurrency, input, report, printer)
}

fn go_on(
    ledger: &Ledger,
    record: &RunRecord,
    handle: RunHandle,
    concurrency: Option<u32>,
    input: Option<Bytes>,
    report: &Report,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let damaged =
        |what: &str| Failure::System(format!("{}'s record of its {what} can't be read", record.run));
    let mut options: Options =
        serde_json::from_value(record.spec.options.clone()).map_err(|_| damaged("options"))?;
    options.concurrency = concurrency.or(options.concurrency);
    let source: JobSource = serde_json::from_str(&record.spec.text).map_err(|_| damaged("job"))?;
    if let JobSource::File { file, text, .. } = &source
        && std::fs::read(file).is_ok_and(|now| now != text.as_bytes())
    {
        printer.warning(&format!("{file} has changed since; using the recorded one"));
    }
    let job = Job::from_source(&source).map_err(Failure::Mistakes)?;
    let remaining = ledger.remaining(record.run)?;
    let mut vars: HashMap<HostName, Map<String, Value>> = HashMap::new();
    let mut hosts = Vec::new();
    for host in remaining {
        let name = host.entry.host.clone();
        let mut kept: Map<String, Value> =
            serde_json::from_str(&host.entry.vars).map_err(|_| damaged("roll"))?;
        let reached = kept.remove(CONNECTION).ok_or_else(|| damaged("roll"))?;
        let reached: Reached = serde_json::from_value(reached).map_err(|_| damaged("roll"))?;
        vars.insert(name.clone(), kept);
        hosts.push((name, reached, Some(host)));
    }
    let host_plans = plans(hosts, options.policy(), printer)?;
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
        shared: Shared::new(&run_id, groups, std::env::vars()),
        vars: Arc::new(move |name| vars.get(name).cloned().unwrap_or_default()),
        planned: roll.len() as u64,
        failed: failed as u64,
        first: roll.first().map(|entry| entry.host.clone()),
        job: Arc::new(job),
        hosts: host_plans,
        settings,
    };
    work(handle, client, plan, &banner, &options, before, report, printer)?.report(None, report, printer)
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

/// The engine's settings, and the first line of the run.
fn settings(
    options: &Options,
    job: &Job,
    hosts: &[HostPlan],
    input: Option<Bytes>,
    seed: u64,
) -> Result<(Settings, String), Failure> {
    let (mut serial, mut max_fail) = options.portions()?;
    if serial.is_empty() {
        serial = job.serial.iter().copied().map(portion).collect();
    }
    max_fail = max_fail.or(job.max_fail.total.map(portion));
    let wanted = options
        .concurrency
        .unwrap_or(SESSIONS)
        .min(u32::try_from(hosts.len()).unwrap_or(u32::MAX))
        .max(1);
    let limits::Fit { sessions, frugal, reason } = limits::sessions(wanted.into()).map_err(Failure::Usage)?;
    let total = hosts.len() as u64;
    let queued = total.saturating_sub(sessions);
    let mut banner = render::text::hosts(hosts.len());
    if queued > 0 {
        let waves = total.div_ceil(sessions);
        banner = format!("{banner}: {sessions} at once, {queued} queued ({waves} waves)");
    }
    if let Some(reason) = reason {
        banner = format!("{banner}; {sessions} sessions instead of {wanted}, because of {reason}");
    }
    match max_fail {
        Some(most) => banner = format!("{banner}; max_fail {most}"),
        None => banner.push_str("; max_fail none"),
    }
    let usual = Settings::default();
    let settings = Settings {
        sessions: usize::try_from(sessions).unwrap_or(usize::MAX),
        frugal,
        serial,
        max_fail,
        max_fail_batch: job.max_fail.batch.map(portion),
        backoff: options.hurry.map_or(
            usual.backoff,
            |Hurry {
                 backoff_ms: (first, longest),
                 ..
             }| { (Duration::from_millis(first), Duration::from_millis(longest)) },
        ),
        grace: Duration::from_millis(options.grace_ms),
        caps: OutputCaps::default(),
        input,
        seed,
        ..usual
    };
    Ok((settings, banner))
}

fn portion(amount: Amount) -> Portion {
    match amount {
        Amount::Hosts(count) => Portion::Count(count),
        // Two decimals of a percentage are what a portion holds.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100 per cent were checked"
        )]
        Amount::Percent(percent) => Portion::Share((percent * 100.0).round() as u16),
    }
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

/// Sessions from which on one thread is not enough to drive them. One does about 1,500 handshakes a second, and costs
/// far fewer context switches than several that share the same work.
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
