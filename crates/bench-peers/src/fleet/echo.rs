//! One `echo` on every host, Reveille beside its peers.

use std::time::Duration;

use xtask::failure::Result;
use xtask::tell;

use super::contestant::Contestant;
use super::lab::{COMMAND, Lab};
use crate::measure::Measured;
use crate::proc::megabytes;
use crate::table::{Spread, Table};

/// One contestant in one round.
#[derive(Debug)]
struct Score {
    round: u32,
    contestant: Contestant,
    measured: Measured,
    successes: usize,
}

/// Measures `contestants` in turn, as many times as there are rounds, and makes the table.
pub(super) fn table(lab: &Lab, contestants: &[Contestant], rounds: u32) -> Result<String> {
    let mut scores = Vec::new();
    for round in 1..=rounds {
        for contestant in contestants {
            let start = contestant.start(lab, COMMAND, lab.hosts)?;
            let measured = lab.measure(&start.command)?;
            let successes = start.successes(lab, &measured)?;
            tell::line(&format!(
                "round {round}: {}: {successes} of {} hosts, {:.2} ms CPU a host, peak {:.1} MB ({:.1} anonymous), wall {:.2} s, exit {}{}",
                contestant.title(),
                lab.hosts,
                a_host(measured.cpu, lab.hosts),
                megabytes(measured.peak.resident),
                megabytes(measured.peak.anonymous),
                measured.wall.as_secs_f64(),
                measured
                    .exit_status
                    .map_or("by signal".to_owned(), |status| status.to_string()),
                if measured.ended {
                    " (ended because it took too long)"
                } else {
                    ""
                },
            ));
            scores.push(Score {
                round,
                contestant: *contestant,
                measured,
                successes,
            });
        }
    }
    Ok(written(lab, contestants, &scores))
}

fn written(lab: &Lab, contestants: &[Contestant], scores: &[Score]) -> String {
    let mut table = Table::new(
        " | CPU, ms a host (best, median) | CPU ÷ bare russh's | peak memory, MB (median, worst) | of it anonymous | wall, s (best, median) | wall ÷ asyncssh's | successes (worst round)",
    );
    let mut manners = String::new();
    for contestant in contestants {
        let mine = || scores.iter().filter(|score| score.contestant == *contestant);
        let of = |value: &dyn Fn(&Measured) -> f64| Spread::of(mine().map(|score| value(&score.measured)));
        let cpu = of(&|measured| a_host(measured.cpu, lab.hosts));
        let peak = of(&|measured| megabytes(measured.peak.resident));
        let anonymous = of(&|measured| megabytes(measured.peak.anonymous));
        let wall = of(&|measured| measured.wall.as_secs_f64());
        table.row(format_args!(
            "{} | {:.2}, {:.2} | {} | {:.1}, {:.1} | {:.1}, {:.1} | {:.2}, {:.2} | {} | {} of {}",
            contestant.title(),
            cpu.least,
            cpu.median,
            ratio(scores, *contestant, Contestant::Bare, |measured| measured.cpu),
            peak.median,
            peak.most,
            anonymous.median,
            anonymous.most,
            wall.least,
            wall.median,
            ratio(scores, *contestant, Contestant::Asyncssh, |measured| {
                measured.wall
            }),
            mine().map(|score| score.successes).min().unwrap_or(0),
            lab.hosts,
        ));
        manners.push_str(&format!("- {}: {}\n", contestant.title(), contestant.manner(lab)));
    }
    format!(
        "{table}\nRatios are medians over the rounds, each to the other's run of the same round. Peak memory is resident \
         memory, pages of the program and its libraries included; pages that processes share count once. Anonymous \
         memory is heap and stacks.\n\n{manners}"
    )
}

/// A contestant's value divided by that of another one in the same round; the median of all rounds.
fn ratio(
    scores: &[Score],
    mine: Contestant,
    other: Contestant,
    of: impl Fn(&Measured) -> Duration,
) -> String {
    let used = |score: &Score| of(&score.measured).as_secs_f64();
    let beside = |score: &Score| {
        let same_round = |beside: &&Score| beside.round == score.round && beside.contestant == other;
        Some(used(score) / used(scores.iter().find(same_round)?))
    };
    let ratios: Vec<f64> = scores
        .iter()
        .filter(|score| score.contestant == mine)
        .filter_map(beside)
        .collect();
    if ratios.is_empty() {
        return "–".to_owned();
    }
    format!("{:.2}", Spread::of(ratios.into_iter()).median)
}

fn a_host(cpu: Duration, hosts: usize) -> f64 {
    cpu.as_secs_f64() * 1000.0 / hosts as f64
}
