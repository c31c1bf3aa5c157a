//! What a host costs the ledger: events, and commits, each of which may wait for the disk.

use reveille_simulate::{Scenario, play};

/// The events of a host in each commit of a one-step run.
fn commits(options: &str) -> Vec<Vec<String>> {
    let text = format!(
        "job: |\n  steps:\n    - {{name: a, run: \"perform a@{{{{ inventory_hostname }}}} for=1 out=30\"{options}}}\n\
         hosts: [{{name: h1}}]\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let report = play(&Scenario::read(&text).unwrap(), directory.path(), true).unwrap();
    assert_eq!(report.violations, []);
    let mut commits = vec![Vec::new()];
    for line in &report.lines {
        if line.contains(" commit ") {
            commits.push(Vec::new());
        } else if let Some((_, event)) = line.split_once(" h1 {\"event\":\"")
            && let Some((event, _)) = event.split_once('"')
            && let Some(commit) = commits.last_mut()
        {
            commit.push(event.to_owned());
        }
    }
    commits.retain(|commit| !commit.is_empty());
    commits
}

#[test]
fn a_command_is_six_events_in_three_commits_and_a_share_of_one() {
    let plain = commits(", durable: false");
    let expected: [&[&str]; 4] = [
        // Shared with all hosts that have their turn.
        &["dispatched"],
        &["connecting"],
        &["connected", "step_started"],
        &["step_finished", "outcome_reached"],
    ];
    assert_eq!(plain, expected);
}

#[test]
fn a_durable_step_is_one_more() {
    let durable = commits("");
    assert_eq!(durable.iter().flatten().count(), 7);
    assert_eq!(durable.len(), 5);
    assert!(durable.contains(&vec!["step_began".to_owned()]), "{durable:?}");
}
