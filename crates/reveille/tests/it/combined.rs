//! Two things at once: what held while one thing went wrong holds when another comes on top.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reveille_testbed::Testbed;

use crate::proxy::Proxy;
use crate::support::{Ended, Reveille};

/// Names of one machine, with vars of their own.
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

/// The connection breaks in mid-step and the usual way stays away: the second way leads to the same machine, where the step
/// runs still.
#[test]
fn another_route_leads_to_the_work_that_runs() {
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
    // Reading waits for the command.
    std::fs::read_to_string(testbed.home().join("began")).unwrap();
    proxy.cut();
    // Whoever runs it twice waits for this word twice.
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

/// The first host is not ready: the step that runs once for all runs on the next one.
#[test]
fn what_runs_once_waits_for_no_host_that_is_not_ready() {
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

/// The controller dies after the failure that is one too many: the resumed run halts as the first one would have.
#[test]
fn too_many_failures_are_too_many_for_a_resumed_run() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let names = ["h1", "h2", "h3", "h4", "h5"].map(|name| (name, ""));
    let inventory = reveille.file("inventory", inventory(&testbed, &names));
    // The second host of the first batch works on while the first fails.
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

/// A step that is done once for all is not done again in a later round.
#[test]
fn what_was_done_once_is_done_in_a_later_round() {
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
