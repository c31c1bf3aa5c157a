//! Bringing failed hosts back: repairs, other routes, other machines, and where it ends.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use reveille_testbed::Testbed;

use crate::support::Reveille;

/// Hosts of these names at the first address.
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

/// A step that is broken until it is repaired, on each host by itself.
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
fn a_repair_brings_a_host_back_where_it_was() {
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
fn what_does_not_help_ends_in_quarantine_and_says_why() {
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
    // Nothing is recovered that nobody allowed.
    let job = reveille.file("job.yaml", "steps:\n  - run: exit 4\nheal: {reboot: false}\n");
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--format", "json"])
        .expect(3);
    assert_eq!(ended.json()["hosts"][0]["class"], "command_failed");
}

#[test]
fn another_machine_takes_its_place_from_the_first_step() {
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
    assert!(logs.contains("another machine took its place"), "{logs}");
    // The other machine fails in the same way: it is not the machine.
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
fn no_host_takes_the_place_of_another_host_of_the_run() {
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let two = inventory(&testbed, &["a", "b"], "").replacen(
        &format!("b ansible_host={}", testbed.address(0)),
        &format!("b ansible_host={}", testbed.address(1)),
        1,
    );
    let inventory = reveille.file("inventory", two);
    let work = "steps:\n  - run: echo $SSH_CONNECTION >> $HOME/ran; exit 9\nheal:\n";
    // A command that names a host of the inventory.
    let other = testbed.address(1);
    let job = reveille.file("job.yaml", format!("{work}  replace: echo {other}\n"));
    reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    let ran = std::fs::read_to_string(testbed.home().join("ran")).unwrap();
    assert_eq!(ran.lines().count(), 3, "b was set up anew where it was: {ran}");
    let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
    assert!(logs.contains("is b, a host of this run"), "{logs}");
    // A command that names one machine for everybody.
    std::fs::remove_file(testbed.home().join("ran")).unwrap();
    let spare = testbed.address(2);
    let job = reveille.file("job.yaml", format!("{work}  replace: echo {spare}\n"));
    reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    let ran = std::fs::read_to_string(testbed.home().join("ran")).unwrap();
    let on_the_spare = ran.lines().filter(|line| line.contains(&format!(" {spare} ")));
    assert_eq!(on_the_spare.count(), 1, "{ran}");
}

/// The controller dies while the new machine works: what was done on the old one does not count, and nothing is run twice.
#[test]
fn a_resumed_run_goes_on_with_the_machine_that_took_the_place() {
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

/// The usual jump host is down; another, and none at all, are routes too.
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

/// Where many fail alike it is not the hosts.
#[test]
fn nothing_is_recovered_where_many_fail_alike() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let names: Vec<String> = (1..=12).map(|number| format!("h{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let inventory = reveille.file("inventory", inventory(&testbed, &names, ""));
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: exit 9\nheal:\n  repair: [{on: [command_failed], run: 'echo x >> $HOME/repairs'}]\n",
    );
    // Those that are not dispatched yet wait for half a minute, which is not waited for here.
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
