//! `reveille clean`: what a run left on its hosts is removed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reveille_account::{Exit, HostName, RunState};
use reveille_fleet::{CleanPlan, Cleaned};
use reveille_ledger::Ledger;
use reveille_text::counted;
use reveille_text::harmless;
use reveille_transport::supervisor::Hello;

use crate::cli::{CleanArgs, Globals};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{launch, state};

/// How long after its end a run's tombstones stay: a request that was under way then may still arrive.
const TOMBSTONES: Duration = Duration::from_hours(24);
/// Hosts at once, if nobody says otherwise.
const AT_ONCE: u32 = 64;
/// Hosts that are named when something went wrong.
const NAMES: usize = 20;

pub(crate) fn run(args: &CleanArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let directory = state::directory(globals)?;
    // Where there is none, none is made.
    Ledger::open_existing(&directory)?;
    let ledger = Ledger::open(&directory)?;
    let run = ledger.resolve_run(&args.which.run)?;
    let record = ledger.run(run)?;
    if record.state != RunState::Closed {
        return Err(Failure::usage(format!(
            "{run} is not over: hosts may still have work of it; finish it first with `reveille resume{} {run}`",
            state::option(ledger.state_directory())
        )));
    }
    let mut reported: HashMap<HostName, Vec<Hello>> = HashMap::new();
    for kept in ledger.places(run)? {
        reported.entry(kept.host).or_default().push(Hello {
            boot: "-".to_owned(),
            machine: kept.machine,
            node: "-".to_owned(),
            place: kept.place,
            mark: kept.mark,
        });
    }
    if reported.is_empty() {
        printer.say(&format!("{run} left nothing on its hosts"));
        return Ok(Exit::Success);
    }
    let (machines, client) = launch::machines(&ledger, &record, printer)?;
    let hosts: Vec<CleanPlan> = machines
        .into_iter()
        .filter_map(|to| {
            let reported = reported.remove(&to.name)?;
            let mut becomes: Vec<_> = to.escalate.into_iter().collect();
            if !becomes.contains(&to.becomes) {
                becomes.push(to.becomes);
            }
            Some(CleanPlan {
                name: to.name,
                target: to.target,
                becomes,
                reported,
            })
        })
        .collect();
    // Of the machines that steps of others ran on not all have to be known still.
    let mut unknown: Vec<HostName> = reported.into_keys().collect();
    unknown.sort();
    let ended = Duration::from_millis(record.ended_ms.unwrap_or(u64::MAX));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let tombstones = ended.saturating_add(TOMBSTONES) < now;
    let at_once = reveille_fleet::sessions(args.concurrency.unwrap_or(AT_ONCE).into())
        .map_err(Failure::Usage)?
        .sessions;
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
    let total = hosts.len() + unknown.len();
    // Nobody else may work on the run meanwhile, and hosts refuse whoever did before.
    let handle = ledger.take_over(run, &state::node())?;
    let (mut done, mut running, mut failed) = (0, Vec::new(), Vec::new());
    failed.extend(
        unknown
            .into_iter()
            .map(|host| (host, "it is not known how to reach it".to_owned())),
    );
    let tell = |host: HostName, cleaned: Cleaned| match cleaned {
        Cleaned::Done { running: 0 } => done += 1,
        Cleaned::Done { running: count } => running.push((host, count)),
        Cleaned::Failed(why) => failed.push((host, why)),
    };
    let cleaning = reveille_fleet::clean(
        Arc::new(client),
        run,
        handle.epoch(),
        hosts,
        at_once,
        tombstones,
        tell,
    );
    launch::runtime(at_once)?.block_on(cleaning);
    let what = if tombstones {
        "clean"
    } else {
        "clean but for tombstones, which stay for a day after the end of a run"
    };
    printer.data(&format!("{} of {} {what}", done, counted(total, "host")))?;
    for (host, count) in running.iter().take(NAMES) {
        printer.data(&format!("{host}: {count} of the run's commands still run there"))?;
    }
    for (host, why) in failed.iter().take(NAMES) {
        printer.data(&format!("{host}: {}", harmless::block(why)))?;
    }
    let more = (running.len() + failed.len()).saturating_sub(2 * NAMES);
    if more > 0 {
        printer.data(&format!("… and {} more", counted(more, "host")))?;
    }
    Ok(if done == total {
        Exit::Success
    } else {
        Exit::HostsFailed
    })
}
