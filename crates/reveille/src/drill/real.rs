//! Drills whose commands run for real (`--real-shell`): what they may do.

use std::path::Path;

use reveille_drill::{Fault, Shows};
use reveille_job::Job;

use crate::cli::DrillArgs;
use crate::failure::Failure;
use crate::state;

/// Most hosts that work at once: each of them is several processes of this machine.
pub(crate) const AT_ONCE: u32 = 64;

/// Checks that commands may run for real.
pub(crate) fn may_run(args: &DrillArgs) -> Result<(), Failure> {
    if args.job.is_none() && args.serve.is_none() {
        return Err(Failure::usage(
            "--real-shell runs commands on this machine, and the built-in job would install a package; name a job file",
        ));
    }
    if rustix::process::geteuid().is_root() && !args.allow_root {
        return Err(Failure::usage(
            "--real-shell would run the job's commands as root on this machine; run it as another user, or add \
             --allow-root",
        ));
    }
    Ok(())
}

/// Checks that no step of the job reboots the host or becomes another user.
pub(crate) fn may_rehearse(job: &Job) -> Result<(), Failure> {
    let refused = |step: &str, what: &str| {
        Err(Failure::usage(format!(
            "--real-shell runs commands on this machine, and the step `{step}` would {what}; drill this job without \
             --real-shell"
        )))
    };
    for step in &job.steps {
        if step.kind() == "reboot" {
            return refused(&step.name, "reboot it");
        }
        if step.becomes == Some(true) {
            return refused(&step.name, "become another user");
        }
    }
    Ok(())
}

/// The faults of one `--fault` that also show if commands run for real. A fault that does not show is an error, unless it
/// is one of all kinds.
pub(crate) fn can_show(text: &str, faults: Vec<Fault>) -> Result<Vec<Fault>, Failure> {
    let every = faults.len() > 1;
    let (shown, played): (Vec<Fault>, Vec<Fault>) = faults
        .into_iter()
        .partition(|fault| fault.kind.shows() == Shows::Connection);
    match played.first() {
        Some(fault) if !every => Err(Failure::usage(format!(
            "--fault {text}: with --real-shell, only faults of the connection can be injected, and {} is none; \
             --list-faults lists them",
            fault.kind
        ))),
        _ => Ok(shown),
    }
}

/// The warning before commands run for real, each host's in its directory in `homes`.
pub(crate) fn notice(homes: &Path) -> String {
    format!(
        "the job's commands run for real on this machine, as the user {}; each host has a home directory in {}",
        state::user(),
        homes.display()
    )
}
