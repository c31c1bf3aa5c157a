//! Recoveries: repairs, other routes, replacement machines, and their limits.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use reveille_testbed::Testbed;

use crate::support::Reveille;

/// An inventory of hosts with these names at the first address.
fn inventory(testbed: &Testbed, names: &[&str], vars: &str) -> String {
    let mut text = String::new();
    for name in names {
        let _ = writeln!(text, "{name} ansible_host={} {vars}", testbed.address(0));
    }
    let _ = write!(
        text,
        "[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\n",
        testbed.port(),
        testbed.key().display()
    );
    text
}

/// A step that fails until its host is repaired.
const BROKEN: &str = "
steps:
  - name: before
    run: echo before >> $HOME/{{ inventory_hostname }}.ran
  - name: install
    run: |
      echo install >> $HOME/{{ inventory_hostname }}.ran
      [ -e $HOME/{{ inventory_hostname }}.ok ] || { echo 'E: dpkg was interrupted'; exit 100; }
    fatal: ['dpkg was interrupted']
heal:
  repair:
    - on: [fatal_pattern]
      name: configure
      run: REPAIR
";

#[test]
fn a_repaired_host_continues_at_the_failed_step() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory", inventory(&testbed, &["a", "b"], ""));
    let repair = "touch $HOME/{{ inventory_hostname }}.ok";
    let job = reveille.file("job.yaml", BROKEN.replace("REPAIR", repair));
    let ended = reveille.run(&["run", &job, "-i", &inventory, "--format", "json"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    for host in ended.json()["hosts"].as_array().unwrap() {
        assert_eq!(host["class"], "ok_after_recovery", "{host}");
    }
    for name in ["a", "b"] {
        let ran = std::fs::read_to_string(testbed.home().join(format!("{name}.ran"))).unwrap();
        assert_eq!(ran, "before\ninstall\ninstall\n");
    }
    let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
    assert!(logs.contains("rung 4: the repair `configure`"), "{logs}");
}

#[test]
fn a_host_that_no_recovery_helps_is_quarantined_with_a_reason() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory", inventory(&testbed, &["a"], ""));
    for (repair, words) in [
        ("'true'", "after every recovery that the job allows"),
        ("exit 3", "the repair failed: exit status 3"),
    ] {
        let job = reveille.file("job.yaml", BROKEN.replace("REPAIR", repair));
        let ended = reveille
            .run(&["run", &job, "-i", &inventory, "--format", "json"])
            .expect(3);
        let host = &ended.json()["hosts"][0];
        assert_eq!(host["status"], "quarantined", "{host}");
        assert_eq!(host["class"], "recovery_limit", "{host}");
        let shown = reveille.run(&["show"]).stdout;
        assert!(shown.contains(words), "{shown}");
    }
    // Without `heal`, nothing is recovered.
    let job = reveille.file("job.yaml", "steps:\n  - run: exit 4\nheal: {reboot: false}\n");
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--format", "json"])
        .expect(3);
    assert_eq!(ended.json()["hosts"][0]["class"], "command_failed");
}

#[test]
fn a_replacement_machine_begins_at_the_first_step() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory", inventory(&testbed, &["a"], ""));
    let other = testbed.address(1);
    let job = reveille.file(
        "job.yaml",
        format!(
            "steps:\n  - run: echo ${{SSH_CONNECTION}} >> $HOME/first\n  - run: case $SSH_CONNECTION in *' {other} '*) ;; *) exit 9;; esac\n\
             heal:\n  replace: echo making one for $REVEILLE_HOST after $REVEILLE_CLASS > made; echo {other}\n"
        ),
    );
    let ended = reveille.run(&["run", &job, "-i", &inventory, "--format", "json"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let first = std::fs::read_to_string(testbed.home().join("first")).unwrap();
    assert_eq!(first.lines().count(), 2, "{first}");
    let made = std::fs::read_to_string(reveille.path().join("made")).unwrap();
    assert_eq!(made, "making one for a after command_failed\n");
    let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
    assert!(logs.contains("replaced by another machine"), "{logs}");
    // The replacement machine fails too.
    let job = reveille.file(
        "job.yaml",
        format!("steps:\n  - run: exit 9\nheal:\n  replace: echo {other}\n"),
    );
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--format", "json"])
        .expect(3);
    let host = &ended.json()["hosts"][0];
    assert_eq!(
        (&host["status"], &host["class"]),
        (&"quarantined".into(), &"poison".into()),
        "{host}"
    );
}

#[test]
fn a_host_of_the_run_can_not_replace_another() {
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let two = inventory(&testbed, &["a", "b"], "").replacen(
        &format!("b ansible_host={}", testbed.address(0)),
        &format!("b ansible_host={}", testbed.address(1)),
        1,
    );
    let inventory = reveille.file("inventory", two);
    let work = "steps:\n  - run: echo $SSH_CONNECTION >> $HOME/ran; exit 9\nheal:\n";
    // The command prints the name of a host of the inventory.
    let other = testbed.address(1);
    let job = reveille.file("job.yaml", format!("{work}  replace: echo {other}\n"));
    reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    let ran = std::fs::read_to_string(testbed.home().join("ran")).unwrap();
    assert_eq!(ran.lines().count(), 3, "b was set up anew where it was: {ran}");
    let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
    assert!(logs.contains("is b, a host of this run"), "{logs}");
    // The command prints the same machine for every host.
    std::fs::remove_file(testbed.home().join("ran")).unwrap();
    let spare = testbed.address(2);
    let job = reveille.file("job.yaml", format!("{work}  replace: echo {spare}\n"));
    reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    let ran = std::fs::read_to_string(testbed.home().join("ran")).unwrap();
    let on_the_spare = ran.lines().filter(|line| line.contains(&format!(" {spare} ")));
    assert_eq!(on_the_spare.count(), 1, "{ran}");
}

/// If the controller is killed while the replacement machine works, the resumed run continues there, and no command runs
/// twice.
#[test]
fn a_resumed_run_continues_on_the_replacement_machine() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory", inventory(&testbed, &["a"], ""));
    let other = testbed.address(1);
    let job = reveille.file(
        "job.yaml",
        format!(
            "steps:\n  - run: echo ${{SSH_CONNECTION##* 127}} >> $HOME/first\n  - run: |\n      \
             case $SSH_CONNECTION in *' {other} '*) ;; *) exit 9;; esac\n      echo x >> $HOME/second\n      \
             until [ -e $HOME/go ]; do sleep 0.1; done\nheal:\n  replace: echo {other}\n"
        ),
    );
    let mut child = reveille
        .command(&["run", &job, "-i", &inventory, "--events", "-", "-q"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let working = lines
        .map(Result::unwrap)
        .filter(|line| line.contains("step_started"))
        .nth(3);
    assert!(working.is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(testbed.home().join("go"), "").unwrap();
    let ended = reveille.run(&["resume", "--format", "json"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let first = std::fs::read_to_string(testbed.home().join("first")).unwrap();
    assert_eq!(first.lines().count(), 2, "{first}");
    let second = std::fs::read_to_string(testbed.home().join("second")).unwrap();
    assert_eq!(second, "x\n");
}

#[test]
fn another_route_leads_to_a_host_whose_first_is_closed() {
    let testbed = Testbed::start(2, "").unwrap();
    let text = format!(
        "a ansible_host=127.66.66.66 reveille_routes='[\"127.66.66.67\", \"{{{{ other }}}}\"]' other={} instance_type='{{{{ nothing_such }}}}'\n{}",
        testbed.address(1),
        inventory(&testbed, &[], "")
    );
    let reaches = |work: &[&str]| {
        let reveille = Reveille::new();
        let inventory = reveille.file("inventory", text.clone());
        reveille.file("job.yaml", "steps:\n  - run: 'true'\n");
        let reached = ["-i", &inventory, "--format", "json", "--connect-timeout", "1s"];
        let ended = reveille.run(&[&work[..1], &reached, &work[1..]].concat());
        assert_eq!(ended.code, 0, "{work:?}: {}{}", ended.stdout, ended.stderr);
        let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
        assert!(
            logs.contains("rung 3: another route, 127.66.66.67"),
            "{work:?}: {logs}"
        );
    };
    std::thread::scope(|scope| {
        scope.spawn(|| reaches(&["run", "job.yaml"]));
        scope.spawn(|| reaches(&["exec", "true"]));
    });
}

/// The first jump host is down. A route can name another jump host, or none.
#[test]
fn a_route_may_lead_through_another_jump_host() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let (host, jump, port) = (testbed.address(1), testbed.address(0), testbed.port());
    let common = inventory(&testbed, &[], "");
    let text = format!(
        "a ansible_host={host} ansible_ssh_common_args='-J 127.66.66.66:{port}' \
         reveille_routes='[{{\"jump\": \"{jump}:{port}\"}}]'\n\
         b ansible_host={host} ansible_ssh_common_args='-J 127.66.66.66:{port}' \
         reveille_routes='[{{\"address\": \"{host}\", \"jump\": \"none\"}}]'\n{common}"
    );
    let inventory = reveille.file("inventory", text);
    let job = reveille.file("job.yaml", "steps:\n  - run: 'true'\n");
    let run = ["run", &job, "-i", &inventory, "--format", "json"];
    let ended = reveille.run(&[&run[..], &["--connect-timeout", "1s"]].concat());
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
    assert!(
        logs.contains(&format!("another route, {host}:{port} through {jump}:{port}")),
        "{logs}"
    );
    let logs = reveille.run(&["logs", "b"]).expect(0).stdout;
    assert!(logs.contains(", without a jump host"), "{logs}");
    for (routes, why) in [
        ("here", "`reveille_routes` must be a list of addresses"),
        ("[\"a b\"]", "has \"a b\", which is not an address"),
        ("[{}]", "has {}, which is not a route"),
        ("[{\"port\": 70000}]", "whose port is not valid"),
        ("[{\"jumps\": \"x\"}]", "where `jumps` is unknown"),
        ("[{\"jump\": \"a b\"}]", "`a b` is not a jump host"),
    ] {
        let file = reveille.file("inventory", format!("a reveille_routes='{routes}'\n"));
        for refused in [&["run", &job, "-i", &file][..], &["ping", "-i", &file]] {
            let refused = reveille.run(refused).expect(2).stderr;
            assert!(refused.contains(why), "{routes}: {refused}");
        }
    }
}

/// If many hosts fail alike, recoveries stop, because the hosts are not the cause.
#[test]
fn nothing_is_recovered_if_many_hosts_fail_alike() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let names: Vec<String> = (1..=12).map(|number| format!("h{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let inventory = reveille.file("inventory", inventory(&testbed, &names, ""));
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: exit 9\nheal:\n  repair: [{on: [command_failed], run: 'echo x >> $HOME/repairs'}]\n",
    );
    // Hosts that are not dispatched yet wait for half a minute. The test does not wait for them.
    let mut child = reveille
        .command(&["run", &job, "-i", &inventory, "-c", "6"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("suspect the job, the mirror or the network"));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.unwrap();
    assert!(said.contains("no further host is dispatched for 30 s"), "{said}");
    let repairs = std::fs::read_to_string(testbed.home().join("repairs")).unwrap_or_default();
    assert!(repairs.lines().count() <= 8, "{repairs}");
}
