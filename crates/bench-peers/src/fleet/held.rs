//! Sessions that are held open: what one costs in memory.

use std::fmt::Write as _;
use std::time::Duration;

use xtask::failure::Result;
use xtask::tell;

use super::contestant::Contestant;
use super::lab::Lab;
use crate::measure::Measured;
use crate::proc::megabytes;

/// How long each session is held: longer than it takes to connect them all, on a machine that has other work, too.
pub(super) const HOLD: Duration = Duration::from_secs(40);

/// What is looked at once everybody is connected and nobody has finished.
const WINDOW: Duration = Duration::from_secs(2);

pub(super) fn table(lab: &Lab, contestants: &[Contestant]) -> Result<String> {
    let mut text = String::from(
        "| | peak, MB | while all are held, MB | with one host, MB | KB a session: at the peak | KB a session: held | successes | wall, s |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for contestant in contestants {
        let alone = Sleepers {
            lab,
            contestant: *contestant,
            hosts: 1,
            seconds: 1,
        }
        .run()?;
        let all = Sleepers {
            lab,
            contestant: *contestant,
            hosts: lab.hosts,
            seconds: HOLD.as_secs(),
        }
        .run()?;
        let held = all
            .measured
            .between(HOLD.saturating_sub(WINDOW), HOLD)
            .unwrap_or(all.measured.peak);
        let each =
            |kib: u64| kib.saturating_sub(alone.measured.peak.resident) as f64 * 1.024 / lab.hosts as f64;
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} of {} | {:.2} |",
            contestant.title(),
            megabytes(all.measured.peak.resident),
            megabytes(held.resident),
            megabytes(alone.measured.peak.resident),
            each(all.measured.peak.resident),
            each(held.resident),
            all.successes,
            lab.hosts,
            all.measured.wall.as_secs_f64(),
        );
        tell::line(&format!(
            "held: {}: {} of {}, peak {:.1} MB, {:.1} KB a session",
            contestant.title(),
            all.successes,
            lab.hosts,
            megabytes(all.measured.peak.resident),
            each(all.measured.peak.resident)
        ));
    }
    text.push_str(
        "\nKB a session: (that memory − the peak of a run with one host) ÷ sessions. Held: the highest in the last 2 s \
         before the first session ends; where it takes longer than that to connect them all, not all of them are held.\n",
    );
    Ok(text)
}

struct Sleepers<'a> {
    lab: &'a Lab,
    contestant: Contestant,
    hosts: usize,
    seconds: u64,
}

struct Slept {
    measured: Measured,
    successes: usize,
}

// === impl Sleepers ===

impl Sleepers<'_> {
    fn run(&self) -> Result<Slept> {
        let command = format!("sleep {}; {}", self.seconds, super::lab::COMMAND);
        let start = self.contestant.start(self.lab, &command, self.hosts)?;
        let measured = self.lab.measure(&start.command)?;
        let successes = start.successes(self.lab, &measured)?;
        Ok(Slept { measured, successes })
    }
}
