//! `reveille drill`: rehearses a job against a practice fleet with injected faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use reveille_account::{Exit, HostName, RunState};
use reveille_drill::{Fault, FaultKind, Shows, Targets};
use reveille_fleet::{Hurry, RunHost, RunRecipe};
use reveille_inventory::{Inventory, RunSelector, Source};
use reveille_job::{Job, Limit, Role, Scope, Shared};
use reveille_ledger::RunKind;
use reveille_ledger::export::SummaryOptions;
use reveille_pace::Portion;
use reveille_text::counted;
use reveille_way::{InventorySources, Passwords, Way};

use crate::cli::{DrillArgs, Globals};
use crate::commands::run::read_job;
use crate::drill::compare::{Comparison, Traits};
use crate::drill::practice::{Practice, Wanted, serve};
use crate::drill::real;
use crate::failure::Failure;
use crate::launch::{self, Finished, Request};
use crate::options::run_options;
use crate::printer::Printer;
use crate::render::end::Extra;
use crate::state;

/// The default job.
const INSTALL: &str = include_str!("../drill/install.yaml");
/// Steps of the default job that succeed before faults of commands show.
const GOOD_STEPS: u32 = 1;

/// The default faults: each is injected into a share of the hosts.
const DEFAULT_FAULTS: [FaultKind; 14] = [
    FaultKind::Refuse,
    FaultKind::ExceededStartups(2),
    FaultKind::BannerStall,
    FaultKind::GarbageBanner,
    FaultKind::AuthFail,
    FaultKind::HostKeyChanged,
    FaultKind::ForceCommand,
    FaultKind::DropOnce(1),
    FaultKind::Flap(3),
    FaultKind::Exit(100),
    FaultKind::Killed,
    FaultKind::EarlyExit,
    FaultKind::SlowDrip,
    FaultKind::PartialStall,
];
/// Each default fault is injected into one of this many hosts, but at least into one.
const ONE_IN: u32 = 28;

/// Deadlines for hosts on this machine: five tries of a stalled handshake fit into ten seconds.
const HURRY: Hurry = Hurry {
    banner_ms: 1_000,
    key_exchange_ms: 1_000,
    authentication_ms: 2_000,
    channel_ms: 2_000,
    backoff_ms: (100, 1_000),
};

pub(crate) fn run(args: &DrillArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    if args.list_faults {
        printer.data(&list_of_faults())?;
        return Ok(Exit::Success);
    }
    if args.real_shell {
        real::may_run(args)?;
    }
    let wanted = |faults, good_commands| Wanted {
        hosts: args.hosts,
        seed: args.seed,
        faults,
        good_commands,
        real_shell: args.real_shell,
    };
    if let Some(directory) = &args.serve {
        let faults = faults(args)?.unwrap_or_default();
        serve(&wanted(faults, args.good_commands), directory, printer)?;
        return Ok(Exit::Success);
    }
    let mut job = match &args.job {
        Some(path) => read_job(path, BTreeMap::new())?,
        None => Job::parse_bytes(INSTALL.as_bytes(), "install.yaml", BTreeMap::new())
            .map_err(Failure::Mistakes)?,
    };
    if args.real_shell {
        real::may_rehearse(&job)?;
    }
    let played = played(args, &job, printer)?;
    let traits = Traits {
        real: args.real_shell,
        own: args.job.is_some(),
        durable: job.steps.iter().all(|step| step.durable),
        repeatable: job.steps.iter().any(|step| step.idempotent),
        heals: job.heal.reboot || job.steps.iter().any(|step| matches!(step.role, Role::Repair(_))),
    };
    let faults = match faults(args)? {
        Some(faults) => faults,
        None => default_faults(args, &job),
    };
    let hurry = (!faults.is_empty()).then_some(HURRY);
    let good_commands = if traits.own { 0 } else { GOOD_STEPS };
    let state_dir = match &globals.state_dir {
        Some(directory) => directory.clone(),
        // Drills have a ledger of their own, so that `last` never names one.
        None => state::directory(globals)?.join("drill"),
    };
    let practice = Practice::start(&wanted(faults, good_commands), &state_dir)?;
    if args.real_shell && !printer.quiet {
        printer.warning(&real::notice(&practice.homes()));
    }
    let (hosts, groups) = hosts(&practice, played.as_ref())?;
    check(&mut job, &hosts, &groups)?;
    for differs in job.rehearse(&practice.downloads()) {
        printer.say(&format!("in the drill: {differs}"));
    }
    let mut options = run_options(None, &args.pacing, true)?;
    options.known_hosts.push(practice.known_hosts());
    options.hurry = hurry;
    if args.real_shell {
        let wanted = options.concurrency.unwrap_or(real::AT_ONCE);
        options.concurrency = Some(wanted.min(real::AT_ONCE));
    }
    let request = Request {
        recipe: RunRecipe {
            kind: RunKind::Drill,
            job,
            options,
            groups,
            seed: args.seed,
            comment: args.pacing.comment.clone(),
        },
        hosts,
        passwords: Passwords::default(),
        input: None,
        state_dir,
    };
    let finished = launch::execute(request, &args.report, printer)?;
    let injected = practice.end()?;
    let summary = finished.ledger.summary(finished.run, SummaryOptions::default())?;
    let comparison = Comparison::new(&injected, &summary, traits)?;
    let (exit, last) = verdict(&comparison, &summary.account, summary.record.state, &finished);
    let quiet = printer.quiet && comparison.is_right();
    let mut words = String::new();
    if !quiet {
        words = comparison.table(printer.quiet, |text, tone| printer.tone_err(text, tone));
        let tone = reveille_view::Role::of(comparison.is_right());
        let _ = write!(words, "\n{}", printer.tone_err(&last, tone));
    }
    let extra = Extra {
        exit,
        words,
        json: ("drill", comparison.json(args.seed)),
    };
    drop(summary);
    finished.report(Some(&extra), &args.report, printer)
}

/// The inventory of `-i`, and those of its hosts that the job's pattern matches.
fn played(
    args: &DrillArgs,
    job: &Job,
    printer: &Printer,
) -> Result<Option<(Inventory, Vec<HostName>)>, Failure> {
    if args.inventory.is_empty() {
        return Ok(None);
    }
    let inventory = InventorySources::new(&args.inventory, &[], &[])?.load(printer)?;
    let names = inventory.select(job.hosts.as_slice(), &no_earlier)?;
    Ok(Some((inventory, names)))
}

fn no_earlier(_: &RunSelector) -> Result<Vec<HostName>, String> {
    Err("a practice fleet has no earlier runs".to_owned())
}

type Groups = Vec<(String, Vec<String>)>;

/// The practice hosts and their groups. With an inventory, each practice host has the variables and groups of one of its
/// hosts, in turn, and every group of the inventory has hosts.
fn hosts(
    practice: &Practice,
    played: Option<&(Inventory, Vec<HostName>)>,
) -> Result<(Vec<RunHost>, Groups), Failure> {
    let source = Source::Argument(practice.inventory().display().to_string());
    let fleet = Inventory::load(&[source])?.inventory;
    let names = fleet.select::<&str>(&[], &no_earlier)?;
    let mut hosts = Vec::with_capacity(names.len());
    for name in &names {
        let connection = fleet.connection(name.as_str())?;
        let way = Way::plain(
            connection.address.value,
            connection.port.map_or(22, |port| port.value),
            &connection.user.map_or_else(state::user, |user| user.value),
            practice.key(),
        );
        hosts.push(RunHost {
            name: name.clone(),
            way,
            vars: serde_json::Map::new(),
            unrecorded: Vec::new(),
        });
    }
    let Some((inventory, roles)) = played else {
        let all = names.iter().map(ToString::to_string).collect();
        return Ok((hosts, vec![("all".to_owned(), all)]));
    };
    for (host, role) in hosts.iter_mut().zip(roles.iter().cycle()) {
        host.vars = inventory.template_vars(role.as_str());
        host.unrecorded = inventory.vault_vars(role.as_str());
    }
    // The practice hosts with the role of each host. Hosts that the job does not run on are only in groups.
    let mut casts: HashMap<HostName, Vec<&HostName>> = HashMap::new();
    let everyone = inventory.select::<&str>(&[], &no_earlier)?;
    let more = roles.len().max(names.len());
    let pairs = roles.iter().cycle().zip(names.iter().cycle()).take(more);
    for (role, name) in pairs.chain(everyone.iter().zip(names.iter().cycle())) {
        let cast = casts.entry(role.clone()).or_default();
        if cast.is_empty() || (roles.len() < names.len() && !cast.contains(&name)) {
            cast.push(name);
        }
    }
    let groups = inventory.groups().into_iter().map(|(group, members)| {
        let cast: BTreeSet<&HostName> = members
            .iter()
            .flat_map(|member| casts.get(member).into_iter().flatten().copied())
            .collect();
        (
            group.to_owned(),
            cast.into_iter().map(ToString::to_string).collect(),
        )
    });
    let groups = groups.collect();
    Ok((hosts, groups))
}

/// Evaluates every template for every host.
fn check(job: &mut Job, hosts: &[RunHost], groups: &Groups) -> Result<(), Failure> {
    let shared = Shared::new("RUN", groups.clone(), job.environment());
    let scopes = hosts
        .iter()
        .map(|host| Scope::new(host.name.as_str(), &host.vars, &shared).hiding(&host.unrecorded));
    job.expand(&scopes).map_err(Failure::Mistakes)?;
    let mistakes = job.check_all(scopes);
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(Failure::Mistakes(mistakes))
    }
}

/// The faults that the options name; `None` without `--fault`.
fn faults(args: &DrillArgs) -> Result<Option<Vec<Fault>>, Failure> {
    if args.faults.is_empty() {
        return Ok(None);
    }
    if args.faults.iter().any(|fault| fault == "none") {
        return if args.faults.len() == 1 {
            Ok(Some(Vec::new()))
        } else {
            Err(Failure::usage(
                "--fault none can't be combined with other --fault options",
            ))
        };
    }
    let parse = |text: &String| {
        let faults = Fault::parse_all(text).map_err(|error| {
            let kinds: Vec<&str> = FaultKind::all().map(FaultKind::name).collect();
            Failure::usage(format!(
                "--fault {text}: {error}\n\nkinds: {}; --list-faults explains them",
                kinds.join(", ")
            ))
        })?;
        if args.real_shell {
            real::can_show(text, faults)
        } else {
            Ok(faults)
        }
    };
    let faults: Vec<Vec<Fault>> = args.faults.iter().map(parse).collect::<Result<_, Failure>>()?;
    Ok(Some(faults.concat()))
}

/// Each kind with its default parameter, its meaning, and its right classes.
fn list_of_faults() -> String {
    let width = FaultKind::all()
        .map(|kind| kind.to_string().len())
        .max()
        .unwrap_or(0);
    let mut lines = String::new();
    for kind in FaultKind::all() {
        let classes: Vec<String> = kind.expected().classes.iter().map(ToString::to_string).collect();
        let name = kind.to_string();
        let _ = writeln!(
            lines,
            "{name:<width$}  {}: {}",
            kind.meaning(),
            classes.join(" or ")
        );
    }
    lines.truncate(lines.trim_end().len());
    lines
}

fn default_faults(args: &DrillArgs, job: &Job) -> Vec<Fault> {
    // Without a deadline, nothing ends a silent command.
    let watched = job.steps.iter().all(|step| {
        matches!(step.watchdog.idle, Limit::After(_)) || matches!(step.watchdog.total, Limit::After(_))
    });
    let each = u64::from((args.hosts / ONE_IN).max(1));
    // At least half of the hosts stay healthy.
    let kinds = usize::try_from(args.hosts / 2).unwrap_or(usize::MAX);
    DEFAULT_FAULTS
        .into_iter()
        .filter(|kind| watched || *kind != FaultKind::PartialStall)
        .filter(|kind| !args.real_shell || kind.shows() == Shows::Connection)
        .take(kinds)
        .map(|kind| Fault {
            kind,
            targets: Targets::Some(Portion::Count(each)),
        })
        .collect()
}

/// The exit status and the last line.
fn verdict(
    comparison: &Comparison,
    account: &reveille_account::Account,
    run: RunState,
    finished: &Finished,
) -> (Exit, String) {
    if run != RunState::Closed {
        let again =
            "the drill was interrupted; it can't be resumed, because its fleet has ended: start it again";
        return (Exit::Interrupted, again.to_owned());
    }
    if !account.balanced() || account.ghost > 0 {
        return (
            Exit::Unbalanced,
            format!("{}: hosts are unaccounted for", finished.run),
        );
    }
    if comparison.ran_twice() > 0 {
        let twice = counted(comparison.ran_twice(), "host");
        return (
            Exit::Internal,
            format!("a durable command ran twice on {twice}: this is a bug in Reveille"),
        );
    }
    if !comparison.is_right() {
        let wrong = counted(comparison.wrong_hosts(), "host");
        return (
            Exit::Internal,
            format!(
                "{wrong} ended with a class that the injected faults do not explain: this is a bug in Reveille"
            ),
        );
    }
    if comparison.kinds() == 0 {
        return if comparison.by_job() == 0 && comparison.unreached() == 0 {
            let words = "no fault was injected, and every host succeeded";
            (Exit::Success, words.to_owned())
        } else {
            let failed = counted(account.planned - account.success, "host");
            let words = format!("no fault was injected; {failed} failed by the job's own rules");
            (Exit::HostsFailed, words)
        };
    }
    let struck = counted(comparison.struck(), "host");
    let mut words = match comparison.seen() {
        seen if seen == comparison.kinds() => format!(
            "{} of fault on {struck}, each reported correctly",
            counted(seen, "kind")
        ),
        seen => format!(
            "{seen} of {} of fault happened, each reported correctly; the others were not rehearsed",
            counted(comparison.kinds(), "kind")
        ),
    };
    if comparison.by_job() > 0 {
        let by_job = counted(comparison.by_job(), "host");
        let _ = write!(words, "; {by_job} failed by the job's own rules");
    }
    if comparison.unreached() > 0 {
        let unreached = counted(comparison.unreached(), "host");
        let _ = write!(words, "; {unreached} not reached, because the run stopped before");
    }
    if comparison.by_job() > 0 || comparison.unreached() > 0 {
        return (Exit::HostsFailed, words);
    }
    let failed = counted(account.failed + account.quarantined, "host");
    let _ = write!(words, "; {failed} failed because of them, as expected");
    (Exit::Success, words)
}
