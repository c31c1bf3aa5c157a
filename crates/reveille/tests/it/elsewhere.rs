//! Steps on other hosts (`run_on`) and on hosts that failed (`on_failed`).

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use reveille_testbed::Testbed;

use crate::support::Reveille;

/// Three names of one machine, and one of a host that does not exist.
fn inventory(testbed: &Testbed) -> String {
    let mut text = String::from("[web]\n");
    for name in ["web1", "web2", "web3"] {
        let _ = writeln!(text, "{name} ansible_host={}", testbed.address(0));
    }
    let _ = writeln!(text, "dark ansible_host=127.66.66.66");
    let _ = writeln!(text, "[lb]\nbalancer ansible_host={}", testbed.address(1));
    let key = testbed.key();
    let _ = write!(
        text,
        "[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\nbalancer=balancer\n",
        testbed.port(),
        key.display()
    );
    text
}

const JOB: &str = "
hosts: web:!dark
steps:
  - name: drain
    run: echo \"drained {{ inventory_hostname }} by ${SSH_CONNECTION##* * }\" >> $HOME/log
    run_on: '{{ balancer }}'
  - name: note
    run: echo {{ inventory_hostname }} >> LOCAL
    run_on: localhost
  - name: work
    run: test {{ inventory_hostname }} != web2
    register: work
on_failed:
  - name: rescue
    run: echo \"rescued {{ inventory_hostname }} {{ work.exit_status }}\" >> $HOME/log
";

#[test]
fn run_on_steps_run_on_the_named_host() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", inventory(&testbed));
    let local = reveille.path().join("noted");
    let job = JOB.replace("LOCAL", local.to_str().unwrap());
    let job = reveille.file("job.yaml", job);
    let plan = reveille
        .run(&["run", &job, "-i", &inventory, "--plan"])
        .expect(0)
        .stdout;
    assert!(plan.contains("on: balancer"), "{plan}");
    assert!(plan.contains("rescue (if the host fails)"), "{plan}");
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--format", "json"])
        .expect(3);
    let summary = ended.json();
    assert_eq!(summary["account"]["success"], 2);
    assert_eq!(summary["account"]["failed"], 1);
    let failed = summary["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|host| host["host"] == "web2")
        .unwrap();
    assert_eq!(failed["class"], "command_failed", "{failed}");
    assert_eq!(failed["exit_status"], 1);
    let log = std::fs::read_to_string(testbed.home().join("log")).unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 4, "{log}");
    for (line, host) in lines.iter().zip(["web1", "web2", "web3"]) {
        assert!(line.starts_with(&format!("drained {host} by")), "{log}");
    }
    assert_eq!(lines[3], "rescued web2 1");
    let noted = std::fs::read_to_string(&local).unwrap();
    assert_eq!(noted.lines().count(), 3, "{noted}");
    // `clean` also removes files from machines on which only `run_on` steps ran.
    let ended = reveille.run(&["clean"]).expect(0);
    assert!(ended.stdout.starts_with("5 of 5 hosts clean"), "{}", ended.stdout);
}

#[test]
fn on_failed_steps_for_an_unreachable_host_run_on_another() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", inventory(&testbed));
    let local = reveille.path().join("noted");
    let job = format!(
        "hosts: dark\nsteps:\n  - run: 'true'\non_failed:\n  - run: echo never\n  - run: echo {{{{ inventory_hostname }}}} > {}\n    \
         run_on: localhost\n",
        local.display()
    );
    let job = reveille.file("job.yaml", job);
    let ended = reveille
        .run(&[
            "run",
            &job,
            "-i",
            &inventory,
            "--format",
            "json",
            "--connect-timeout",
            "1s",
        ])
        .expect(3);
    assert_eq!(ended.json()["hosts"][0]["class"], "connect_refused");
    assert_eq!(std::fs::read_to_string(&local).unwrap(), "dark\n");
    let logs = reveille.run(&["logs", "dark"]).expect(0).stdout;
    assert!(
        logs.contains("echo never: skipped: the host could not be reached"),
        "{logs}"
    );
}

#[test]
fn a_failed_step_of_on_failed_says_why_beside_the_failure_itself() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "job.yaml",
        "steps:\n- {name: bad, run: 'echo broken >&2; exit 3'}\n\
         on_failed:\n- {name: note, run: 'echo stays drained >&2; exit 1'}\n",
    );
    let ended = reveille
        .run(&["run", &job, "-w", "a,", "--transport", "local"])
        .expect(3);
    let told = "broken; then `note` of on_failed: exit status 1: stays drained\n";
    for line in [
        format!("FAIL  a  bad: exit status 3: {told}"),
        format!("\n  {told}"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let said: Vec<&str> = ended.stderr.split_whitespace().collect();
        assert!(
            said.windows(words.len()).any(|window| window == words),
            "{line}{}",
            ended.stderr
        );
    }
}

#[test]
fn unknown_hosts_in_run_on_are_refused_before_the_run() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", inventory(&testbed));
    for (job, word) in [
        (
            "steps:\n  - {run: a, run_on: nobody}\n",
            "neither in the inventory nor localhost",
        ),
        (
            "steps:\n  - {run: a, register: x}\n  - {run: a, run_on: '{{ x.stdout }}'}\n",
            "before anything is dispatched",
        ),
        (
            "steps:\n  - {reboot: {}, run_on: balancer}\n",
            "reboots the host itself",
        ),
        (
            "steps:\n  - run: a\non_failed:\n  - {run: b, once: true}\n",
            "can't be `once`",
        ),
        ("steps:\n  - run: a\nheal: {repair: [{run: b}]}\n", "needs `on`"),
        (
            "steps:\n  - run: a\nheal: {repair: [{run: b, on: [fatal_patern]}]}\n",
            "did you mean `fatal_pattern`?",
        ),
        (
            "steps:\n  - run: a\nheal: {repair: [{run: b, on: [ok]}]}\n",
            "`ok` is not a failure",
        ),
    ] {
        let job = reveille.file("job.yaml", format!("hosts: web1\n{job}"));
        let ended = reveille.run(&["run", &job, "-i", &inventory]).expect(2);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}

/// If the controller is killed between a failure and its `on_failed` steps, the failed step does not run again.
#[test]
fn a_resumed_run_continues_with_on_failed_steps() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", inventory(&testbed));
    let job = reveille.file(
        "job.yaml",
        "hosts: web1\nsteps:\n  - run: echo x >> $HOME/ran; exit 7\non_failed:\n  - run: until [ -e $HOME/go ]; do sleep 0.1; done; \
         echo x >> $HOME/rescued\n",
    );
    let mut child = reveille
        .command(&["run", &job, "-i", &inventory, "--events", "-", "-q"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let rescuing = lines
        .map(Result::unwrap)
        .filter(|line| line.contains("step_started"))
        .nth(1);
    assert!(rescuing.is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(testbed.home().join("go"), "").unwrap();
    let ended = reveille.run(&["resume", "--format", "json"]).expect(3);
    let host = &ended.json()["hosts"][0];
    assert_eq!(host["class"], "command_failed", "{host}");
    for name in ["ran", "rescued"] {
        let text = std::fs::read_to_string(testbed.home().join(name)).unwrap();
        assert_eq!(text, "x\n", "{name}");
    }
}

/// A plain step that lost its connection and was repeated does not prevent the `on_failed` steps of a later failure.
#[test]
fn a_repeated_step_does_not_prevent_on_failed_steps() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", inventory(&testbed));
    let job = reveille.file(
        "job.yaml",
        "hosts: web1\nsteps:\n  - {run: 'until [ -e $HOME/go ]; do sleep 0.1; done', durable: false, idempotent: true}\n  \
         - run: exit 7\non_failed:\n  - run: echo x >> $HOME/rescued\n",
    );
    let mut child = reveille
        .command(&["run", &job, "-i", &inventory, "--events", "-", "-q"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("step_started")));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(testbed.home().join("go"), "").unwrap();
    let ended = reveille.run(&["resume", "--format", "json"]).expect(3);
    let host = &ended.json()["hosts"][0];
    assert_eq!(host["class"], "command_failed", "{host}");
    let rescued = std::fs::read_to_string(testbed.home().join("rescued")).unwrap();
    assert_eq!(rescued, "x\n");
}
