//! The scenarios in `scenarios/`: stories that happened, or might.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reveille_simulate::{Rule, Scenario, play};

pub(crate) fn scenarios() -> Vec<(PathBuf, Scenario)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let scenario = Scenario::read(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file, scenario)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn kept_scenarios_break_only_their_known_rules() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (file, scenario) in scenarios() {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let report =
            play(&scenario, directory.path(), false).unwrap_or_else(|error| panic!("{name}: {error}"));
        let broken: BTreeSet<Rule> = report.violations.iter().map(|violation| violation.rule).collect();
        let known: BTreeSet<Rule> = scenario.known.iter().copied().collect();
        if !broken.is_subset(&known) {
            wrong.push(format!("{name}: {:#?}", report.violations));
        } else if broken.is_empty() && !known.is_empty() {
            wrong.push(format!("{name}: every rule holds now; remove its `known`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_scenario_has_a_story_and_can_be_read_back() {
    for (file, scenario) in scenarios() {
        assert!(!scenario.story.is_empty(), "{}", file.display());
        let again =
            Scenario::read(&scenario.text()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(again, scenario, "{}", file.display());
    }
}
