//! The watchdog looks before it ends anything.

use std::fmt::Write as _;

use reveille_testbed::Testbed;
use serde_json::Value;

use crate::support::Reveille;

/// What a run of one step on one host came to, and the looks that were recorded.
fn run(reveille: &Reveille, inventory: &str, step: &str, options: &[&str]) -> (Value, String) {
    let job = reveille.file("job.yaml", format!("steps:\n  - {step}\n"));
    let mut arguments = vec!["run", &job, "-i", inventory, "--format", "json"];
    arguments.extend(options);
    let summary = reveille.run(&arguments).json();
    let logs = reveille.run(&["logs", "host-001"]).expect(0).stdout;
    (summary["hosts"][0].clone(), logs)
}

#[test]
fn without_history_nothing_alive_is_ended() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for step in [
        "run: sleep 6",
        "{run: sleep 6, durable: false}",
        "{run: sleep 6, idempotent: true}",
    ] {
        let (host, logs) = run(&reveille, &inventory, step, &["--silence-floor", "1s"]);
        assert_eq!(host["class"], "ok", "{step}: {host}");
        assert!(
            logs.contains("it seems stuck; nobody allowed to end it"),
            "{step}: {logs}"
        );
    }
    // A process that moves is not even suspected.
    let (host, logs) = run(
        &reveille,
        &inventory,
        "run: \"i=0; while [ $i -lt 800000 ]; do i=$((i+1)); done; sleep 1\"",
        &["--silence-floor", "300ms"],
    );
    assert_eq!(host["class"], "ok", "{host}");
    assert!(!logs.contains("killed"), "{logs}");
}

#[test]
fn the_hard_cap_and_the_step_itself_may_end_it() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let short = ["--silence-floor", "1s"];
    let (host, logs) = run(
        &reveille,
        &inventory,
        "{run: sleep 61.25, on_stuck: kill}",
        &short,
    );
    assert_eq!(host["class"], "watchdog_idle", "{logs}");
    assert!(logs.contains("the step says on_stuck: kill"), "{logs}");
    let capped = ["--silence-floor", "1s", "--hard-cap", "4s"];
    let (host, logs) = run(&reveille, &inventory, "run: sleep 61.25", &capped);
    assert!(host["class"].as_str().unwrap().starts_with("watchdog_"), "{logs}");
    assert!(logs.contains("the hard cap has passed"), "{logs}");
    // Nothing of either is left; the duration is of this test alone.
    let left = std::process::Command::new("pgrep")
        .args(["-f", "^sleep 61.25$"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

/// A program that asks on a terminal is told apart from one that hangs, and its question is in the outcome.
#[test]
fn a_question_on_a_terminal_is_found() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let ask = "{run: 'test -t 0 && printf \"Continue? \" && read -r answer', pty: true, attempts: 3}";
    let (host, logs) = run(&reveille, &inventory, ask, &["--silence-floor", "1s"]);
    assert_eq!(host["class"], "asks_a_question", "{logs}");
    assert_eq!(host["attempts"], 1, "it would ask again: {logs}");
    let message = host["message"].as_str().unwrap();
    assert!(
        message.ends_with("it waits for an answer: Continue?"),
        "{message}"
    );
    // Without a terminal it hears at once that there is nobody.
    let (host, logs) = run(&reveille, &inventory, "run: 'read -r answer || echo nobody'", &[]);
    assert_eq!(host["class"], "ok", "{logs}");
    assert!(logs.contains("nobody"), "{logs}");
    // The end of a run says how long it took to find out.
    let job = reveille.file("job.yaml", format!("steps:\n  - {ask}\n"));
    let ended = reveille.run(&["run", &job, "-i", &inventory, "--silence-floor", "1s"]);
    let words = ended.expect(3).stderr;
    assert!(
        words.contains("ended       1 attempt by the watchdog; last progress"),
        "{words}"
    );
    let plain = ["exec", "--pty", "-i", &inventory, "--", "test", "-t", "0"];
    reveille.run(&plain).expect(0);
}

/// Hosts of different kinds have histories of their own.
#[test]
fn a_hosts_label_is_part_of_the_class() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let mut text = testbed.inventory();
    text.push_str("instance_type=m7i.large\n\n[micro]\nhost-002\n\n[micro:vars]\nreveille_label=t3.micro\n");
    let inventory = reveille.file("inventory.ini", text);
    let job = reveille.file("job.yaml", "steps:\n  - {run: 'true', class: build}\n");
    reveille.run(&["run", &job, "-i", &inventory]).expect(0);
    for (host, class) in [
        ("host-001", "build on m7i.large"),
        ("host-002", "build on t3.micro"),
    ] {
        let logs = reveille.run(&["logs", host]).expect(0).stdout;
        assert!(logs.contains(&format!("(class {class}, 0 samples)")), "{logs}");
    }
}

#[test]
fn an_operators_deadlines_are_kept() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for durable in ["true", "false"] {
        let step = format!("{{run: sleep 60, durable: {durable}, watchdog: {{idle: 1s}}}}");
        let (host, logs) = run(&reveille, &inventory, &step, &[]);
        assert_eq!(host["class"], "watchdog_idle", "{logs}");
        assert!(logs.contains("nothing of it moves"), "{logs}");
        // What moves is not silent, but late in the end.
        let step = format!(
            "{{run: 'while :; do :; done # endless', durable: {durable}, watchdog: {{idle: 1s, total: 4s}}}}"
        );
        let (host, logs) = run(&reveille, &inventory, &step, &[]);
        assert_eq!(host["class"], "watchdog_total", "{logs}");
        assert!(logs.contains("slow, but it moves"), "{logs}");
    }
    let left = std::process::Command::new("pgrep")
        .args(["-f", "done # endless"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

/// Deadlines come from earlier runs, and once enough is known a step that may run again is ended and run again.
#[test]
fn what_is_known_of_a_class_decides() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let mut inventory = String::new();
    for number in 1..=110 {
        let _ = writeln!(inventory, "host-{number:03} ansible_host={}", testbed.address(0));
    }
    let _ = write!(
        inventory,
        "[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\n",
        testbed.port(),
        testbed.key().display()
    );
    let inventory = reveille.file("inventory.ini", inventory);
    let quick = reveille.file(
        "quick.yaml",
        "steps:\n  - {run: 'true', durable: false, class: known}\n",
    );
    reveille
        .run(&["run", &quick, "-i", &inventory, "-c", "16"])
        .expect(0);
    let step =
        "{run: '[ -e $HOME/hung ] || { touch $HOME/hung; sleep 60; }', idempotent: true, class: known}";
    let (host, logs) = run(
        &reveille,
        &inventory,
        step,
        &["-l", "host-001", "--silence-floor", "1s"],
    );
    assert_eq!(host["class"], "ok_after_recovery", "{logs}");
    assert!(logs.contains("earlier runs took less time"), "{logs}");
    assert!(logs.contains("(class known, 110 samples)"), "{logs}");
}
