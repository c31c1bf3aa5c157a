//! `reveille init`.

use crate::support::{Ended, Reveille};

/// Runs lines as a shell does in which they were pasted.
fn pasted(reveille: &Reveille, lines: &str) -> Ended {
    let directory = crate::support::binary().parent().unwrap().display().to_string();
    let script = format!("PATH={directory}:$PATH; umask 022; {lines}");
    Ended::of(&reveille.through("sh").args(["-ec", &script]).output().unwrap())
}

#[test]
fn the_files_of_init_pass_lint_and_its_next_commands_work_as_printed() {
    let reveille = Reveille::new();
    let ended = reveille.run(&["init", "a fleet's"]).expect(0);
    assert!(
        ended.stderr.contains("wrote a fleet's/hosts.ini"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stdout.lines().count(), 4, "{}", ended.stdout);
    let ran = pasted(&reveille, &ended.stdout).expect(0);
    assert!(
        ran.stdout.contains("Hello from this-machine."),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    assert!(ran.stderr.contains("hello"), "{}", ran.stderr);
    let linted = pasted(
        &reveille,
        "cd \"a fleet's\"; reveille lint job.yaml; reveille lint hosts.ini",
    )
    .expect(0);
    assert!(linted.stdout.contains("0 warnings"), "{}", linted.stdout);
    let job = std::fs::read_to_string(reveille.path().join("a fleet's/job.yaml")).unwrap();
    let first = job.lines().next().unwrap();
    let schema = first.strip_prefix("# yaml-language-server: $schema=").unwrap();
    let schema = std::fs::read_to_string(reveille.path().join("a fleet's").join(schema)).unwrap();
    assert_eq!(schema, reveille.run(&["schema"]).expect(0).stdout);
}

#[test]
fn init_overwrites_nothing() {
    let reveille = Reveille::new();
    reveille.file("job.yaml", "mine");
    std::os::unix::fs::symlink("nowhere", reveille.path().join("hosts.ini")).unwrap();
    let ended = reveille.run(&["init"]).expect(2);
    assert!(
        ended.stderr.contains("already: hosts.ini, job.yaml;"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        std::fs::read_to_string(reveille.path().join("job.yaml")).unwrap(),
        "mine"
    );
    assert_eq!(std::fs::read_dir(reveille.path()).unwrap().count(), 2);
}

#[test]
fn init_writes_no_configuration_that_reveille_would_refuse() {
    use std::os::unix::fs::PermissionsExt as _;

    let reveille = Reveille::new();
    let directory = reveille.path().join("open");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let ended = reveille.run(&["init", "open"]).expect(2);
    assert!(
        ended.stderr.contains("everyone can write to open"),
        "{}",
        ended.stderr
    );
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    let made = pasted(
        &reveille,
        "umask 000; reveille init made >/dev/null; cd made; reveille hosts",
    )
    .expect(0);
    assert_eq!(made.stdout, "this-machine\n");
}
