//! Installs packages on real Debian machines. Needs root, as `cargo xtask machines` does.

use std::path::PathBuf;
use std::process::Stdio;

use reveille_testbed::machines::{Machine, Machines};

use crate::support::{Ended, Reveille};

const MACHINES: usize = 4;

/// Seconds that a step on a machine may take before the test gives up.
const PATIENCE: u32 = 300;

#[test]
fn a_package_is_installed_on_four_machines_at_once_and_another_has_no_candidate() {
    let reveille = Reveille::new();
    let machines = up(&reveille);
    let inventory = machines.inventory();
    let inventory = inventory.to_str().unwrap();

    let job = reveille.file("install.yaml", install("tomcat10"));
    let summary = reveille
        .run(&["run", &job, "-i", inventory, "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(summary["account"]["success"], MACHINES, "{summary}");
    assert_eq!(summary["account"]["balanced"], true, "{summary}");
    for machine in machines.machines() {
        assert_eq!(
            said(&machines, machine, "dpkg-query -W -f '${Status}' tomcat10"),
            "install ok installed"
        );
        assert_one_dpkg_run(&machines, machine);
    }

    let job = reveille.file("no-candidate.yaml", install("tomcat9"));
    let ended = reveille.run(&["run", &job, "-i", inventory]).expect(3);
    let screen = ended.stdout + &ended.stderr;
    assert!(
        screen.contains("Package 'tomcat9' has no installation candidate"),
        "{screen}"
    );
    assert!(screen.contains("fatal_pattern"), "{screen}");
    assert!(
        screen.contains("m[1-4]") || screen.contains("m1, m2, m3, m4"),
        "{screen}"
    );
    let summary = reveille.run(&["show", "--format", "json"]).expect(0).json();
    assert_eq!(summary["account"]["failed"], MACHINES, "{summary}");
    assert_eq!(summary["account"]["balanced"], true, "{summary}");
    for host in summary["hosts"].as_array().unwrap() {
        assert_eq!(host["class"], "fatal_pattern", "{host}");
        assert_eq!(
            host["attempts"], 1,
            "what can't succeed is not tried again: {host}"
        );
    }
}

#[test]
fn a_controller_killed_during_an_install_goes_on_with_the_same_install() {
    let reveille = Reveille::new();
    let machines = up(&reveille);
    let inventory = machines.inventory();
    let job = reveille.file("install.yaml", install("tomcat10"));
    let arguments = ["run", &job, "-i", inventory.to_str().unwrap()];
    let mut controller = reveille
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    // dpkg runs on the first machine, and probably on the others too.
    let begun = "until grep -q ' install ' /var/log/dpkg.log; do sleep 0.1; done";
    let first = &machines.machines()[0];
    said(&machines, first, &format!("timeout {PATIENCE} sh -c \"{begun}\""));
    assert!(
        controller.try_wait().unwrap().is_none(),
        "the controller was still at work"
    );
    controller.kill().unwrap();
    controller.wait().unwrap();

    let summary = reveille.run(&["resume", "--format", "json"]).expect(0).json();
    assert_eq!(summary["account"]["success"], MACHINES, "{summary}");
    assert_eq!(summary["account"]["balanced"], true, "{summary}");
    for machine in machines.machines() {
        assert_eq!(
            said(&machines, machine, "dpkg-query -W -f '${Status}' tomcat10"),
            "install ok installed"
        );
        assert_one_dpkg_run(&machines, machine);
        let log = reveille.run(&["logs", machine.name()]).expect(0).stdout;
        for once in ["Unpacking tomcat10 (", "Setting up tomcat10 ("] {
            assert_eq!(log.matches(once).count(), 1, "{}: {once}: {log}", machine.name());
        }
    }
    reveille.run(&["audit"]).expect(0);
}

/// Without a terminal, a package that asks questions takes its defaults. On a terminal it waits and is killed.
#[test]
fn a_package_asks_its_questions() {
    let reveille = Reveille::new();
    let machines = up(&reveille);
    let inventory = machines.inventory();
    let inventory = inventory.to_str().unwrap();
    let job = |step: &str| format!("steps:\n  - {{run: apt-get update -q, idempotent: true}}\n  - {step}\n");
    let quiet = reveille.file("quiet.yaml", job("run: apt-get install -y iperf3"));
    let one = [
        "-i",
        inventory,
        "-l",
        "m1",
        "--format",
        "json",
        "--silence-floor",
        "5s",
    ];
    let summary = reveille
        .run(&[&["run", &quiet][..], &one].concat())
        .expect(0)
        .json();
    assert_eq!(summary["hosts"][0]["class"], "ok", "{summary}");
    let status = "dpkg-query -W -f '${Status}' iperf3";
    let [first, second, ..] = machines.machines() else {
        panic!("two machines")
    };
    assert_eq!(said(&machines, first, status), "install ok installed");

    let asking = "{run: apt-get install -y iperf3, pty: true, attempts: 2}";
    let asking = reveille.file("asking.yaml", job(asking));
    let other = [
        "-i",
        inventory,
        "-l",
        "m2",
        "--format",
        "json",
        "--silence-floor",
        "5s",
    ];
    let summary = reveille
        .run(&[&["run", &asking][..], &other].concat())
        .expect(3)
        .json();
    let host = &summary["hosts"][0];
    assert_eq!(
        (&host["class"], &host["attempts"]),
        (&"asks_a_question".into(), &1.into()),
        "{host}"
    );
    let message = host["message"].as_str().unwrap();
    assert!(
        message.contains("Start Iperf3 as a daemon automatically?"),
        "{message}"
    );
    // No process holds the lock, and the installation can be finished without questions.
    let mend = "DEBIAN_FRONTEND=noninteractive dpkg --configure -a >/dev/null 2>&1; ";
    assert_eq!(
        said(&machines, second, &format!("{mend}{status}")),
        "install ok installed"
    );
}

/// A process that waits for the package lock is not killed, and the holder of the lock is reported.
#[test]
fn a_held_package_lock_is_waited_for() {
    let reveille = Reveille::new();
    let machines = up(&reveille);
    let inventory = machines.inventory();
    // A process of another name holds the lock until a file exists.
    let hold = "perl -MFcntl=:DEFAULT -e '$0 = q(cloud-init); open F, q(>>), q(/var/lib/dpkg/lock-frontend); \
                $lock = pack q(s s l! l! i), F_WRLCK, 0, 0, 0, 0; fcntl F, F_SETLK, $lock or die $!; \
                close STDIN; close STDOUT; close STDERR; sleep 1 until -e q(/root/free); exit' >/dev/null 2>&1 & \
                until grep -q \":$(stat -c %i /var/lib/dpkg/lock-frontend) \" /proc/locks; do sleep 0.1; done";
    let first = &machines.machines()[0];
    said(&machines, first, hold);
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: apt-get -q -o DPkg::Lock::Timeout=-1 -y --reinstall install hostname >/root/said\n    \
         on_stuck: kill\n",
    );
    let events = reveille.file("events", "");
    let mut controller = reveille
        .command(&["run", &job, "-i", inventory.to_str().unwrap(), "-l", "m1"])
        .args(["--silence-floor", "2s", "--events", &events, "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waits = "waits for a package lock held by cloud-init";
    while !std::fs::read_to_string(&events).unwrap().contains(waits) {
        assert!(
            controller.try_wait().unwrap().is_none(),
            "it ended while the lock was held"
        );
        std::thread::yield_now();
    }
    said(&machines, first, "touch /root/free");
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(0)
        .json();
    assert_eq!(summary["hosts"][0]["class"], "ok", "{summary}");
}

fn up(reveille: &Reveille) -> Machines {
    // All tests share the base image.
    let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("machines");
    let machines = Machines::up(&shared, &reveille.path().join("machines"), MACHINES, &|line| {
        eprintln!("{line}");
    });
    machines.unwrap_or_else(|error| panic!("can't bring up machines: {error}"))
}

fn install(package: &str) -> String {
    format!(
        "name: install-{package}
hosts: all
steps:
  - name: refresh package lists
    run: apt-get update -q
    idempotent: true
  - name: install
    run: DEBIAN_FRONTEND=noninteractive apt-get install -y {package}
    durable: true
    fatal: [has no installation candidate]
"
    )
}

/// The output of a command on a machine, run by OpenSSH's client.
#[track_caller]
fn said(machines: &Machines, machine: &Machine, command: &str) -> String {
    let output = machines.ssh(machine, command).output().unwrap();
    assert!(
        output.status.success(),
        "{}: {command}: {output:?}",
        machine.name()
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn assert_one_dpkg_run(machines: &Machines, machine: &Machine) {
    let log = said(machines, machine, "cat /var/log/dpkg.log");
    for (what, times) in [
        (" startup archives unpack", 1),
        (" startup packages configure", 1),
        (" install tomcat10:", 1),
    ] {
        assert_eq!(
            log.matches(what).count(),
            times,
            "{}: {what}:\n{log}",
            machine.name()
        );
    }
}
