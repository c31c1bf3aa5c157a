//! Sessions that are held open: what one costs in memory.

use std::time::Duration;

use xtask::failure::Result;

use super::contestant::Contestant;
use super::lab::{COMMAND, Lab};
use crate::measure::Measured;
use crate::proc::megabytes;
use crate::table::Table;

/// How long each session is held: longer than it takes to connect them all, on a busy machine too.
pub(super) const HOLD: Duration = Duration::from_secs(40);

/// The end of that time, when everybody is connected and nobody has finished.
const WINDOW: Duration = Duration::from_secs(2);

pub(super) fn table(lab: &Lab, contestants: &[Contestant]) -> Result<String> {
    let mut table = Table::new(
        " | peak, MB | while all are held, MB | with one host, MB | KB a session: at the peak | KB a session: held | successes | wall, s",
    );
    for contestant in contestants.iter().filter(|contestant| !contestant.runs_ssh()) {
        let sleep = |hosts: usize, seconds: u64| -> Result<(Measured, usize)> {
            let command = format!("sleep {seconds}; {COMMAND}");
            let start = contestant.start(lab, &command, hosts)?;
            let measured = lab.measure(&start.command)?;
            let successes = start.successes(lab, &measured)?;
            Ok((measured, successes))
        };
        let (alone, _) = sleep(1, 1)?;
        let (all, successes) = sleep(lab.hosts, HOLD.as_secs())?;
        let held = all.between(HOLD.saturating_sub(WINDOW), HOLD).unwrap_or(all.peak);
        let each = |kib: u64| kib.saturating_sub(alone.peak.resident) as f64 * 1.024 / lab.hosts as f64;
        table.row(format_args!(
            "{} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {successes} of {} | {:.2}",
            contestant.title(),
            megabytes(all.peak.resident),
            megabytes(held.resident),
            megabytes(alone.peak.resident),
            each(all.peak.resident),
            each(held.resident),
            lab.hosts,
            all.wall.as_secs_f64(),
        ));
    }
    Ok(format!(
        "{table}\nKB a session: (that memory − the peak of a run with one host) ÷ sessions. Held: the highest value in the \
         last {} s before the first session ends; a tool that takes longer than that to connect to all hosts does not hold \
         all of them.\n",
        WINDOW.as_secs()
    ))
}
