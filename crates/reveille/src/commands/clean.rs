//! `reveille clean`: removes a run's files from its hosts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reveille_account::{Exit, HostName, RunState};
use reveille_fleet::{CleanPlan, Cleaned};
use reveille_text::counted;
use reveille_text::harmless;
use reveille_transport::supervisor::Hello;

use crate::cli::{CleanArgs, Globals};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::runtime::runtime;
use crate::{launch, recent, state};

/// How long tombstones stay after the end of a run, because a delayed start may still arrive.
const TOMBSTONES: Duration = Duration::from_hours(24);
/// Default of `--concurrency`.
const AT_ONCE: u32 = 64;
/// Hosts that are named if they could not be cleaned.
const NAMES: usize = 20;

pub(crate) fn run(args: &CleanArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (ledger, record) = launch::open(globals, &args.which.run, recent::newest)?;
    let run = record.run;
    if record.state != RunState::Closed {
        return Err(Failure::usage(format!(
            "{run} has not ended, and its commands may still run on hosts; finish it first with `reveille resume{} \
             {run}`",
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
    // A machine on which a `run_on` step ran may be unknown by now.
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
    // Prevents other controllers from working on the run, and hosts from obeying a former controller.
    let handle = ledger.take_over(run, &state::node())?;
    let no_way = "the run has no record of how to reach it";
    let (mut done, mut running) = (0, Vec::new());
    let mut failed: Vec<_> = unknown
        .into_iter()
        .map(|host| (host, no_way.to_owned()))
        .collect();
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
    runtime(at_once)?.block_on(cleaning);
    printer.data(&format!("{done} of {} cleaned", counted(total, "host")))?;
    if !tombstones {
        printer.say("tombstones stay until a day after the end of the run; then run `reveille clean` again");
    }
    for (host, count) in running.iter().take(NAMES) {
        printer.data(&format!(
            "{host}: {} of the run still running",
            counted(*count, "command")
        ))?;
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
