//! Plays a scenario once for each crossing, at which the controller dies.

use std::path::Path;

use crate::check::Violation;
use crate::run::play;
use crate::scenario::{LifeSpec, Point, Scenario};

/// A crossing at which a controller's death breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadly {
    /// The crossing.
    pub point: Point,
    /// The broken rules.
    pub violations: Vec<Violation>,
}

/// Plays a scenario twice for each crossing of its first controller, which dies before or after it; `each` may change
/// the life that dies. Returns the number of plays, and where a rule was broken.
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
