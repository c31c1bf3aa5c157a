//! Completions: what the program answers, and what the shells make of it.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Ended, Reveille, binary};
use crate::terminal::Terminal;

/// What bash would get for a line.
fn answer(reveille: &Reveille, line: &str) -> Ended {
    let arguments = ["--", line, &line.len().to_string(), " \t\n\"'@><=;|&(:"];
    let mut command = reveille.command(&arguments);
    let ended = Ended::of(&command.env("REVEILLE_COMPLETE", "bash").output().unwrap()).expect(0);
    assert_eq!(ended.stderr, "", "{line}");
    ended
}

/// The values without the options, which may stand in most places.
fn values(reveille: &Reveille, line: &str) -> Vec<String> {
    let lines = answer(reveille, line).stdout;
    let values = lines.lines().filter(|line| !line.starts_with('-'));
    values.map(str::to_owned).collect()
}

const JOB: &str = "name: deploy\nsteps:\n  - {name: 'in two; touch pwned', run: echo one, tags: [web, slow]}\n  - {name: after, run: \
                   echo two, tags: db}\n";
const INVENTORY: &str = "[web]\nweb[01:03]\n[db]\ndb1\n[all:vars]\nansible_connection=local\n";

#[test]
fn values_come_from_what_the_line_names() {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", INVENTORY);
    reveille.file("other.ini", "elsewhere\n");
    reveille.file("job.yaml", JOB);
    reveille.file("reveille.toml", "inventory = \"hosts.ini\"\n");
    let of = |line: &str| values(&reveille, line);
    assert_eq!(of("reveille exec -l 'web:!d"), ["web:!db", "web:!db1"]);
    assert_eq!(of("reveille exec -l d"), ["db ", "db1 "]);
    assert_eq!(
        of("reveille exec -w web01,w"),
        ["web01,web01 ", "web01,web02 ", "web01,web03 "]
    );
    assert_eq!(of("reveille exec -i other.ini -l e"), ["elsewhere "]);
    assert_eq!(
        of("reveille hosts --why w"),
        ["web ", "web01 ", "web02 ", "web03 "]
    );
    assert_eq!(of("reveille run job.yaml --tags web,s"), ["web,slow "]);
    assert_eq!(
        of("reveille run job.yaml --start-at i"),
        ["in\\ two\\;\\ touch\\ pwned "]
    );
    assert_eq!(of("reveille run j"), ["job.yaml "]);
    assert_eq!(of("reveille exec --allow-class auth_f"), ["auth_failed="]);
    assert_eq!(of("reveille explain auth_s"), ["auth_stalled "]);
    assert_eq!(of("reveille drill --fault refus"), ["refuse="]);
    assert_eq!(of("reveille exec -i ot"), ["other.ini "]);
    assert_eq!(of("reveille sho"), ["show "]);
    assert_eq!(of("reveille exec -l @last:quar"), ["quarantined "]);
    // There are no runs, and none of this makes a state directory.
    assert_eq!(of("reveille show "), Vec::<String>::new());
    assert!(!reveille.state().exists());
}

#[test]
fn runs_and_their_hosts_are_completed() {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", INVENTORY);
    for host in ["web01", "db1"] {
        reveille
            .run(&["exec", "-i", "hosts.ini", "-l", host, "--", "true"])
            .expect(0);
    }
    let of = |line: &str| values(&reveille, line);
    let runs = of("reveille show ");
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert_eq!(runs[0], "last ");
    let listed = reveille.run(&["runs"]).expect(0).stdout;
    let listed: Vec<&str> = listed
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!([runs[1].trim(), runs[2].trim()], listed[..], "newest first");
    assert_eq!(of("reveille retry l"), ["last "]);
    assert_eq!(of("reveille show '@l"), ["@last"]);
    assert_eq!(of("reveille resume "), Vec::<String>::new());
    assert_eq!(of("reveille logs d"), ["db1 "]);
    assert_eq!(of(&format!("reveille logs {}", runs[2])), ["web01 "]);
    assert_eq!(of("reveille logs --step t"), ["true "]);
    let state = reveille.state();
    let elsewhere = format!(
        "reveille --state-dir {} show ",
        reveille.path().join("none").display()
    );
    assert_eq!(of(&elsewhere), Vec::<String>::new());
    let names = std::fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("-wal") || name.contains("-shm")),
        "{names:?}"
    );
}

#[test]
fn completions_run_nothing_and_are_silent_about_mistakes() {
    let reveille = Reveille::new();
    let program = reveille.file("hosts.sh", "#!/bin/sh\ntouch ran\necho '{}'\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    reveille.file("broken.yaml", "steps: {\n");
    reveille.file(
        "secret.yaml",
        "vars: {x: {secret: {command: touch ran}}}\nsteps:\n  - {name: a, env: {X: '{{ x }}'}, run: echo}\n",
    );
    let of = |line: &str| values(&reveille, line);
    let none = Vec::<String>::new();
    assert_eq!(of("reveille exec -i hosts.sh -l w"), none);
    assert_eq!(of("reveille exec -i missing.ini -l w"), none);
    assert_eq!(of("reveille run broken.yaml --tags "), none);
    assert_eq!(of("reveille run secret.yaml --start-at "), ["a "]);
    assert_eq!(of("reveille --nothing show "), none);
    assert_eq!(of("reveille exec -i 'unfinished"), none);
    reveille.file("reveille.toml", "nonsense = 1\n");
    assert_eq!(of("reveille sho"), ["show "]);
    assert!(!reveille.path().join("ran").exists());
}

#[test]
fn a_shell_gets_at_most_200_values() {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", "web[00001:10000]\n");
    let of = |line: &str| values(&reveille, line);
    // More than 200: how the names go on.
    assert_eq!(of("reveille exec -i hosts.ini -l web"), ["web0", "web1"]);
    assert_eq!(of("reveille exec -i hosts.ini -l web0").len(), 10);
    assert_eq!(of("reveille exec -i hosts.ini -l web00").len(), 10);
    assert_eq!(of("reveille exec -i hosts.ini -l web001").len(), 100);
    assert_eq!(
        values(&reveille, "reveille exec -i hosts.ini -l web0999").len(),
        10
    );
}

/// A shell in a terminal that has read the completions.
fn shell(reveille: &Reveille, program: &str, prepare: &str) -> Terminal {
    let directory = binary().parent().unwrap().display().to_string();
    let line = format!("export PATH={directory}:$PATH; exec {program}");
    let mut terminal = Terminal::start_program(reveille, 200, 24, &line, "C.UTF-8");
    terminal.press(format!("{prepare}\nprintf 're%s\\n' ady\n").as_bytes());
    terminal.until("prompt", |text| text.lines().any(|line| line.trim() == "ready"));
    terminal
}

fn completes(program: &str, prepare: &str) {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", INVENTORY);
    reveille.file("job.yaml", JOB);
    reveille
        .run(&["exec", "-i", "hosts.ini", "-l", "db1", "--", "true"])
        .expect(0);
    let mut terminal = shell(&reveille, program, prepare);
    // The word is completed, and the command line then works.
    terminal.press(b"reveille hosts -i hosts.ini -l web01:d");
    terminal.press(b"b1\x7f\t\n");
    terminal.until("hosts", |text| text.lines().any(|line| line.trim() == "db1"));
    terminal.press(b"reveille run job.yaml -w one --transport local --plan --start-at in\t\n");
    terminal.until("plan", |text| text.contains("echo two"));
    terminal.press(b"reveille show r-2\t\n");
    let text = terminal.until("run", |text| text.contains("1 planned = 1 succeeded"));
    assert!(!reveille.path().join("pwned").exists(), "{text}");
    terminal.press(b"exit\n");
    terminal.end();
}

#[test]
fn bash_completes_words_and_runs_nothing_that_is_in_them() {
    completes("bash --norc --noprofile", "source <(reveille completions bash)");
}

#[test]
fn zsh_completes_words_and_runs_nothing_that_is_in_them() {
    completes(
        "zsh -f",
        "autoload -U compinit; compinit -u -D; source <(reveille completions zsh)",
    );
}

#[test]
fn fish_completes_words_and_runs_nothing_that_is_in_them() {
    completes("fish --no-config", "reveille completions fish | source");
}
