//! A controller that dies at every crossing of a seam, one play for each.

use std::path::Path;

use crate::check::Violation;
use crate::run::play;
use crate::scenario::{LifeSpec, Point, Scenario};

/// A crossing at which the death of a controller breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadly {
    /// The crossing.
    pub point: Point,
    /// What is broken.
    pub violations: Vec<Violation>,
}

/// Plays a scenario once for each crossing of its first controller, which dies there, before it or after it; `each` may
/// change the life that dies. How many plays that took, and where a rule was broken.
pub fn at_every_crossing(
    scenario: &Scenario,
    directory: &Path,
    each: impl Fn(&mut LifeSpec),
) -> Result<(u64, Vec<Deadly>), String> {
    let crossings = play(scenario, directory, false)?
        .crossings
        .first()
        .copied()
        .unwrap_or_default();
    let mut deadly = Vec::new();
    let points = (1..=crossings).flat_map(|crossing| [false, true].map(|after| Point { crossing, after }));
    for point in points {
        let mut mortal = scenario.clone();
        if mortal.lives.is_empty() {
            mortal.lives.push(LifeSpec::default());
        }
        mortal.lives[0].dies = Some(point);
        each(&mut mortal.lives[0]);
        let violations = play(&mortal, directory, false)?.violations;
        if !violations.is_empty() {
            deadly.push(Deadly { point, violations });
        }
    }
    Ok((2 * crossings, deadly))
}
