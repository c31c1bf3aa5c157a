//! Packages on real Debian machines: what Reveille was made for. Needs root, as `cargo xtask machines` does.

use std::path::PathBuf;
use std::process::Stdio;

use reveille_testbed::machines::{Machine, Machines};

use crate::support::Reveille;

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

    // dpkg is at work on the first machine; the others are about as far.
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

fn up(reveille: &Reveille) -> Machines {
    // The base is made once for all tests, where the tests' own files are kept.
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

/// What a command prints on a machine, by OpenSSH's own client.
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
