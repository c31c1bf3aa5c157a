//! No host is lost: not by panics in its task, nor by a controller that is stopped for a while.

use std::process::{Command, Stdio};

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille};

#[test]
fn a_panic_in_a_hosts_task_becomes_an_outcome() {
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for event in [
        "dispatched",
        "connecting",
        "connected",
        "step_started",
        "step_finished",
        "outcome_reached",
    ] {
        let output = reveille
            .command(&[
                "exec", "-i", &inventory, "--format", "json", "--", "echo", "there",
            ])
            .env("REVEILLE_PANIC_AT", format!("host-002:{event}"))
            .output()
            .unwrap();
        let summary = Ended::of(&output).expect(3).json();
        assert_eq!(summary["account"]["success"], 2, "{event}: {summary}");
        assert_eq!(summary["account"]["balanced"], true, "{event}");
        assert_eq!(summary["state"], "closed", "{event}");
        let hosts = summary["hosts"].as_array().unwrap();
        let struck = hosts.iter().find(|host| host["host"] == "host-002").unwrap();
        assert_eq!(struck["class"], "internal", "{event}");
        reveille.run(&["audit"]).expect(0);
    }
}

/// While the controller is stopped, commands on hosts go on. They are not killed for silence afterwards.
#[test]
fn a_controller_that_was_stopped_kills_no_command() {
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: |\n      touch $HOME/began\n      for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1; echo $i; done\n    \
         watchdog: {idle: 3s}\n  - run: for i in 1 2 3; do sleep 1; echo $i; done\n    durable: false\n    watchdog: {idle: 3s}\n",
    );
    let controller = reveille
        .command(&["run", &job, "-i", &inventory, "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = testbed.home().join("began");
    while !began.exists() {
        std::thread::yield_now();
    }
    let pid = controller.id().to_string();
    // Longer than the deadline, measured by the shell.
    let script = format!("kill -STOP {pid}; sleep 6; kill -CONT {pid}");
    assert!(
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(0)
        .json();
    assert_eq!(summary["account"]["success"], 3, "{summary}");
    let events = reveille.run(&["export", "--to", "out"]);
    assert_eq!(events.code, 0, "{}", events.stderr);
    let events = std::fs::read_to_string(reveille.path().join("out/events.ndjson")).unwrap();
    assert!(events.contains("controller_stalled"), "{events}");
    assert!(!events.contains("deadline_passed"), "{events}");
}
