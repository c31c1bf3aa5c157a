//! Rehearsals whose commands run for real: what they may not do, and what has to be said.

use reveille_drill::{Fault, Shows};
use reveille_job::Job;

use crate::cli::DrillArgs;
use crate::drill::practice::Practice;
use crate::failure::Failure;
use crate::state;

/// Hosts that are at work at once: each is several processes of this machine.
pub(crate) const AT_ONCE: u32 = 64;

/// Whether commands may run for real at all.
pub(crate) fn may_run(args: &DrillArgs) -> Result<(), Failure> {
    if args.job.is_none() && args.serve.is_none() {
        return Err(Failure::usage(
            "--real-shell runs commands on this machine, and the built-in job would install a package; name a job of \
             your own",
        ));
    }
    if rustix::process::geteuid().is_root() && !args.allow_root {
        return Err(Failure::usage(
            "--real-shell would run the job's commands as root on this machine; do it as another user, or say that it \
             is meant with --allow-root",
        ));
    }
    Ok(())
}

/// Whether the job's commands may run on this machine: none reboots it, none becomes another user.
pub(crate) fn may_rehearse(job: &Job) -> Result<(), Failure> {
    let refused = |step: &str, what: &str| {
        Err(Failure::usage(format!(
            "--real-shell runs commands on this machine: the step `{step}` would {what}; rehearse it without"
        )))
    };
    for step in &job.steps {
        if step.kind() == "reboot" {
            return refused(&step.name, "reboot it");
        }
        if step.becomes == Some(true) {
            return refused(&step.name, "become another user of it");
        }
    }
    Ok(())
}

/// The faults of one `--fault` that show although commands run for real: all of them, unless every kind was asked for.
pub(crate) fn can_show(text: &str, faults: Vec<Fault>) -> Result<Vec<Fault>, Failure> {
    let every = faults.len() > 1;
    let (shown, played): (Vec<Fault>, Vec<Fault>) = faults
        .into_iter()
        .partition(|fault| fault.kind.shows() == Shows::Connection);
    match played.first() {
        Some(fault) if !every => Err(Failure::usage(format!(
            "--fault {text}: {} shows only where commands are played, so it does not go with --real-shell; faults of \
             the connection do (--list-faults)",
            fault.kind
        ))),
        _ => Ok(shown),
    }
}

/// What is about to happen.
pub(crate) fn notice(practice: &Practice) -> String {
    format!(
        "commands run for real on this machine, as {}, each host's in a directory of its own under {}",
        state::user(),
        practice.homes().display()
    )
}
