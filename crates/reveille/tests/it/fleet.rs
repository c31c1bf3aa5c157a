//! Runs on several hosts: limits on failures, batches, `once` steps, rounds, artifacts.

use reveille_testbed::Testbed;

use crate::support::Reveille;

#[test]
fn unreachable_hosts_count_and_stop_the_run() {
    let testbed = Testbed::start(4, "").unwrap();
    let reveille = Reveille::new();
    // The first two hosts refuse connections; with `--max-fail 1` the second failure stops the run.
    let inventory = format!(
        "dead1 ansible_host=127.0.0.1 ansible_port=1\ndead2 ansible_host=127.0.0.1 ansible_port=1\n{}",
        testbed
            .inventory()
            .replace("[all:vars]\nansible_port", "[live:vars]\nansible_port")
            .replace("host-001", "[live]\nhost-001")
    );
    let inventory = reveille.file("inventory.ini", inventory);
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "-c",
        "1",
        "--max-fail",
        "1",
        "--format",
        "json",
        "--",
        "true",
    ];
    let summary = reveille.run(&arguments).expect(3).json();
    assert_eq!(summary["account"]["failed"], 2, "{summary}");
    assert_eq!(summary["account"]["cancelled"], 4);
    assert_eq!(summary["account"]["balanced"], true);
    assert_eq!(summary["hosts"][5]["class"], "max_fail_reached");
    let retried = reveille
        .run(&["retry", "--only", "cancelled", "--format", "json"])
        .expect(3)
        .json();
    assert_eq!(retried["account"]["success"], 4, "{retried}");
    assert_eq!(retried["hosts"][5]["round"], 2);
    assert_eq!(retried["hosts"][0]["round"], 1);
    let again = reveille
        .run(&[
            "exec",
            "-i",
            &inventory,
            "-l",
            "@last:failed",
            "-c",
            "9",
            "--",
            "true",
        ])
        .expect(3);
    assert!(
        again.stderr.contains("2 planned = 2 failed; all accounted for"),
        "{}",
        again.stderr
    );
}

#[test]
fn batches_are_run_one_after_the_other() {
    let testbed = Testbed::start(6, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let events = reveille.path().join("events.ndjson");
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "--serial",
        "1,50%",
        "--events",
        events.to_str().unwrap(),
        "--",
        "true",
    ];
    reveille.run(&arguments).expect(0);
    let text = std::fs::read_to_string(events).unwrap();
    let mut running: i32 = 0;
    let mut order = Vec::new();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["schema"], 1);
        match event["event"].as_str().unwrap() {
            "dispatched" => {
                running += 1;
                order.push(running);
            }
            "outcome_reached" => running -= 1,
            _ => {}
        }
    }
    // Batches of one, three and two hosts: each begins when the one before has ended.
    assert_eq!(order[..2], [1, 1], "{order:?}");
    assert_eq!(order.iter().max(), Some(&3), "{order:?}");
    assert_eq!(order.iter().filter(|count| **count == 1).count(), 3, "{order:?}");
}

#[test]
fn a_step_that_runs_once_gives_its_result_to_all() {
    let testbed = Testbed::start(5, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: draw\n    once: true\n    run: echo drawn >>\"$HOME/draws\"; wc -l <\"$HOME/draws\"\n    register: draw\n  \
         - name: tell\n    run: echo got {{ draw.stdout }}\n",
    );
    reveille.run(&["run", &job, "-i", &inventory]).expect(0);
    assert_eq!(
        std::fs::read_to_string(testbed.home().join("draws")).unwrap(),
        "drawn\n"
    );
    for number in 1..=5 {
        let said = reveille
            .run(&["logs", "last", &format!("host-00{number}"), "--raw"])
            .expect(0)
            .stdout;
        assert!(said.ends_with("got 1\n"), "host-00{number}: {said:?}");
    }
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: draw\n    once: true\n    run: exit 9\n  - run: echo never\n",
    );
    let summary = reveille
        .run(&["run", &job, "-i", &inventory, "-c", "2", "--format", "json"])
        .expect(3)
        .json();
    assert_eq!(summary["hosts"][0]["class"], "command_failed", "{summary}");
    for host in 1..5 {
        assert_eq!(summary["hosts"][host]["class"], "stopped", "{summary}");
    }
}

#[test]
fn a_deadline_kills_what_is_silent_and_spares_what_speaks() {
    deadline_kills("");
}

#[test]
fn a_deadline_kills_on_a_host_that_opens_one_session_on_a_connection() {
    deadline_kills("MaxSessions 1");
}

fn deadline_kills(configuration: &str) {
    let testbed = Testbed::start(1, configuration).unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = |idle: &str, command: &str| {
        reveille.file(
            "job.yaml",
            format!("watchdog: {{idle: {idle}}}\nsteps:\n  - run: |\n      {command}\n      true\n"),
        )
    };
    let silent = job("1s", "echo $$ >\"$HOME/pid\"; sleep 300");
    let summary = reveille
        .run(&["run", &silent, "-i", &inventory, "--format", "json"])
        .expect(3)
        .json();
    assert_eq!(summary["hosts"][0]["class"], "watchdog_idle", "{summary}");
    let pid = std::fs::read_to_string(testbed.home().join("pid")).unwrap();
    assert!(
        !std::path::Path::new("/proc").join(pid.trim()).exists(),
        "the command still runs"
    );
    let speaking = job("20s", "for i in 1 2 3; do echo $i; sleep 0.3; done");
    reveille.run(&["run", &speaking, "-i", &inventory]).expect(0);
}

#[test]
fn artifacts_of_a_run() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let text = format!(
        "dead ansible_host=127.0.0.1 ansible_port=1\n{}",
        testbed
            .inventory()
            .replace("[all:vars]\nansible_port", "[live:vars]\nansible_port")
            .replace("host-001", "[live]\nhost-001")
    );
    let inventory = reveille.file("inventory.ini", text);
    let artifacts = reveille.path().join("artifacts");
    let junit = reveille.path().join("report.xml");
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "--export-to",
        artifacts.to_str().unwrap(),
        "--junit",
        junit.to_str().unwrap(),
        "--",
        "echo '<&>'",
    ];
    let ended = reveille.run(&arguments).expect(3);
    assert!(
        ended.stdout.contains("host-[001-002] (2 hosts)\n  <&>"),
        "{}",
        ended.stdout
    );
    let summary: serde_json::Value =
        serde_json::from_slice(&std::fs::read(artifacts.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["exit_code"], 3);
    assert_eq!(summary["account"]["success"], 2);
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("tests=\"3\"") && xml.contains("failures=\"1\""),
        "{xml}"
    );
    let list = |name: &str| std::fs::read_to_string(artifacts.join(name)).unwrap();
    assert_eq!(list("failed_ips_artifact.log"), "127.0.0.1\n");
    assert_eq!(list("missing_ips_artifact.log"), "");
    assert_eq!(list("successful_ips_artifact.log").lines().count(), 2);
    assert_eq!(list("hosts.csv").lines().count(), 4);
    // An export replaces an earlier export, but no other directory.
    let again = artifacts.to_str().unwrap();
    reveille.run(&["export", "--to", again]).expect(0);
    let other = reveille.path().to_str().unwrap().to_owned();
    reveille.run(&["export", "--to", &other]).expect(2);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    reveille
        .run(&["exec", "-i", &inventory, "--", "seq 100000"])
        .expect(0);
    let mut child = reveille
        .command(&["logs", "host-001"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
