//! What GitHub's CI is shown.

use crate::support::{Ended, Reveille};

#[test]
fn github_gets_folded_groups_annotations_and_a_summary() {
    let reveille = Reveille::new();
    let summary = reveille.file("summary.md", "before\n");
    let run = |more: &[&str], summary: &str, code: i32| {
        let mut arguments = vec!["exec", "-w", "a,b,c", "--transport", "local"];
        arguments.extend(more);
        arguments.extend(["--", "echo '::error::50%, <b>|@me' >&2; exit 7"]);
        let mut command = reveille.command(&arguments);
        command
            .env("CI", "true")
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", summary);
        Ended::of(&command.output().unwrap()).expect(code)
    };
    let ended = run(&[], &summary, 3);
    let commands: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("::"))
        .collect();
    assert_eq!(commands.len(), 3, "{}", ended.stderr);
    assert!(
        commands[0].starts_with("::group::3 hosts: command_failed"),
        "{commands:?}"
    );
    assert_eq!(commands[1], "::endgroup::");
    let title = "::error title=3 hosts%3A command_failed%2C exit status 7::";
    let message = commands[2].strip_prefix(title).unwrap();
    assert!(message.contains("50%25, <b>"), "{message}");
    assert!(
        !ended.stdout.lines().any(|line| line.starts_with("::")),
        "{}",
        ended.stdout
    );
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("before\n### "), "{text}");
    assert!(text.contains("50%, &#60;b&#62;&#124;&#64;me"), "{text}");
    // Data for programs is not mixed with commands.
    let ended = run(&["--format", "json"], &summary, 3);
    assert_eq!(ended.json()["account"]["failed"], 3);
    assert!(!ended.stderr.contains("::error title"), "{}", ended.stderr);
    // A summary that can't be written changes nothing.
    let ended = run(&[], "no/such/directory.md", 3);
    assert!(
        ended.stderr.contains("can't write the summary of the CI job"),
        "{}",
        ended.stderr
    );
    let large = reveille.file("large.md", vec![b'x'; 1 << 20]);
    let ended = run(&[], &large, 3);
    assert!(ended.stderr.contains("more than 1 MiB"), "{}", ended.stderr);
    assert_eq!(std::fs::metadata(large).unwrap().len(), 1 << 20);
}
