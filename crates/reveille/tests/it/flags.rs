//! Every option has an effect, and a test.

use std::os::unix::fs::MetadataExt as _;

use crate::support::Reveille;

/// A host that is this machine.
const HERE: &str = "this ansible_connection=local shade=blue my_token=hush\n";

/// Every option that the help lists is used by a test in this directory.
#[test]
fn every_option_has_a_test() {
    let reveille = Reveille::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let mut tests = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            tests += &std::fs::read_to_string(path).unwrap();
        }
    }
    let commands = [
        "exec", "run", "resume", "retry", "drill", "hosts", "lint", "runs", "show", "audit", "logs",
        "export", "copy", "fetch", "ping", "clean", "prune", "man",
    ];
    let mut missing = std::collections::BTreeSet::new();
    for command in commands {
        let help = reveille.run(&[command, "--help"]).expect(0).stdout;
        for line in help.lines().map(str::trim_start) {
            let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
            let first = words.next().unwrap_or_default();
            let (short, long) = match first.strip_prefix("--") {
                Some(_) => (None, first),
                None if first.starts_with('-') => (Some(first), words.next().unwrap_or_default()),
                None => continue,
            };
            let long = long.trim_end_matches("...");
            let is_used = |option: &str| {
                let word = format!(r"(^|[^\w-]){}([^\w-]|$)", regex::escape(option));
                regex::Regex::new(&word).unwrap().is_match(&tests)
            };
            if long.starts_with("--") && !is_used(long) && !short.is_some_and(is_used) {
                missing.insert(long.to_owned());
            }
        }
    }
    // clap implements these.
    for of_clap in ["--help", "--version"] {
        missing.remove(of_clap);
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn hosts_are_listed_shown_and_explained() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", format!("{HERE}web[1:2] ansible_port=2222\n"));
    let config = reveille.file("ssh_config", "Host web1\n  Port 24\n  User deploy\n");
    let hosts = |more: &[&str]| {
        let mut arguments = vec!["hosts", "--inventory", &inventory];
        arguments.extend(more);
        reveille.run(&arguments)
    };
    assert_eq!(hosts(&["--limit", "web*:!web2"]).expect(0).stdout, "web1\n");
    let shown = hosts(&["-l", "this", "--vars"]).expect(0).stdout;
    assert!(
        shown.contains(r#""shade":"blue""#) && !shown.contains("hush"),
        "{shown}"
    );
    let why = hosts(&["--why", "web1", "-F", &config]).expect(0).stdout;
    assert!(
        why.contains("2222        ansible_port at") && why.contains("overrides 24 (Port at"),
        "{why}"
    );
    assert!(why.contains("deploy"), "{why}");
    let why = hosts(&[
        "--why",
        "web1",
        "--ssh-config",
        "none",
        "--user",
        "me",
        "--become-user",
        "app",
    ])
    .expect(0)
    .stdout;
    assert!(
        why.contains("--user on the command line") && why.contains("--become-user on the command line"),
        "{why}"
    );
    let refused = hosts(&["--user", "me"]).expect(2).stderr;
    assert!(refused.contains("use it with --why PATTERN"), "{refused}");
}

#[test]
fn vaults_are_opened() {
    let reveille = Reveille::new();
    let vault = include_str!("../../../inventory/tests/vault-sample");
    let vars = vault
        .lines()
        .fold(String::new(), |text, line| text + "\n      " + line);
    let inventory = reveille.file(
        "hosts.yaml",
        format!(
            "all:\n  vars:\n    shade: !vault |{vars}\n  hosts: {{this: {{ansible_connection: local}}}}\n"
        ),
    );
    let password = reveille.file("password", "hunter2\n");
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - {name: length, run: 'test ${#SHADE} = 6', env: {SHADE: '{{ shade }}'}, durable: true}\n",
    );
    let run = |more: &[&str], code: i32| {
        let mut arguments = vec!["run", &job, "-i", &inventory];
        arguments.extend(more);
        reveille.run(&arguments).expect(code)
    };
    run(&["--vault-password-file", &password], 0);
    run(&[], 2);
    let lint = ["lint", &inventory, "--vault-password-file", &password];
    reveille.run(&lint).expect(0);
    reveille.run(&lint[..2]).expect(2);
}

#[test]
fn copies_take_owner_group_and_mode() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", HERE);
    let source = reveille.file("source", "x\n");
    let target = reveille.path().join("target");
    let (user, group) = ("nobody", "nogroup");
    let copied = reveille.run(&[
        "copy",
        "-i",
        &inventory,
        &source,
        target.to_str().unwrap(),
        "--mode",
        "0640",
        "--owner",
        user,
        "--group",
        group,
    ]);
    // Only root may change the owner of a file.
    if rustix::process::geteuid().is_root() {
        copied.expect(0);
        let metadata = std::fs::metadata(&target).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o640);
        assert_ne!(metadata.uid(), 0);
        assert_ne!(metadata.gid(), 0);
    } else {
        copied.expect(3);
    }
}

#[test]
fn a_total_deadline_ends_a_command() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", HERE);
    let ended = reveille.run(&[
        "exec", "-i", &inventory, "--total", "1s", "--format", "json", "--", "sleep", "60",
    ]);
    let json = ended.expect(3).json();
    assert_eq!(json["hosts"][0]["class"], "watchdog_total", "{json}");
}

#[test]
fn runs_keep_comments_and_are_pruned() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", HERE);
    reveille
        .run(&[
            "exec",
            "-i",
            &inventory,
            "--comment",
            "before the move",
            "--",
            "true",
        ])
        .expect(0);
    let shown = reveille.run(&["show", "--no-color"]).expect(0).stdout;
    assert!(shown.contains("before the move"), "{shown}");
    let followed = reveille.run(&["show", "--follow"]).expect(0).stdout;
    assert!(followed.contains("this  success (ok)"), "{followed}");
    let listed = reveille
        .run(&["prune", "--older-than", "1d", "--interrupted", "--dry-run"])
        .expect(0);
    assert!(listed.stdout.is_empty(), "{}", listed.stdout);
    reveille.run(&["show"]).expect(0);
}

/// `script` gives the program a terminal, on which the test types the passwords.
#[test]
fn passwords_are_asked_for_and_not_shown() {
    use std::io::{Read as _, Write as _};
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", HERE);
    let command = format!(
        "{} exec -i {inventory} --ask-pass --ask-become-pass -- true",
        crate::support::binary().display()
    );
    let mut script = reveille
        .through("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = script.stdin.take().unwrap();
    let mut screen = script.stdout.take().unwrap();
    let mut shown = String::new();
    // The program discards what is typed before the question, so the test waits for each question.
    for (question, answer) in [
        ("SSH password: ", "opensesame\n"),
        ("become password [the same]: ", "\n"),
    ] {
        while !shown.ends_with(question) {
            let mut bytes = [0; 1];
            assert_eq!(screen.read(&mut bytes).unwrap(), 1, "{shown}");
            shown.push(char::from(bytes[0]));
        }
        typed.write_all(answer.as_bytes()).unwrap();
    }
    screen.read_to_string(&mut shown).unwrap();
    assert!(script.wait().unwrap().success(), "{shown}");
    assert!(!shown.contains("opensesame"), "{shown}");
}
