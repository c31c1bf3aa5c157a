//! Drills: every injected fault is reported with the right class, and no command runs twice.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};

use reveille_drill::FaultKind;
use serde_json::Value;

use crate::support::Reveille;

/// Runs a drill and returns the rows of its comparison by injected fault.
fn drill(arguments: &[&str]) -> (Value, BTreeMap<String, Value>) {
    let reveille = Reveille::new();
    let mut all = vec!["drill", "--format", "json"];
    all.extend(arguments);
    let ended = reveille.run(&all).expect(0);
    let json = ended.json();
    assert_eq!(json["account"]["balanced"], true);
    assert_eq!(json["exit_code"], 0);
    assert_eq!(json["drill"]["as_expected"], true, "{}", json["drill"]);
    let rows = json["drill"]["faults"].as_array().unwrap().iter();
    let rows = rows
        .map(|row| (row["fault"].as_str().unwrap_or("healthy").to_owned(), row.clone()))
        .collect();
    (json, rows)
}

/// The class of each host that did not succeed.
fn failures(json: &Value) -> BTreeMap<String, String> {
    let hosts = json["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|host| host["status"] != "success");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    hosts
        .map(|host| (word(&host["host"]), word(&host["class"])))
        .collect()
}

#[test]
fn the_default_drill_reports_every_fault_and_succeeds() {
    let reveille = Reveille::new();
    let ended = reveille
        .command(&["drill"])
        .env_remove("REVEILLE_STATE_DIR")
        .output()
        .unwrap();
    let ended = crate::support::Ended::of(&ended).expect(0);
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    assert!(
        !ended.stderr.contains('\u{1b}'),
        "colour without a terminal: {}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("64 planned = 44 succeeded + 20 failed; all accounted for"),
        "{}",
        ended.stderr
    );
    let wanted = "14 kinds of fault on 28 hosts, each reported correctly; 20 hosts failed because of them, as expected";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    assert_eq!(
        ended.stderr.matches("  as expected\n").count(),
        15,
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains("reveille retry"),
        "its hosts are gone: {}",
        ended.stderr
    );

    // The printed command works when it is pasted, and `runs` does not list the drill.
    let logs = ended
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("logs        reveille "))
        .unwrap();
    let logs = logs.replace("HOST", "drill-0001");
    let arguments: Vec<&str> = logs.split(' ').collect();
    assert!(
        reveille
            .run(&arguments)
            .expect(0)
            .stdout
            .contains("refresh package lists")
    );
    let real = reveille
        .command(&["runs"])
        .env_remove("REVEILLE_STATE_DIR")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&real.stdout), "");
}

/// Kinds that have tests of their own.
const WITH_OWN_TESTS: [&str; 2] = ["penalties", "replaced"];
/// Hosts for each kind of fault.
const EACH: usize = 5;
/// Further hosts without a fault.
const HEALTHY: usize = 500;

#[test]
fn every_kind_of_fault_is_found_among_five_hundred_healthy_hosts() {
    let kinds: Vec<FaultKind> = FaultKind::all()
        .filter(|kind| !WITH_OWN_TESTS.contains(&kind.name()))
        .collect();
    let hosts = (HEALTHY + EACH * kinds.len()).to_string();
    let faults: Vec<String> = kinds
        .iter()
        .map(|kind| format!("--fault={kind}={EACH}"))
        .collect();
    let mut arguments = vec!["--hosts", &hosts];
    arguments.extend(faults.iter().map(String::as_str));
    let (json, rows) = drill(&arguments);
    assert_eq!(json["account"]["ghost"], 0);
    assert_eq!(rows.len(), kinds.len() + 1);
    assert_eq!(rows["healthy"]["succeeded"], HEALTHY);
    for kind in kinds {
        let row = &rows[&kind.to_string()];
        assert_eq!(row["hosts"], EACH, "{row}");
        assert_eq!(row["not_reached"], 0, "{row}");
        let recovered = if kind.expected().recoverable { EACH } else { 0 };
        assert_eq!(row["succeeded"], recovered, "{row}");
        assert!(
            row["met"] == EACH || kind == FaultKind::Refuse,
            "{kind} was not met everywhere: {row}"
        );
    }
}

#[test]
fn a_host_with_penalties_is_reached_after_them() {
    let (_, rows) = drill(&["--hosts", "8", "--fault", "penalties=5"]);
    assert_eq!(
        rows["penalties_20"]["reported"],
        serde_json::json!({ "ok_after_recovery": 5 })
    );
}

#[test]
fn a_replaced_machine_is_noticed_by_its_key() {
    let (_, rows) = drill(&["--hosts", "8", "--fault", "replaced=5"]);
    assert_eq!(
        rows["replaced_2"]["reported"],
        serde_json::json!({ "host_key_mismatch": 5 })
    );
}

#[test]
fn a_host_that_reboots_by_itself_is_waited_for() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "again.yaml",
        "name: again\nsteps:\n- run: echo one; sleep 0.5; echo two\n  idempotent: true\n",
    );
    let (_, rows) = drill(&[&job, "--hosts", "8", "--fault", "reboot_20=2"]);
    assert_eq!(
        rows["reboot_20"]["reported"],
        serde_json::json!({ "ok_after_recovery": 2 })
    );
}

#[test]
fn a_rebooted_host_runs_an_idempotent_step_again() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "again.yaml",
        "name: again\nsteps:\n- run: echo one; sleep 0.5; echo two\n  idempotent: true\n",
    );
    let (_, rows) = drill(&[&job, "--hosts", "8", "--fault", "reboot_1=2"]);
    assert_eq!(
        rows["reboot_1"]["reported"],
        serde_json::json!({ "ok_after_recovery": 2 })
    );
}

#[test]
fn a_kind_with_two_parameters_has_two_rows() {
    let (_, rows) = drill(&["--hosts", "8", "--fault", "exit_7=2", "--fault", "exit_0=3"]);
    assert_eq!(
        rows["exit_7"]["reported"],
        serde_json::json!({ "command_failed": 2 })
    );
    assert_eq!(rows["exit_0"]["reported"], serde_json::json!({ "ok": 3 }));
}

#[test]
fn all_injects_every_kind_and_the_list_explains_them() {
    let reveille = Reveille::new();
    let list = reveille.run(&["drill", "--list-faults"]).expect(0).stdout;
    for kind in FaultKind::all() {
        let line = list
            .lines()
            .find(|line| line.split(' ').next() == Some(&kind.to_string()));
        let line = line.unwrap_or_else(|| panic!("{kind} is not in {list}"));
        assert!(line.contains(kind.meaning()), "{line}");
    }
    // The number of kinds and the number of hosts.
    let ended = reveille
        .run(&["drill", "--hosts", "10", "--fault", "all=1"])
        .expect(2);
    assert!(
        ended
            .stderr
            .contains("not enough hosts without another fault for auth_stall: 0 of 1"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_job_that_reboots_its_hosts_is_rehearsed() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "reboot.yaml",
        "name: reboot\nsteps:\n- run: cat /proc/sys/kernel/random/boot_id\n- reboot: {within: 1m}\n\
         - run: cat /proc/sys/kernel/random/boot_id\n",
    );
    let ended = reveille
        .run(&["drill", &job, "--hosts", "4", "--fault", "none"])
        .expect(0);
    assert!(ended.stderr.contains("every host succeeded"), "{}", ended.stderr);
}

#[test]
fn one_kind_of_fault_at_a_time() {
    for (kind, class) in [
        ("refuse", "connect_refused"),
        ("exceeded_startups_2", "ok"),
        ("auth_fail", "auth_failed"),
        ("drop_once_1", "ok_after_recovery"),
        ("flap_3", "ok_after_recovery"),
        ("exit_7", "command_failed"),
        ("killed", "killed_by_signal"),
        ("reboot_1", "result_unknown"),
        ("disk_full", "transfer_failed"),
        ("early_exit", "early_exit"),
    ] {
        let (_, rows) = drill(&["--hosts", "5", "--fault", &format!("{kind}=2")]);
        assert_eq!(rows[kind]["reported"], serde_json::json!({ class: 2 }), "{kind}");
        assert_eq!(
            rows["healthy"]["reported"],
            serde_json::json!({ "ok": 3 }),
            "{kind}"
        );
    }
}

#[test]
fn the_seed_decides_which_hosts_get_faults() {
    let struck = |seed: &str| {
        let faults = [
            "--fault",
            "refuse=3",
            "--fault",
            "auth_fail=10%",
            "--fault",
            "exit_100=2",
        ];
        let mut arguments = vec!["--hosts", "40", "--seed", seed];
        arguments.extend(faults);
        failures(&drill(&arguments).0)
    };
    let first = struck("7");
    assert_eq!(first.len(), 9);
    assert_eq!(struck("7"), first);
    assert_ne!(struck("8"), first);
}

#[test]
fn a_users_job_is_rehearsed() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "deploy.yaml",
        "name: deploy\nvars: {release: '7'}\nsteps:\n\
         - upload: {src: app.tar, dest: /srv/}\n\
         - run: tar xf /srv/app.tar -C /srv && /srv/bin/migrate --to {{ release }}\n  durable: false\n\
         - run: curl -fsS http://localhost/health\n  expect: healthy\n  ignore_errors: true\n",
    );
    reveille.file("app.tar", "not really");
    let arguments = [
        "drill",
        &job,
        "--hosts",
        "6",
        "--fault",
        "drop_once=1",
        "--fault",
        "auth_fail=1",
    ];
    let ended = reveille.run(&arguments).expect(0);
    assert!(
        ended
            .stderr
            .contains("2 kinds of fault on 2 hosts, each reported correctly"),
        "{}",
        ended.stderr
    );

    // A rule of the job that no practice host can meet does not count as a wrong class.
    let job = reveille.file(
        "strict.yaml",
        "name: strict\nsteps:\n- run: curl localhost\n  expect: healthy\n",
    );
    let ended = reveille
        .run(&["drill", &job, "--hosts", "3", "--fault", "none"])
        .expect(3);
    assert!(
        ended.stderr.contains("3 hosts failed by the job's rules"),
        "{}",
        ended.stderr
    );
}

/// A drill of a job that would change things on the controller, read its secrets and connect to other hosts.
#[test]
fn a_drill_touches_nothing_but_its_hosts() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "outside.yaml",
        "vars:\n  token: {secret: {command: \"touch secret-was-read; echo x\"}}\n  key: {secret: {env: NO_SUCH_VARIABLE}}\n\
         steps:\n\
         - name: at-the-balancer\n  run: \"touch ran-here; true {{ inventory_hostname }}\"\n  run_on: localhost\n\
         - name: elsewhere\n  run: \"true\"\n  run_on: db1\n\
         - wait_for: {port: 1, from: controller}\n\
         - download: {src: /var/log/syslog, to: logs}\n\
         - run: true\n  env: {TOKEN: \"{{ token }}{{ key }}\"}\n\
         heal: {replace: \"touch machine-was-bought; echo 127.0.0.1\"}\n",
    );
    let arguments = [
        "drill",
        &job,
        "--hosts",
        "4",
        "--fault",
        "exit_1=1",
        "--max-fail",
        "4",
    ];
    let ended = reveille.run(&arguments).expect(0);
    for made in ["secret-was-read", "ran-here", "logs", "machine-was-bought"] {
        assert!(!reveille.path().join(made).exists(), "{made}");
    }
    for told in [
        "in the drill: `heal.replace` does not run",
        "the value of `token`, `key` is the word",
        "not where `run_on` says: `at-the-balancer`, `elsewhere`",
        "waits on the practice host",
        "the drill's directory",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
}

#[test]
fn a_drill_says_which_faults_it_did_not_see() {
    let reveille = Reveille::new();
    let arguments = ["drill", "--max-fail", "0", "-c", "4", "--serial", "4"];
    let ended = reveille.run(&arguments).expect(3);
    let last = ended
        .stderr
        .lines()
        .find(|line| line.contains("kinds of fault happened"));
    let last = last.unwrap_or_else(|| panic!("{}", ended.stderr));
    assert!(
        last.contains(
            " of 14 kinds of fault happened, each reported correctly; the others were not rehearsed"
        )
    );
    assert!(
        last.ends_with("not reached, because the run stopped before"),
        "{last}"
    );
}

#[test]
fn a_host_that_its_repairs_do_not_help_ends_as_expected() {
    let reveille = Reveille::new();
    let job = reveille.file("heal.yaml", "steps:\n- run: install\nheal: {reboot: true}\n");
    reveille
        .run(&["drill", &job, "--hosts", "4", "--fault", "exit_1=2"])
        .expect(0);
}

#[test]
fn practice_hosts_take_the_parts_of_an_inventory() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "[web]\nweb[1:3] size=2\n[web:vars]\nport=80\n[db]\ndb1 ansible_host=192.0.2.1\n",
    );
    let job = reveille.file(
        "parts.yaml",
        "hosts: web\nsteps:\n- run: \"true {{ groups.db[0] }} {{ groups.web | length }} {{ port }} {{ size }}\"\n",
    );
    for hosts in ["2", "3", "7"] {
        let arguments = [
            "drill", &job, "-i", &inventory, "--hosts", hosts, "--fault", "none",
        ];
        let ended = reveille.run(&arguments).expect(0);
        assert!(ended.stderr.contains("every host succeeded"), "{}", ended.stderr);
    }
    // A configured inventory is for real runs.
    let ended = reveille
        .command(&["drill", "--hosts", "2", "--fault", "none"])
        .env("REVEILLE_HOSTS", "web1,web2")
        .env("REVEILLE_INVENTORY", "/nowhere")
        .output()
        .unwrap();
    crate::support::Ended::of(&ended).expect(0);
}

#[test]
fn quiet_and_machine_output() {
    let reveille = Reveille::new();
    let arguments = ["drill", "--hosts", "4", "--fault", "auth_fail=1"];
    let quiet = reveille
        .command(&arguments)
        .arg("-q")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let quiet = crate::support::Ended::of(&quiet).expect(0);
    assert!(
        quiet.stdout.is_empty() && !quiet.stderr.contains("as expected"),
        "{}",
        quiet.stderr
    );
    assert!(quiet.stderr.contains("1 host: auth_failed"), "{}", quiet.stderr);
    let json = reveille
        .command(&arguments)
        .args(["--format", "json"])
        .output()
        .unwrap();
    assert!(json.stdout.ends_with(b"}\n") && String::from_utf8_lossy(&json.stdout).lines().count() == 1);
    assert!(!String::from_utf8_lossy(&json.stderr).contains("as expected"));
}

#[test]
fn bad_options_are_refused() {
    let reveille = Reveille::new();
    for (arguments, wanted) in [
        (vec!["--fault", "refused=1"], "did you mean \"refuse\"?"),
        (vec!["--fault", "refuse"], "write KIND=5%"),
        (
            vec!["--fault", "none", "--fault", "refuse=1"],
            "can't be combined with other --fault options",
        ),
        (vec!["--hosts", "3", "--fault", "refuse=4"], "for refuse: 3 of 4"),
        (vec!["--fault", "refuse=drill-0065"], "the fleet has no such host"),
        (vec!["--hosts", "0"], "0"),
        (vec!["no-such-job.yaml"], "no-such-job.yaml"),
    ] {
        let mut all = vec!["drill"];
        all.extend(arguments);
        let ended = reveille.run(&all).expect(2);
        assert!(ended.stderr.contains(wanted), "{all:?}: {}", ended.stderr);
    }
}

#[test]
fn a_large_fleet_has_a_process_of_its_own() {
    let (json, rows) = drill(&["--hosts", "1001", "--fault", "refuse=1", "--fault", "killed=2"]);
    assert_eq!(json["account"]["success"], 998);
    assert_eq!(rows["killed"]["met"], 2);
}

/// A fleet in a process of its own.
struct Fleet(Child);

impl Fleet {
    fn start(reveille: &Reveille, directory: &Path, arguments: &[&str]) -> Self {
        let mut child = reveille
            .command(&["drill", "--serve", directory.to_str().unwrap()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// Ends the fleet and returns its report.
    fn end(mut self, directory: &Path) -> Value {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
        serde_json::from_str(&std::fs::read_to_string(directory.join("report.json")).unwrap()).unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // The test failed before it ended the fleet.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_controller_starts_no_command_twice() {
    const HOSTS: usize = 50;
    for after in [20, 110, 200, 290] {
        let reveille = Reveille::new();
        let directory = reveille.path().join("fleet");
        let faults = [
            "--hosts",
            "50",
            "--fault",
            "drop_once=5",
            "--fault",
            "flap=5",
            "--good-commands",
            "1",
        ];
        let fleet = Fleet::start(&reveille, &directory, &faults);
        let inventory = directory.join("inventory.ini");
        let job = reveille.file(
            "job.yaml",
            "name: two\nsteps:\n- run: echo one; sleep 0.2\n- run: echo two; sleep 0.1\n",
        );
        let mut child = reveille
            .command(&[
                "run",
                &job,
                "-i",
                inventory.to_str().unwrap(),
                "--events",
                "-",
                "-q",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(output.by_ref().lines().take(after).count(), after);
        child.kill().unwrap();
        child.wait().unwrap();

        let resumed = reveille.run(&["resume", "--format", "json"]).expect(0).json();
        assert_eq!(resumed["account"]["success"], HOSTS);
        assert_eq!(resumed["account"]["balanced"], true);
        let report = fleet.end(&directory);
        for host in report["hosts"].as_array().unwrap() {
            let tokens = host["tokens"].as_object().unwrap();
            assert!(
                tokens.values().all(|count| *count == 1),
                "killed after {after} events: {host}"
            );
            // Two steps, one attempt each.
            assert_eq!(
                (tokens.len(), &host["commands"]),
                (2, &Value::from(2)),
                "killed after {after} events: {host}"
            );
        }
    }
}
