//! Drills with `--real-shell`, which run the commands of a job on this machine.

use std::process::Stdio;

use reveille_drill::{FaultKind, Shows};

use crate::support::Reveille;

/// A job whose commands write to files in their host's home directory.
const TRACES: &str = "name: traces\nwatchdog: {idle: 20s}\nsteps:\n\
    - run: echo $$ >pid; echo one; echo ran >>ran; sleep 0.3; echo two\n\
    - run: test \"$(cat ran)\" = ran && pwd\n";

fn real_shell(reveille: &Reveille, job: &str, arguments: &[&str]) -> crate::support::Ended {
    let mut all = vec!["drill", job, "--real-shell", "--allow-root"];
    all.extend(arguments);
    reveille.run(&all)
}

#[test]
fn real_shell_runs_commands_for_real() {
    let reveille = Reveille::new();
    let job = reveille.file("traces.yaml", TRACES);
    let faults = [
        "drop_once=2",
        "flap_3=2",
        "latency_100=1",
        "exceeded_startups_2=1",
        "bandwidth_32=1",
        "refuse=1",
    ];
    let mut arguments = vec!["--hosts", "12", "--format", "json"];
    for fault in &faults {
        arguments.extend(["--fault", fault]);
    }
    let ended = real_shell(&reveille, &job, &arguments).expect(0);
    let json = ended.json();
    assert_eq!(json["drill"]["as_expected"], true, "{}", json["drill"]);
    assert_eq!(json["account"]["success"], 11);
    for row in json["drill"]["faults"].as_array().unwrap() {
        let fault = row["fault"].as_str().unwrap_or_default();
        assert!(
            fault.is_empty() || fault == "refuse" || row["met"] == row["hosts"],
            "{row}"
        );
    }
    assert!(
        ended
            .stderr
            .contains("commands run for real on this machine, as the user "),
        "{}",
        ended.stderr
    );
    let logs = reveille.run(&["logs", "drill-0012"]).expect(0).stdout;
    assert!(logs.contains("/hosts/drill-0012"), "{logs}");
    assert_no_fleet(&reveille);
}

/// Asserts that no fleet left a directory.
fn assert_no_fleet(reveille: &Reveille) {
    let left: Vec<_> = std::fs::read_dir(reveille.state())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("fleet-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_fault_of_the_connection_can_be_combined_with_real_shell() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "true.yaml",
        "name: true\nwatchdog: {idle: 20s}\nsteps:\n- run: echo one; sleep 0.2; echo two\n",
    );
    let without =
        FaultKind::all().filter(|kind| kind.shows() == Shows::Connection && kind.name() != "penalties");
    let faults: Vec<String> = without.map(|kind| format!("--fault={kind}=1")).collect();
    let mut arguments = vec!["--hosts", "36", "--format", "json"];
    arguments.extend(faults.iter().map(String::as_str));
    let json = real_shell(&reveille, &job, &arguments).expect(0).json();
    assert_eq!(json["drill"]["as_expected"], true, "{}", json["drill"]);
    assert_eq!(json["account"]["ghost"], 0);
}

#[test]
fn real_shell_refuses_jobs_that_would_change_the_machine() {
    let reveille = Reveille::new();
    let job = reveille.file("traces.yaml", TRACES);
    let reboots = reveille.file("reboot.yaml", "name: r\nsteps:\n- reboot: {}\n");
    let becomes = reveille.file("become.yaml", "name: b\nbecome: true\nsteps:\n- run: id\n");
    for (arguments, wanted) in [
        (vec!["--real-shell", "--allow-root"], "name a job file"),
        (vec![&*job, "--allow-root"], "--real-shell"),
        (
            vec![&*job, "--real-shell", "--allow-root", "--fault", "killed=1"],
            "only faults of the connection can be injected, and killed is none",
        ),
        (vec![&*reboots, "--real-shell", "--allow-root"], "would reboot it"),
        (
            vec![&*becomes, "--real-shell", "--allow-root"],
            "would become another user",
        ),
    ] {
        let mut all = vec!["drill"];
        all.extend(arguments);
        let ended = reveille.run(&all).expect(2);
        assert!(ended.stderr.contains(wanted), "{all:?}: {}", ended.stderr);
    }
    // Neither a configuration file nor an environment variable makes commands run for real.
    let ended = reveille
        .command(&["drill", &job, "--hosts", "2", "--fault", "none"])
        .envs([("REVEILLE_REAL_SHELL", "1"), ("REVEILLE_ALLOW_ROOT", "1")])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("run for real"));
    if rustix::process::geteuid().is_root() {
        let ended = reveille.run(&["drill", &job, "--real-shell"]).expect(2);
        assert!(ended.stderr.contains("as root"), "{}", ended.stderr);
    }
}

#[test]
fn the_next_drill_removes_what_a_killed_one_left() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "long.yaml",
        "name: long\nsteps:\n- run: echo $$ >pid.new; mv pid.new pid; exec sleep 1000\n",
    );
    let mut child = reveille
        .command(&[
            "drill",
            &job,
            "--real-shell",
            "--allow-root",
            "--hosts",
            "2",
            "--fault",
            "none",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let directory = reveille.state().join(format!("fleet-{}", child.id()));
    let pid = |host: &str| std::fs::read_to_string(directory.join("hosts").join(host).join("pid"));
    let (one, two) = loop {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        if let (Ok(one), Ok(two)) = (pid("drill-0001"), pid("drill-0002")) {
            break (one, two);
        }
        std::thread::yield_now();
    };
    let lives = |pid: &str| {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    };
    assert!(lives(&one) && lives(&two));
    child.kill().unwrap();
    child.wait().unwrap();
    // The fleet notices that its controller is gone, and ends its commands.
    while lives(&one) || lives(&two) {
        std::thread::yield_now();
    }
    assert!(directory.exists());
    reveille
        .run(&["drill", "--hosts", "2", "--fault", "none"])
        .expect(0);
    assert_no_fleet(&reveille);
}
