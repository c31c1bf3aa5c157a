//! The same work at 16, 32 … sessions at once, with more hosts than sessions (some queue) and with as many.

use xtask::failure::Result;

use super::lab::{COMMAND, Lab};
use super::{Common, peers};
use crate::bench::Bench;
use crate::proc::{self, megabytes};
use crate::table::Table;

pub(crate) fn run(common: &Common, bench: &Bench) -> Result {
    peers::prepare(bench, &[])?;
    let lab = Lab::open(bench, common.hosts.into())?;
    let title = format!("{} hosts at 16 and more sessions at once", lab.hosts);
    bench.publish("sweep", &title, &lab.versions(&[]), &measure(&lab)?.to_string())
}

fn measure(lab: &Lab) -> Result<Table> {
    let mut table = Table::new(
        "sessions (`-c`) | hosts | queued | waves | wall, s | CPU, s | peak memory, MB | swap at start, MB | swap at peak, MB | highest attempt | successes | failures",
    );
    let powers = (4..).map(|power| 1usize << power);
    let steps: Vec<usize> = powers.take_while(|sessions| *sessions <= lab.hosts).collect();
    let queueing = steps.iter().map(|sessions| (*sessions, lab.hosts));
    // With as many hosts as sessions; the last of them may be above already.
    let fitting = steps.iter().filter(|sessions| **sessions < lab.hosts);
    let fitting = fitting.map(|sessions| (*sessions, *sessions));
    for (sessions, hosts) in queueing.chain(fitting) {
        let state = lab.fresh("state")?;
        let mut command = lab.reveille(&state);
        command.args(["exec", "-i"]).arg(lab.inventory(hosts)?);
        command.args(["-c", &sessions.to_string(), "--", COMMAND]);
        let swap = proc::swap_used();
        let measured = lab.measure(&command)?;
        let summary = lab.summary(&state)?;
        table.row(format_args!(
            "{sessions} | {hosts} | {} | {} | {:.2} | {:.2} | {:.1} | {:.0} | {:.0} | {} | {} | {}",
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
        ));
    }
    Ok(table)
}
