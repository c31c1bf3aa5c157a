//! The same work at 16, 32 … sessions at once, with more hosts than sessions (some queue) and with as many.

use std::fmt::Write as _;

use xtask::failure::Result;
use xtask::tell;
use xtask::workspace::Workspace;

use super::lab::{COMMAND, Lab};
use super::{Common, peers};
use crate::proc::{self, megabytes};

pub(crate) fn run(common: &Common, workspace: &Workspace) -> Result {
    peers::prepare(workspace, &[], common.install)?;
    let lab = Lab::open(workspace, common.hosts.into())?;
    let title = format!("{} hosts at 16 and more sessions at once", lab.hosts);
    let versions = peers::versions(workspace, &lab.reveille, &[]);
    lab.section("sweep", title, versions, table(&lab)?)
        .publish(workspace, common.print)
}

fn table(lab: &Lab) -> Result<String> {
    let mut text = String::from(
        "| sessions (`-c`) | hosts | queued | waves | wall, s | CPU, s | peak memory, MB | swap at start, MB | swap at peak, MB | highest attempt | successes | failures |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let steps = || {
        (4..)
            .map(|power| 1usize << power)
            .take_while(|sessions| *sessions <= lab.hosts)
    };
    let queueing = steps().map(|sessions| (sessions, lab.hosts));
    // With as many hosts as sessions; the last of them is above already.
    let fitting = steps()
        .filter(|sessions| *sessions < lab.hosts)
        .map(|sessions| (sessions, sessions));
    for (sessions, hosts) in queueing.chain(fitting) {
        let state = lab.fresh("state")?;
        let mut command = lab.reveille(&state);
        command.args(["exec", "-i"]).arg(lab.inventory(hosts)?);
        command.args(["-c", &sessions.to_string(), "--", COMMAND]);
        let swap = proc::swap_used();
        let measured = lab.measure(&command)?;
        let summary = lab.summary(&state)?;
        let row = format!(
            "| {sessions} | {hosts} | {} | {} | {:.2} | {:.2} | {:.1} | {:.0} | {:.0} | {} | {} | {} |",
            hosts - sessions,
            hosts.div_ceil(sessions),
            measured.wall.as_secs_f64(),
            measured.cpu.as_secs_f64(),
            megabytes(measured.peak.resident),
            megabytes(swap),
            megabytes(measured.peak_swap.max(swap)),
            summary.highest_attempt(),
            summary.count("success"),
            hosts - summary.count("success"),
        );
        tell::line(&row);
        let _ = writeln!(text, "{row}");
    }
    Ok(text)
}
