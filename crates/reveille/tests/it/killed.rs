//! If the controller is killed at any moment and the run resumed, every host runs once and is accounted for.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::support::{Ended, Reveille};
use reveille_testbed::Testbed;

const HOSTS: usize = 60;

/// Sixty names of one machine and one user, so that only tokens distinguish their work.
fn inventory(testbed: &Testbed) -> String {
    let mut text = String::new();
    for number in 1..=HOSTS {
        let _ = writeln!(text, "h{number:02} ansible_host={}", testbed.address(0));
    }
    let key = testbed.key();
    let _ = write!(
        text,
        "[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\n",
        testbed.port(),
        key.display()
    );
    text
}

const JOB: &str = "
name: once
steps:
  - name: append
    run: |
      echo line >> \"$HOME/{{ inventory_hostname }}\"
      head -c 70000 /dev/zero | tr '\\0' x
      echo; echo end
  - name: check
    run: wc -l < \"$HOME/{{ inventory_hostname }}\"
";

#[test]
fn killed_at_any_event_and_resumed() {
    let kills: u64 = std::env::var("REVEILLE_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let testbed = Testbed::start(1, "").unwrap();
    // The kills are spread evenly over the run.
    for kill in 0..kills {
        let reveille = Reveille::new();
        let inventory = reveille.file("inventory.ini", inventory(&testbed));
        let job = reveille.file("job.yaml", JOB);
        let home = testbed.home();
        for number in 1..=HOSTS {
            let _ = std::fs::remove_file(home.join(format!("h{number:02}")));
        }
        let events_of_a_run = HOSTS as u64 * 8;
        let after = 1 + events_of_a_run * kill / kills;
        let mut child = reveille
            .command(&["run", &job, "-i", &inventory, "--events", "-", "-q"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = lines.take(usize::try_from(after).unwrap()).count();
        child.kill().unwrap();
        child.wait().unwrap();

        let audit = reveille.run(&["audit"]).expect(0);
        assert!(
            audit.stdout.contains("all accounted for"),
            "after {seen} events: {}",
            audit.stdout
        );
        let resumed = reveille.run(&["resume", "--format", "json"]);
        assert_eq!(
            resumed.code, 0,
            "killed after {seen} events: {}\n{}",
            resumed.stderr, resumed.stdout
        );
        let summary = resumed.json();
        assert_eq!(summary["account"]["success"], HOSTS);
        assert_eq!(summary["account"]["balanced"], true);
        assert_eq!(summary["state"], "closed");
        let whole = format!("{}\nend\n1\n", "x".repeat(70_000));
        for number in 1..=HOSTS {
            let host = format!("h{number:02}");
            let lines = std::fs::read_to_string(home.join(&host)).unwrap();
            assert_eq!(lines, "line\n", "{host}, killed after {seen} events");
            let output = reveille.run(&["logs", "last", &host, "--raw"]).expect(0).stdout;
            assert!(
                output == whole,
                "{host} lost output ({} bytes), killed after {seen} events",
                output.len()
            );
        }
        reveille.run(&["audit"]).expect(0);
    }
}

#[test]
fn a_second_controller_is_refused_with_the_name_of_the_first() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let gate = reveille.path().join("gate");
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let command = format!("until [ -e {} ]; do sleep 0.1; done", gate.display());
    let mut child = reveille
        .command(&[
            "exec",
            "-i",
            &inventory,
            "--durable",
            "--events",
            "-",
            "-q",
            "--",
            &command,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("step_started")));
    let second = reveille.run(&["resume"]).expect(2);
    assert!(
        second.stderr.contains(&format!(":{}", child.id())),
        "{}",
        second.stderr
    );
    std::fs::write(&gate, "").unwrap();
    assert!(child.wait().unwrap().success());
    reveille.run(&["audit"]).expect(0);
}

#[test]
fn interrupted_in_two_stages_and_resumed() {
    let testbed = Testbed::start(4, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let gate = reveille.path().join("gate");
    let command = format!(
        "echo started; until [ -e {} ]; do sleep 0.1; done; echo word",
        gate.display()
    );
    let mut child = reveille
        .command(&[
            "exec",
            "-i",
            &inventory,
            "-c",
            "1",
            "--durable",
            "--events",
            "-",
            "-q",
            "--",
            &command,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("step_started")));
    let pid = child.id().to_string();
    let signal = |name: &str| {
        assert!(
            std::process::Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-TERM");
    signal("-INT");
    // Whatever happens next, the run ends as interrupted.
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.last().unwrap().contains("interrupted"), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let audit = reveille.run(&["audit"]).expect(0);
    assert!(
        audit
            .stdout
            .contains("4 planned = 3 pending + 1 running; all accounted for"),
        "{}",
        audit.stdout
    );
    std::fs::write(&gate, "").unwrap();
    let resumed = reveille.run(&["resume", "-c", "1"]).expect(0);
    assert!(
        resumed
            .stderr
            .contains("4 planned = 4 succeeded; all accounted for"),
        "{}",
        resumed.stderr
    );
    assert!(
        resumed
            .stdout
            .contains("host-[001-004] (4 hosts)\n  started\n  word"),
        "{}",
        resumed.stdout
    );
}

#[test]
fn killed_between_two_attempts_and_resumed() {
    let testbed = Testbed::start(1, "").unwrap();
    for durable in [true, false] {
        let reveille = Reveille::new();
        let inventory = reveille.file("inventory.ini", testbed.inventory());
        let tries = reveille.path().join("tries");
        let job = reveille.file(
            "job.yaml",
            format!(
                "steps:\n  - name: third time\n    run: echo try >>{tries}; [ $(wc -l <{tries}) -ge 3 ]\n    idempotent: true\n    \
                 attempts: 3\n    backoff: 5s\n    durable: {durable}\n",
                tries = tries.display()
            ),
        );
        let mut child = reveille
            .command(&["run", &job, "-i", &inventory, "--events", "-", "-q"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("\"recovering\"")));
        child.kill().unwrap();
        child.wait().unwrap();
        let summary = reveille.run(&["resume", "--format", "json"]).expect(0).json();
        assert_eq!(summary["hosts"][0]["class"], "ok_after_recovery", "{summary}");
        assert_eq!(summary["hosts"][0]["attempts"], 3, "{summary}");
        assert_eq!(std::fs::read_to_string(&tries).unwrap().lines().count(), 3);
    }
}

/// A run that was started with relative paths is resumed from another directory.
#[test]
fn resumed_from_another_directory() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = testbed
        .inventory()
        .replace(&testbed.key().display().to_string(), "key");
    reveille.file("inventory", inventory);
    std::fs::copy(testbed.key(), reveille.path().join("key")).unwrap();
    reveille.file("payload", "new");
    let home = testbed.home();
    reveille.file(
        "job.yaml",
        format!(
            "steps:\n  - run: until [ -e $HOME/go ]; do sleep 0.1; done\n  - upload: {{src: payload, dest: {}/arrived}}\n",
            home.display()
        ),
    );
    let mut child = reveille
        .command(&["run", "job.yaml", "-i", "inventory", "--events", "-", "-q"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("step_began")));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(home.join("go"), "").unwrap();
    let output = reveille
        .command(&["resume", "--format", "json"])
        .current_dir("/")
        .output()
        .unwrap();
    let summary = Ended::of(&output).expect(0).json();
    assert_eq!(summary["account"]["success"], 1, "{summary}");
    assert_eq!(std::fs::read_to_string(home.join("arrived")).unwrap(), "new");
}
