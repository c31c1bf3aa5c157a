//! Durations that are harder than most recorded ones, made up from a seed.

use fastrand::Rng;

use super::data::Stream;

/// Classes of each kind.
const EACH: usize = 8;
/// Runs of a class.
const RUNS: usize = 5000;

/// All classes. The same seed gives the same durations.
pub(super) fn streams(seed: u64) -> Vec<Stream> {
    let mut random = Rng::with_seed(seed);
    let kinds: [fn(&mut Rng) -> Vec<f64>; 5] = [changes, heavy_tails, two_speeds, drift, shared_slowness];
    let mut streams = Vec::new();
    for make in kinds {
        for _ in 0..EACH {
            // From a second to five minutes.
            let typical = 10f64.powf(between(&mut random, 0.0, 2.5));
            let durations = make(&mut random).iter().map(|log| typical * log.exp()).collect();
            streams.push(Stream { durations });
        }
    }
    streams
}

/// Every few thousand runs the class becomes two to five times slower or faster, and stays so.
fn changes(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.03, 0.2);
    let (mut level, mut left) = (0.0f64, random.usize(800..4000));
    let mut logs = Vec::new();
    for _ in 0..RUNS {
        if left == 0 {
            left = random.usize(800..4000);
            let change = between(random, 2.0, 5.0).ln();
            // Back towards where it began, once it is far from it.
            let up = if level.abs() > 1.0 {
                level < 0.0
            } else {
                random.bool()
            };
            level += if up { change } else { -change };
        }
        left -= 1;
        logs.push(level + noise * normal(random));
    }
    logs
}

/// One run in thirty to two hundred is stretched by a Pareto variable.
fn heavy_tails(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.05, 0.3);
    let (share, tail) = (between(random, 0.005, 0.03), between(random, 2.0, 4.0));
    let log = |random: &mut Rng| {
        let stretched = random.f64() < share;
        let stretch = if stretched {
            exponential(random) / tail
        } else {
            0.0
        };
        noise * normal(random) + stretch
    };
    (0..RUNS).map(|_| log(random)).collect()
}

/// Some runs take 1.5 to 4 times as long as the others: a cache is cold, a package is there already.
fn two_speeds(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.02, 0.1);
    let (share, slower) = (between(random, 0.02, 0.5), between(random, 1.5, 4.0).ln());
    let log = |random: &mut Rng| {
        let slow = if random.f64() < share { slower } else { 0.0 };
        noise * normal(random) + slow
    };
    (0..RUNS).map(|_| log(random)).collect()
}

/// Slowly slower, up to three times, then slowly faster, and so on.
fn drift(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.03, 0.1);
    let (mut level, mut slope) = (0.0f64, between(random, 0.0005, 0.0015));
    if random.bool() {
        slope = -slope;
    }
    let mut logs = Vec::new();
    for _ in 0..RUNS {
        level += slope;
        if level.abs() > 1.1 {
            slope = -slope;
        }
        logs.push(level + noise * normal(random));
    }
    logs
}

/// Now and then everyone is 1.3 to 3 times slower for 10 to 80 runs: the mirror, the disk below all.
fn shared_slowness(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.03, 0.15);
    let (mut left, mut slower) = (0, 0.0);
    let mut logs = Vec::new();
    for _ in 0..RUNS {
        if left == 0 && random.f64() < 1.0 / 800.0 {
            left = random.usize(10..80);
            slower = between(random, 1.3, 3.0).ln();
        }
        let slow = if left > 0 { slower } else { 0.0 };
        left = left.saturating_sub(1);
        logs.push(noise * normal(random) + slow);
    }
    logs
}

fn between(random: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * random.f64()
}

fn exponential(random: &mut Rng) -> f64 {
    // `f64()` is below 1.
    -(1.0 - random.f64()).ln()
}

/// Box and Muller's transform.
fn normal(random: &mut Rng) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_durations() {
        let (one, again, other) = (streams(7), streams(7), streams(8));
        assert_eq!(one.len(), 5 * EACH);
        let first = |streams: &[Stream]| {
            streams
                .iter()
                .map(|stream| stream.durations[4999])
                .collect::<Vec<_>>()
        };
        assert_eq!(first(&one), first(&again));
        assert_ne!(first(&one), first(&other));
        assert!(
            one.iter()
                .flat_map(|stream| &stream.durations)
                .all(|seconds| seconds.is_finite() && *seconds > 0.0)
        );
    }
}
