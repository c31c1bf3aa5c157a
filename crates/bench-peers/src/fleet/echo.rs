//! One `echo` on every host, Reveille beside its peers.

use std::fmt::Write as _;
use std::time::Duration;

use xtask::failure::Result;
use xtask::tell;

use super::contestant::Contestant;
use super::lab::{COMMAND, Lab};
use crate::proc::{Memory, megabytes};

/// One contestant in one round.
#[derive(Debug)]
struct Score {
    round: u32,
    contestant: Contestant,
    wall: Duration,
    cpu: Duration,
    peak: Memory,
    successes: usize,
}

/// Measures `contestants` in turn, as many times as there are rounds, and makes the table.
pub(super) fn table(lab: &Lab, contestants: &[Contestant], rounds: u32) -> Result<String> {
    let mut scores = Vec::new();
    for round in 1..=rounds {
        for contestant in contestants {
            let start = contestant.start(lab, COMMAND, lab.hosts)?;
            let measured = lab.measure(&start.command)?;
            let score = Score {
                round,
                contestant: *contestant,
                wall: measured.wall,
                cpu: measured.cpu,
                peak: measured.peak,
                successes: start.successes(lab, &measured)?,
            };
            tell::line(&format!(
                "round {round}: {}: {} of {} hosts, {:.2} ms CPU a host, peak {:.1} MB ({:.1} anonymous), wall {:.2} s, exit {}{}",
                contestant.title(),
                score.successes,
                lab.hosts,
                a_host(score.cpu, lab.hosts),
                megabytes(score.peak.resident),
                megabytes(score.peak.anonymous),
                score.wall.as_secs_f64(),
                measured
                    .exit_status
                    .map_or_else(|| "by signal".to_owned(), |status| status.to_string()),
                if measured.ended {
                    " (took too long and was ended)"
                } else {
                    ""
                },
            ));
            scores.push(score);
        }
    }
    Ok(written(lab, contestants, &scores))
}

fn written(lab: &Lab, contestants: &[Contestant], scores: &[Score]) -> String {
    let mut text = String::from(
        "| | CPU, ms a host (best, median) | CPU ÷ bare russh's | peak memory, MB (median, worst) | of it anonymous | wall, s (best, median) | wall ÷ asyncssh's | successes (worst round) |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for contestant in contestants {
        let mine = || scores.iter().filter(|score| score.contestant == *contestant);
        let cpu = sorted(mine().map(|score| a_host(score.cpu, lab.hosts)));
        let peak = sorted(mine().map(|score| megabytes(score.peak.resident)));
        let anonymous = sorted(mine().map(|score| megabytes(score.peak.anonymous)));
        let wall = sorted(mine().map(|score| score.wall.as_secs_f64()));
        let beside = |other, of: fn(&Score) -> Duration| ratio(scores, *contestant, other, of);
        let cpu_ratio = beside(Contestant::Bare, |score| score.cpu);
        let wall_ratio = beside(Contestant::Asyncssh, |score| score.wall);
        let successes = mine().map(|score| score.successes).min().unwrap_or(0);
        let _ = writeln!(
            text,
            "| {} | {:.2}, {:.2} | {cpu_ratio} | {:.1}, {:.1} | {:.1}, {:.1} | {:.2}, {:.2} | {wall_ratio} | {successes} of {} |",
            contestant.title(),
            cpu.first().copied().unwrap_or_default(),
            median(&cpu),
            median(&peak),
            peak.last().copied().unwrap_or_default(),
            median(&anonymous),
            anonymous.last().copied().unwrap_or_default(),
            wall.first().copied().unwrap_or_default(),
            median(&wall),
            lab.hosts,
        );
    }
    text.push_str(
        "\nRatios are medians over the rounds, each to the other's run of the same round. Peak memory is resident memory, \
         pages of the program and its libraries included; pages that processes share are counted once. Anonymous is heap \
         and stacks.\n\n",
    );
    for contestant in contestants {
        let _ = writeln!(text, "- {}: {}", contestant.title(), contestant.manner(lab));
    }
    text
}

/// A contestant's share of what another one used in the same round, the median of all rounds.
fn ratio(scores: &[Score], mine: Contestant, other: Contestant, of: impl Fn(&Score) -> Duration) -> String {
    let used = |contestant, round| {
        let mut found = scores.iter().filter(|score| score.round == round);
        let found = found.find(|score| score.contestant == contestant)?;
        Some(of(found).as_secs_f64())
    };
    let rounds = scores.iter().filter(|score| score.contestant == mine);
    let ratios = sorted(rounds.filter_map(|score| Some(of(score).as_secs_f64() / used(other, score.round)?)));
    if ratios.is_empty() {
        "–".to_owned()
    } else {
        format!("{:.2}", median(&ratios))
    }
}

fn a_host(cpu: Duration, hosts: usize) -> f64 {
    cpu.as_secs_f64() * 1000.0 / hosts as f64
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; the mean of the middle two when there is no middle one.
fn median(sorted: &[f64]) -> f64 {
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => 0.0,
        (middle, 0) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (middle, _) => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(&sorted([3.0, 1.0, 2.0].into_iter())) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0]) - 1.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
