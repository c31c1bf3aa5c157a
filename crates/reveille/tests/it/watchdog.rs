//! The watchdog checks a host before it kills a command.

use std::fmt::Write as _;
use std::time::Duration;

use reveille_testbed::Testbed;
use serde_json::Value;

use crate::support::{Ended, Reveille};

/// The result of a run of one step on one host, and the recorded checks.
fn run(reveille: &Reveille, inventory: &str, step: &str, options: &[&str]) -> (Value, String) {
    let job = reveille.file("job.yaml", format!("steps:\n  - {step}\n"));
    let mut arguments = vec!["run", &job, "-i", inventory, "--format", "json"];
    arguments.extend(options);
    let summary = reveille.run(&arguments).json();
    let logs = reveille.run(&["logs", "host-001"]).expect(0).stdout;
    (summary["hosts"][0].clone(), logs)
}

#[test]
fn without_history_no_live_command_is_killed() {
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
            logs.contains("it seems stuck, but the job does not allow killing it"),
            "{step}: {logs}"
        );
    }
    // A command that makes progress is not checked.
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
fn the_hard_cap_and_on_stuck_end_a_stuck_step() {
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
    assert!(logs.contains("the step sets on_stuck: kill"), "{logs}");
    let capped = ["--silence-floor", "1s", "--hard-cap", "4s"];
    let (host, logs) = run(&reveille, &inventory, "run: sleep 61.25", &capped);
    assert!(host["class"].as_str().unwrap().starts_with("watchdog_"), "{logs}");
    assert!(logs.contains("the hard cap has passed"), "{logs}");
    // No process of either command is left; only this test sleeps for that long.
    let left = std::process::Command::new("pgrep")
        .args(["-f", "^sleep 61.25$"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

/// A program that waits for an answer on a terminal gets a class of its own, and its question is in the outcome.
#[test]
fn a_question_on_a_terminal_is_reported() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let ask = "{run: 'test -t 0 && printf \"Continue? \" && read -r answer', pty: true, attempts: 3}";
    let (host, logs) = run(&reveille, &inventory, ask, &["--silence-floor", "1s"]);
    assert_eq!(host["class"], "asks_a_question", "{logs}");
    assert_eq!(host["attempts"], 1, "it would ask again: {logs}");
    let message = host["message"].as_str().unwrap();
    assert!(message.ends_with("it printed a prompt: Continue?"), "{message}");
    // Without a terminal its read fails immediately.
    let (host, logs) = run(&reveille, &inventory, "run: 'read -r answer || echo nobody'", &[]);
    assert_eq!(host["class"], "ok", "{logs}");
    assert!(logs.contains("nobody"), "{logs}");
    // The end of a run says how long the last progress was before the kill.
    let job = reveille.file("job.yaml", format!("steps:\n  - {ask}\n"));
    let ended = reveille.run(&["run", &job, "-i", &inventory, "--silence-floor", "1s"]);
    let words = ended.expect(3).stderr;
    assert!(
        words.contains("watchdog    killed 1 attempt; the last progress was"),
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
fn deadlines_of_the_job_are_kept() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    // A check gets as long as the deadline for its answer, so a busy machine needs some seconds.
    for durable in ["true", "false"] {
        let step = format!("{{run: sleep 60, durable: {durable}, watchdog: {{idle: 3s}}}}");
        let (host, logs) = run(&reveille, &inventory, &step, &[]);
        assert_eq!(host["class"], "watchdog_idle", "{logs}");
        assert!(logs.contains("no progress"), "{logs}");
        // A command that makes progress is not silent, but exceeds its total deadline.
        let step = format!(
            "{{run: 'while :; do :; done # endless', durable: {durable}, watchdog: {{idle: 3s, total: 9s}}}}"
        );
        let (host, logs) = run(&reveille, &inventory, &step, &[]);
        assert_eq!(host["class"], "watchdog_total", "{logs}");
        assert!(logs.contains("slow, but making progress"), "{logs}");
    }
    let left = std::process::Command::new("pgrep")
        .args(["-f", "done # endless"])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "{left:?}");
}

/// Deadlines come from earlier runs. With enough samples, an idempotent step is killed and repeated.
#[test]
fn the_history_of_a_class_decides() {
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

/// Programs such as sudo and su belong to another user, and nobody but root sees what they wait for.
#[test]
fn a_question_of_su_to_an_ordinary_user_is_reported() {
    const NOBODY: &str = "65534";
    let reveille = Reveille::new();
    let home = reveille.path();
    let program = home.join("program");
    std::fs::copy(crate::support::binary(), &program).unwrap();
    let owned = std::process::Command::new("chown")
        .arg("-R")
        .arg(NOBODY)
        .arg(home)
        .status();
    assert!(owned.unwrap().success(), "this test needs root");
    let words = "exec -w a --transport local --pty --idle 3s --attempts 3 --format json -- su root -c id";
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command.arg(&program).args(words.split(' ')).current_dir(home);
    command
        .env("HOME", home)
        .env("REVEILLE_STATE_DIR", home.join("state"));
    let host = Ended::of(&command.output().unwrap()).expect(3).json()["hosts"][0].clone();
    assert_eq!(host["class"], "asks_a_question", "{host}");
    assert_eq!(host["attempts"], 1, "it would ask again: {host}");
}

/// A host on which the first session of a connection works, and every further session accepts a command and stays silent.
fn deaf_host() -> (Testbed, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("force");
    let text = format!(
        "#!/bin/sh\nheld={}/$PPID\nif mkdir \"$held\" 2>/dev/null; then\n  sh -c \"$SSH_ORIGINAL_COMMAND\"\n  ended=$?\n  \
         rmdir \"$held\"\n  exit $ended\nfi\nexec sleep 300\n",
        directory.path().display()
    );
    std::fs::write(&script, text).unwrap();
    let testbed = Testbed::start(1, &format!("ForceCommand /bin/sh {}\n", script.display())).unwrap();
    (testbed, directory)
}

/// The recorded duration of each killed attempt, in milliseconds.
fn attempts(logs: &str) -> Vec<Duration> {
    logs.lines()
        .filter(|line| line.contains(": attempt "))
        .filter_map(|line| {
            let (_, took) = line.split_once(": killed for")?.0.rsplit_once(" after ")?;
            reveille_text::duration::parse(took).ok()
        })
        .collect()
}

/// A host that does not answer the watchdog's check gets no time beyond the deadline of the job.
#[test]
fn a_host_that_does_not_answer_gets_no_more_time() {
    let (testbed, _directory) = deaf_host();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for durable in ["true", "false"] {
        let step = format!(
            "{{run: sleep 61.75, durable: {durable}, idempotent: true, attempts: 2, backoff: 1s, \
             watchdog: {{idle: 6s, total: 60s}}}}"
        );
        let (host, logs) = run(&reveille, &inventory, &step, &[]);
        assert_eq!(host["class"], "watchdog_idle", "{logs}");
        assert_eq!(host["attempts"], 2, "{logs}");
        let message = host["message"].as_str().unwrap();
        assert!(message.starts_with("killed for silence after 6 s: "), "{message}");
        assert!(message.contains("a check got no answer within"), "{message}");
        // About 1.3 times the deadline. Two checks of half a minute each would exceed this limit by far.
        let attempts = attempts(&logs);
        assert_eq!(attempts.len(), 2, "{logs}");
        assert!(
            attempts.iter().all(|took| *took < Duration::from_secs(20)),
            "{attempts:?}: {logs}"
        );
    }
}

/// A total deadline of the job ends an attempt at that time, even during a check.
#[test]
fn a_total_deadline_does_not_wait_for_a_check() {
    let (testbed, _directory) = deaf_host();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let step = "{run: sleep 61.5, idempotent: true, watchdog: {total: 8s}}";
    let (host, logs) = run(&reveille, &inventory, step, &["--silence-floor", "3s"]);
    assert_eq!(host["class"], "watchdog_total", "{logs}");
    let message = host["message"].as_str().unwrap();
    assert!(message.contains("after 8 s: "), "{message}");
    let attempts = attempts(&logs);
    // A check that began before the deadline would take as long again.
    assert!(
        attempts.iter().all(|took| *took < Duration::from_secs(14)),
        "{attempts:?}: {logs}"
    );
}

/// Endless output prevents neither the kill nor the deadline.
#[test]
fn a_command_with_endless_output_is_killed_in_time() {
    let testbed = Testbed::start(1, "MaxSessions 1\n").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for durable in ["true", "false"] {
        let began = std::time::Instant::now();
        let step = format!(
            "{{run: 'trap \"\" TERM; while :; do echo endless talk; done', durable: {durable}, watchdog: {{total: 3s}}}}"
        );
        let (host, logs) = run(&reveille, &inventory, &step, &[]);
        assert_eq!(host["class"], "watchdog_total", "{logs:.3000}");
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }
}

#[test]
fn wait_for_ends_at_its_deadline() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let began = std::time::Instant::now();
    let step = "{wait_for: {command: 'sleep 963', within: 3s}}";
    let (host, logs) = run(&reveille, &inventory, step, &[]);
    assert_eq!(host["class"], "command_failed", "{logs}");
    assert!(logs.contains("the command does not succeed after 3 s"), "{logs}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    // If the limit on the host fails, the controller ends the step.
    let step = "{wait_for: {command: 'kill -STOP \"$PPID\" && sleep 964', within: 1s}}";
    let (host, logs) = run(&reveille, &inventory, step, &[]);
    assert_eq!(host["class"], "command_failed", "{logs}");
    assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
}

/// A copy that makes no progress is ended.
#[test]
fn a_copy_without_progress_ends() {
    // `dd` on this host never reads.
    let directory = tempfile::tempdir().unwrap();
    let dd = directory.path().join("dd");
    std::fs::write(&dd, "#!/bin/sh\nexec sleep 300\n").unwrap();
    let made = std::process::Command::new("chmod")
        .arg("755")
        .arg(&dd)
        .status()
        .unwrap();
    assert!(made.success());
    let path = format!(
        "SetEnv PATH={}:/usr/local/bin:/usr/bin:/bin\n",
        directory.path().display()
    );
    let testbed = Testbed::start(1, &path).unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let _ = reveille.file("content", vec![b'x'; 8 << 20]);
    let began = std::time::Instant::now();
    let dest = testbed.home().join("content");
    let step = format!(
        "{{upload: {{src: content, dest: {}}}, watchdog: {{idle: 3s}}}}",
        dest.display()
    );
    let (host, logs) = run(&reveille, &inventory, &step, &[]);
    assert_eq!(host["class"], "watchdog_idle", "{logs}");
    let message = host["message"].as_str().unwrap();
    assert!(message.contains("no byte moved in either direction"), "{message}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
