//! `reveille exec`.

use reveille_testbed::Testbed;

use crate::support::Reveille;

#[test]
fn a_command_needs_no_dashes_and_quiet_prints_only_failures() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let ended = reveille
        .run(&["exec", "-q", "-i", &inventory, "printf", "%s", "a-b", "-c"])
        .expect(0);
    assert!(ended.stdout.contains("a-b-c"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
    let ended = reveille
        .run(&["exec", "-q", "-i", &inventory, "exit", "3"])
        .expect(3);
    assert!(ended.stderr.contains("1 planned = 1 failed"), "{}", ended.stderr);
    let ended = reveille
        .run(&["exec", "-i", &inventory, "--concurency", "3", "true"])
        .expect(2);
    assert!(ended.stderr.contains("--concurrency"), "{}", ended.stderr);
}

#[test]
fn exec_fills_in_the_values_of_each_host_and_retry_uses_the_recorded_command() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "[web]\na port=1\nb port=2\n[all:vars]\nansible_connection=local\n",
    );
    let exec = |more: &[&str], code: i32| {
        let mut arguments = vec!["exec", "-i", &inventory];
        arguments.extend(more);
        reveille.run(&arguments).expect(code)
    };
    let command = "echo {{ inventory_hostname }}:{{ port + 1 }}/{{ groups.web | length }}; test -e gone";
    let ended = exec(&["--template", "--", command], 3);
    assert!(
        ended.stdout.contains("a:2/2") && ended.stdout.contains("b:3/2"),
        "{}",
        ended.stdout
    );
    // The inventory is not read again.
    reveille.file("hosts.ini", "a port=8\nb port=9\n");
    let ended = reveille.run(&["retry"]).expect(3);
    assert!(
        ended.stdout.contains("a:2/2") && ended.stdout.contains("b:3/2"),
        "{}",
        ended.stdout
    );
    let count = || reveille.run(&["runs"]).expect(0).stdout.lines().count();
    let before = count();
    // Mistakes come before anything is recorded.
    let ended = exec(
        &["--template", "--", "echo {{ inventory_hostname }} {{ prot }}"],
        2,
    );
    insta::assert_snapshot!(ended.stderr);
    exec(&["--template", "--", "echo {{ inventory_hostname"], 2);
    let ended = exec(&["--template", "--", "uptime"], 2);
    assert!(
        ended.stderr.contains("--template has no effect"),
        "{}",
        ended.stderr
    );
    assert_eq!(count(), before);
}

#[test]
fn exec_warns_of_placeholders_that_only_a_template_fills_in() {
    let reveille = Reveille::new();
    let warnings = |command: &str| {
        let arguments = ["exec", "-w", "a", "--transport", "local", "--", command];
        let ended = reveille.run(&arguments).expect(0);
        let warnings = ended.stderr.lines().filter(|line| line.contains("--template"));
        warnings.count()
    };
    assert_eq!(warnings("echo '{{ inventory_hostname }}'"), 1);
    assert_eq!(
        warnings("echo '{{.Names}} {{json .State}} {{range .a}}{{end}}' '{{' }}"),
        0
    );
    assert_eq!(warnings("echo %host"), 1);
    assert_eq!(warnings("echo %h; date +%h"), 0);
}

#[test]
fn a_command_that_is_too_long_for_a_terminal_is_refused_before_it_runs() {
    let reveille = Reveille::new();
    let file = reveille.path().join("ran");
    let job = reveille.file(
        "job.yaml",
        format!(
            "steps:\n- run: 'touch {}; true {}'\n  pty: true\n  durable: false\n",
            file.display(),
            "x".repeat(200_000)
        ),
    );
    let run = [
        "run",
        &job,
        "-w",
        "a,",
        "--transport",
        "local",
        "--format",
        "json",
    ];
    let host = reveille.run(&run).expect(3).json()["hosts"][0].clone();
    assert_eq!(host["class"], "exec_refused", "{host}");
    let message = host["message"].as_str().unwrap();
    assert!(message.contains("too long for a terminal"), "{message}");
    assert!(!file.exists());
}

#[test]
fn the_end_shows_what_a_host_said_as_it_is() {
    let reveille = Reveille::new();
    let words = [
        "exec",
        "-w",
        "a",
        "--transport",
        "local",
        "--",
        "echo ::a >&2; exit 3",
    ];
    let ended = reveille.run(&words).expect(3);
    assert!(ended.stderr.contains("\n  ::a\n"), "{}", ended.stderr);
}
