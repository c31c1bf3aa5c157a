//! New scenarios, and some that are always the same.

use reveille_simulate::{BROKEN, Kind, REPEATABLE, Scenario, kinds, play, random};

/// The number of seeds that are always played, and of new ones.
const SEEDS: u64 = 250;

fn holds(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    for seed in seed..seed + SEEDS {
        let about = kinds(seed, BROKEN);
        let scenario = random(seed, &about);
        let report = play(&scenario, directory.path(), false).unwrap();
        assert!(
            report.violations.is_empty(),
            "seed {seed}: {:#?}\n`cargo xtask simulate --seed {seed} --count 1` makes a small scenario of it:\n{}",
            report.violations,
            scenario.text()
        );
        if seed.is_multiple_of(16) && REPEATABLE {
            let again = play(&scenario, directory.path(), false).unwrap();
            assert_eq!(again.trace, report.trace, "seed {seed}: two plays differ");
        }
    }
}

#[test]
fn the_same_seeds_hold() {
    holds(0);
}

#[test]
fn fresh_seeds_hold() {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    holds(since.unwrap().as_secs() * 1_000_000);
}

#[test]
fn scenarios_of_all_kinds_can_be_played() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 0..40 {
        let scenario = random(seed, &Kind::ALL.into_iter().collect());
        assert_eq!(Scenario::read(&scenario.text()).unwrap(), scenario);
        play(&scenario, directory.path(), false).unwrap();
    }
}
