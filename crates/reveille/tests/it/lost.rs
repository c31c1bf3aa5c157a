//! Connections that stay lost, and the commands that run behind them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reveille_testbed::Testbed;

use crate::proxy::Proxy;
use crate::support::{Ended, Reveille};

/// One host behind a proxy.
fn inventory(testbed: &Testbed, proxy: &Proxy) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "web1 ansible_host=127.0.0.1 ansible_port={} ansible_ssh_private_key_file={}",
        proxy.port(),
        testbed.key().display()
    );
    text
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A job whose command reports its start, waits for a word, and ends with that word as its exit status. A second execution
/// would wait forever.
fn begun_and_lost(reveille: &Reveille, testbed: &Testbed, proxy: &mut Proxy) {
    fifo(&testbed.home().join("began"));
    fifo(&testbed.home().join("word"));
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: work\n    run: |\n      echo run >>$HOME/runs\n      echo $$ >$HOME/began\n      \
         read word <$HOME/word\n      echo the word is $word\n      exit $word\n",
    );
    let inventory = reveille.file("inventory", inventory(testbed, proxy));
    let controller = reveille
        .command(&[
            "run",
            &job,
            "-i",
            &inventory,
            "--format",
            "json",
            "--reconnect-within",
            "1s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opening the FIFO for reading waits for the command.
    std::fs::read_to_string(testbed.home().join("began")).unwrap();
    proxy.cut();
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(3)
        .json();
    assert_eq!(summary["hosts"][0]["class"], "connection_lost", "{summary}");
    proxy.restore();
}

fn runs(testbed: &Testbed) -> usize {
    std::fs::read_to_string(testbed.home().join("runs"))
        .unwrap()
        .lines()
        .count()
}

#[test]
fn a_retry_after_a_lost_connection_attaches_to_the_running_command() {
    let testbed = Testbed::start(1, "").unwrap();
    let mut proxy = Proxy::to((testbed.address(0), testbed.port()).into());
    let reveille = Reveille::new();
    begun_and_lost(&reveille, &testbed, &mut proxy);
    let retry = reveille
        .command(&["retry", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opening the FIFO for writing waits for the command that reads, which is the only one.
    std::fs::write(testbed.home().join("word"), "0\n").unwrap();
    let summary = Ended::of(&retry.wait_with_output().unwrap()).expect(0).json();
    assert_eq!(summary["hosts"][0]["status"], "success", "{summary}");
    assert_eq!(summary["hosts"][0]["round"], 2, "{summary}");
    assert_eq!(runs(&testbed), 1);
    let said = reveille.run(&["logs", "web1", "--raw"]).expect(0).stdout;
    assert_eq!(said, "the word is 0\n");
}

#[test]
fn a_retry_after_a_lost_connection_repeats_a_command_that_failed_meanwhile() {
    let testbed = Testbed::start(1, "").unwrap();
    let mut proxy = Proxy::to((testbed.address(0), testbed.port()).into());
    let reveille = Reveille::new();
    begun_and_lost(&reveille, &testbed, &mut proxy);
    std::fs::write(testbed.home().join("word"), "7\n").unwrap();
    let retry = reveille
        .command(&["retry", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::read_to_string(testbed.home().join("began")).unwrap();
    std::fs::write(testbed.home().join("word"), "0\n").unwrap();
    let summary = Ended::of(&retry.wait_with_output().unwrap()).expect(0).json();
    assert_eq!(summary["hosts"][0]["status"], "success", "{summary}");
    assert_eq!(runs(&testbed), 2);
}

#[test]
fn clean_removes_a_runs_files_from_its_hosts() {
    let testbed = Testbed::start(1, "").unwrap();
    let mut proxy = Proxy::to((testbed.address(0), testbed.port()).into());
    let reveille = Reveille::new();
    begun_and_lost(&reveille, &testbed, &mut proxy);
    // The command still runs, and `clean` leaves it alone.
    let ended = reveille.run(&["clean"]).expect(3);
    assert!(
        ended.stdout.contains("web1: 1 command of the run still running"),
        "{}",
        ended.stdout
    );
    std::fs::write(testbed.home().join("word"), "0\n").unwrap();
    let spool = testbed.home().join(".local/state/reveille");
    let run = std::fs::read_dir(&spool).unwrap().next().unwrap().unwrap().path();
    let names = |wanted: &str| {
        std::fs::read_dir(&run)
            .unwrap()
            .filter_map(|token| std::fs::read_dir(token.unwrap().path()).ok())
            .flatten()
            .filter(|entry| entry.as_ref().unwrap().file_name() == wanted)
            .count()
    };
    while names("exit") == 0 {
        std::thread::yield_now();
    }
    let ended = reveille.run(&["clean"]).expect(0);
    assert!(
        ended
            .stderr
            .contains("tombstones stay until a day after the end of the run"),
        "{}",
        ended.stderr
    );
    assert_eq!((names("out"), names("go")), (0, 1));
    let database = rusqlite::Connection::open(reveille.state().join("ledger.db")).unwrap();
    // `clean` removes nothing from a machine that the record does not name.
    let name = |machine: &str| {
        database
            .execute(
                "UPDATE events SET body = json_set(body, '$.site.machine', ?1)
                 WHERE json_extract(body, '$.site.machine') IS NOT NULL",
                [machine],
            )
            .unwrap()
    };
    let machine: String = database
        .query_row(
            "SELECT json_extract(body, '$.site.machine') FROM events
             WHERE json_extract(body, '$.site.machine') IS NOT NULL LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    if machine != "-" {
        name("another");
        let ended = reveille.run(&["clean"]).expect(3);
        assert!(
            ended.stdout.contains("another machine reported it"),
            "{}",
            ended.stdout
        );
        name(&machine);
    }
    // A day after the end of the run, nothing of it is needed.
    database
        .execute("UPDATE runs SET ended_ms = ended_ms - 90000000", [])
        .unwrap();
    drop(database);
    let ended = reveille.run(&["clean"]).expect(0);
    assert_eq!(ended.stdout, "1 of 1 host cleaned\n");
    assert!(!run.exists());
}

/// Unanswered keep-alive messages detect a dead connection.
#[test]
fn a_dead_connection_is_detected_as_ssh_config_sets() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let config = reveille.file(
        "config",
        "Host *\n  ServerAliveInterval 1\n  ServerAliveCountMax 1\n",
    );
    // The server's process for this connection is stopped, as if its machine were gone, and continued at the end.
    let command = "(sleep 15; kill -CONT $PPID) >/dev/null 2>&1 & kill -STOP $PPID; sleep 15";
    let ended = reveille
        .run(&[
            "exec", "-F", &config, "-i", &inventory, "--format", "json", "--", command,
        ])
        .expect(3);
    let host = &ended.json()["hosts"][0];
    assert_eq!(host["class"], "result_unknown", "{host}");
    assert!(host["duration_s"].as_f64().unwrap() < 14.0, "{host}");
}

/// The time between two rounds does not count.
#[test]
fn the_duration_of_a_retry_excludes_earlier_rounds() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let command = "test -e $HOME/there";
    reveille
        .run(&["exec", "-i", &inventory, "--attempts", "1", "--", command])
        .expect(3);
    // The first round was an hour ago.
    an_hour_ago(&reveille);
    std::fs::write(testbed.home().join("there"), "").unwrap();
    let summary = reveille.run(&["retry", "--format", "json"]).expect(0).json();
    let wall = summary["timing"]["wall_s"].as_f64().unwrap();
    assert!(wall < 60.0, "{summary}");
    let shown = reveille.run(&["show", "--format", "json"]).expect(0).json();
    assert_eq!(shown["timing"]["wall_s"], summary["timing"]["wall_s"], "{shown}");
}

/// An error of one host's output file fails that host only.
#[test]
fn an_output_that_can_not_be_written_fails_its_host_only() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let hosts = ["host-001", "host-002"];
    for host in hosts {
        fifo(&testbed.home().join(format!("{host}.began")));
        fifo(&testbed.home().join(format!("{host}.word")));
    }
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: work\n    run: |\n      echo $$ >$HOME/{{ inventory_hostname }}.began\n      \
         read word <$HOME/{{ inventory_hostname }}.word\n      echo the word is $word\n",
    );
    let controller = reveille
        .command(&["run", &job, "-i", &inventory, "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for host in hosts {
        std::fs::read_to_string(testbed.home().join(format!("{host}.began"))).unwrap();
    }
    let runs = std::fs::read_dir(reveille.state().join("runs")).unwrap();
    let run = runs.map(|run| run.unwrap().path()).next().unwrap();
    std::fs::create_dir_all(run.join("out/host-001.1.frames")).unwrap();
    for host in hosts {
        std::fs::write(testbed.home().join(format!("{host}.word")), "said\n").unwrap();
    }
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(3)
        .json();
    let host = |index: usize| &summary["hosts"][index];
    assert_eq!(host(0)["class"], "internal", "{summary}");
    assert_eq!(host(1)["class"], "ok", "{summary}");
    assert_eq!(host(1)["stdout"], "the word is said\n", "{summary}");
}

/// Moves all recorded times an hour back.
fn an_hour_ago(reveille: &Reveille) {
    let database = rusqlite::Connection::open(reveille.state().join("ledger.db")).unwrap();
    database
        .execute_batch(
            "UPDATE runs SET started_ms = started_ms - 3600000; UPDATE events SET wall_ms = wall_ms - 3600000;",
        )
        .unwrap();
}

/// The duration of a step that ended without a controller comes from its host; the time of dispatch does not change.
#[test]
fn durations_are_right_after_a_resume() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for name in ["began", "word"] {
        fifo(&testbed.home().join(name));
    }
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: work\n    run: echo $$ >$HOME/began; read word <$HOME/word\n",
    );
    let mut controller = reveille
        .command(&["run", &job, "-i", &inventory])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::fs::read_to_string(testbed.home().join("began")).unwrap();
    controller.kill().unwrap();
    controller.wait().unwrap();
    std::fs::write(testbed.home().join("word"), "go\n").unwrap();
    let place = testbed.home().join(".local/state/reveille");
    let below = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    };
    let exit = loop {
        let tokens = below(&place).into_iter().flat_map(|run| below(&run));
        match tokens.map(|token| token.join("exit")).find(|exit| exit.exists()) {
            Some(exit) => break exit,
            None => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    // The host reports 42 seconds and was dispatched an hour ago.
    let said = std::fs::read_to_string(&exit).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert!(words[3].parse::<u64>().unwrap() < 60_000, "{said}");
    std::fs::write(&exit, format!("{} {} {} 4200\n", words[0], words[1], words[2])).unwrap();
    an_hour_ago(&reveille);
    let summary = reveille.run(&["resume", "--format", "json"]).expect(0).json();
    let host = &summary["hosts"][0];
    assert_eq!(host["steps"][0]["duration_s"], 42.0, "{summary}");
    let duration = host["duration_s"].as_f64().unwrap();
    assert!((3600.0..4200.0).contains(&duration), "{summary}");
}

/// Hosts that were never dispatched have no duration.
#[test]
fn cancelled_hosts_have_no_duration() {
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = reveille.file(
        "job.yaml",
        "serial: 1\nmax_fail: {total: 0, batch: 0}\nsteps:\n  - {name: fail, run: exit 1, attempts: 1}\n",
    );
    let events = reveille.file("events", "");
    let ended = reveille.run(&[
        "run", &job, "-i", &inventory, "--format", "json", "--events", &events,
    ]);
    let summary = ended.json();
    let events = std::fs::read_to_string(events).unwrap();
    let first: serde_json::Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["seq"], &first["event"]),
        (&1.into(), &"run_opened".into()),
        "{first}"
    );
    assert_eq!(summary["account"]["cancelled"], 2, "{summary}");
    assert_eq!(
        summary["timing"]["hosts"]["p50"], summary["timing"]["hosts"]["max"],
        "{summary}"
    );
    assert!(
        ended.stderr.contains("max_fail 0, 0 of a batch"),
        "{}",
        ended.stderr
    );
}

/// If the clock was set back between two controllers, the duration is unknown.
#[test]
fn an_unknown_duration_is_reported_as_unknown() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    reveille.run(&["exec", "-i", &inventory, "--", "true"]).expect(0);
    let database = rusqlite::Connection::open(reveille.state().join("ledger.db")).unwrap();
    database
        .execute_batch(
            "UPDATE events SET wall_ms = wall_ms + 3600000, epoch = 0 WHERE body GLOB '*\"run_opened\"*';",
        )
        .unwrap();
    drop(database);
    let shown = reveille.run(&["show"]).expect(0).stdout;
    assert!(
        shown.contains("time        unknown, as the clock was set back; a host p50 "),
        "{shown}"
    );
    let json = reveille.run(&["show", "--format", "json"]).expect(0).json();
    assert!(json["timing"]["wall_s"].is_null(), "{json}");
}
