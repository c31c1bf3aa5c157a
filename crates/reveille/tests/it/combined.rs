//! Two failures at once.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reveille_testbed::Testbed;

use crate::proxy::Proxy;
use crate::support::{Ended, Reveille};

/// Several names of one machine, each with variables of its own.
fn inventory(testbed: &Testbed, hosts: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, vars) in hosts {
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

fn started(reveille: &Reveille, arguments: &[&str]) -> Child {
    reveille
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn lines(testbed: &Testbed, name: &str) -> usize {
    std::fs::read_to_string(testbed.home().join(name))
        .unwrap_or_default()
        .lines()
        .count()
}

/// The connection breaks during a step and the first route stays closed. The second route leads to the same machine, on
/// which the step still runs.
#[test]
fn a_second_route_attaches_to_the_running_step() {
    let testbed = Testbed::start(1, "").unwrap();
    let mut proxy = Proxy::to((testbed.address(0), testbed.port()).into());
    let reveille = Reveille::new();
    for name in ["began", "word"] {
        let fifo = testbed.home().join(name);
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    }
    let inventory = reveille.file(
        "inventory",
        format!(
            "web1 ansible_host=127.0.0.1 ansible_port={} ansible_ssh_private_key_file={} \
             reveille_routes='[{{\"address\": \"{}\", \"port\": {}}}]'\n",
            proxy.port(),
            testbed.key().display(),
            testbed.address(0),
            testbed.port()
        ),
    );
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: work\n    run: |\n      echo run >>$HOME/runs\n      echo $$ >$HOME/began\n      \
         read word <$HOME/word\n      exit $word\n",
    );
    let arguments = [
        "run",
        &job,
        "-i",
        &inventory,
        "--format",
        "json",
        "--events",
        "events",
        "--reconnect-within",
        "1s",
    ];
    let controller = started(&reveille, &arguments);
    // Opening the FIFO for reading waits for the command.
    std::fs::read_to_string(testbed.home().join("began")).unwrap();
    proxy.cut();
    // A second execution would wait for a second word.
    let events = reveille.path().join("events");
    while !std::fs::read_to_string(&events)
        .unwrap_or_default()
        .contains("reattached")
    {
        std::thread::yield_now();
    }
    std::fs::write(testbed.home().join("word"), "0\n").unwrap();
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(0)
        .json();
    assert_eq!(summary["hosts"][0]["class"], "ok_after_recovery", "{summary}");
    assert_eq!(lines(&testbed, "runs"), 1);
}

/// If the first host is not ready, a `once` step runs on the next one.
#[test]
fn a_once_step_does_not_wait_for_a_host_that_is_not_ready() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let hosts = [("a", "reveille_not_ready=true"), ("b", ""), ("c", "")];
    let inventory = reveille.file("inventory", inventory(&testbed, &hosts));
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - {name: migrate, run: 'echo x >> $HOME/migrated; echo done', once: true, register: it}\n  \
         - {name: say, run: 'echo {{ it.stdout }} >> $HOME/said'}\n",
    );
    let ended = reveille.run(&["run", &job, "-i", &inventory, "--format", "json"]);
    let summary = ended.json();
    assert_eq!(summary["account"]["success"], 2, "{summary}");
    assert_eq!(summary["account"]["cancelled"], 1, "{summary}");
    assert_eq!((lines(&testbed, "migrated"), lines(&testbed, "said")), (1, 2));
}

/// If the controller is killed after the failure that exceeds `max_fail`, the resumed run halts.
#[test]
fn a_resumed_run_halts_at_max_fail() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let names = ["h1", "h2", "h3", "h4", "h5"].map(|name| (name, ""));
    let inventory = reveille.file("inventory", inventory(&testbed, &names));
    // The first host of the first batch fails while the second one still runs.
    let job = reveille.file(
        "job.yaml",
        "serial: 2\nmax_fail: {total: 0}\nsteps:\n  - run: |\n      echo {{ inventory_hostname }} >> $HOME/ran\n      \
         test {{ inventory_hostname }} != h1 || exit 7\n      until [ -e $HOME/go ]; do sleep 0.1; done\n",
    );
    let mut child = started(&reveille, &["run", &job, "-i", &inventory, "--events", "-", "-q"]);
    let failed = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("outcome_reached"));
    assert!(failed.is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(testbed.home().join("go"), "").unwrap();
    let ended = reveille.run(&["resume", "--format", "json"]).expect(3);
    let summary = ended.json();
    assert_eq!(summary["account"]["failed"], 1, "{summary}");
    assert_eq!(summary["account"]["success"], 1, "{summary}");
    assert_eq!(summary["account"]["cancelled"], 3, "{summary}");
    assert_eq!(lines(&testbed, "ran"), 2);
}

/// A `once` step that has run does not run again in a later round.
#[test]
fn a_once_step_is_not_repeated_in_a_later_round() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let names = ["a", "b"].map(|name| (name, ""));
    let inventory = reveille.file("inventory", inventory(&testbed, &names));
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - {name: migrate, run: 'echo x >> $HOME/migrated; echo 42', once: true, register: it}\n  \
         - {name: work, run: 'test {{ it.stdout }} = 42 && test -e $HOME/ready'}\n",
    );
    reveille.run(&["run", &job, "-i", &inventory]).expect(3);
    std::fs::write(testbed.home().join("ready"), "").unwrap();
    let ended = reveille.run(&["retry", "--format", "json"]).expect(0);
    assert_eq!(ended.json()["account"]["success"], 2);
    assert_eq!(lines(&testbed, "migrated"), 1);
}
