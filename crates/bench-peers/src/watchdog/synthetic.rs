//! Synthetic durations from a seed, which are harder than most recorded ones.

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

/// The logarithms of a class's durations: a level for each run, and noise.
fn logs(random: &mut Rng, noise: f64, mut level: impl FnMut(&mut Rng) -> f64) -> Vec<f64> {
    (0..RUNS)
        .map(|_| level(random) + noise * normal(random))
        .collect()
}

/// Every few thousand runs the class becomes two to five times slower or faster, and stays so.
fn changes(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.03, 0.2);
    let (mut level, mut left) = (0.0f64, random.usize(800..4000));
    logs(random, noise, |random| {
        if left == 0 {
            left = random.usize(800..4000);
            let change = between(random, 2.0, 5.0).ln();
            // Back towards the beginning, once it is far from it.
            let up = if level.abs() > 1.0 {
                level < 0.0
            } else {
                random.bool()
            };
            level += if up { change } else { -change };
        }
        left -= 1;
        level
    })
}

/// One run in thirty to two hundred is stretched by a Pareto variable.
fn heavy_tails(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.05, 0.3);
    let (share, tail) = (between(random, 0.005, 0.03), between(random, 2.0, 4.0));
    logs(random, noise, |random| {
        let stretched = random.f64() < share;
        if stretched {
            exponential(random) / tail
        } else {
            0.0
        }
    })
}

/// Some runs take 1.5 to 4 times as long as the others: a cache is cold, a package is installed already.
fn two_speeds(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.02, 0.1);
    let (share, slower) = (between(random, 0.02, 0.5), between(random, 1.5, 4.0).ln());
    logs(
        random,
        noise,
        |random| if random.f64() < share { slower } else { 0.0 },
    )
}

/// Slowly slower, up to three times, then slowly faster, and so on.
fn drift(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.03, 0.1);
    let (mut level, mut slope) = (0.0f64, between(random, 0.0005, 0.0015));
    if random.bool() {
        slope = -slope;
    }
    logs(random, noise, |_| {
        level += slope;
        if level.abs() > 1.1 {
            slope = -slope;
        }
        level
    })
}

/// Now and then all runs are 1.3 to 3 times slower for 10 to 80 runs, because of a shared mirror or disk.
fn shared_slowness(random: &mut Rng) -> Vec<f64> {
    let noise = between(random, 0.03, 0.15);
    let (mut left, mut slower) = (0, 0.0);
    logs(random, noise, |random| {
        if left == 0 && random.f64() < 1.0 / 800.0 {
            left = random.usize(10..80);
            slower = between(random, 1.3, 3.0).ln();
        }
        let slow = if left > 0 { slower } else { 0.0 };
        left = left.saturating_sub(1);
        slow
    })
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
