//! Ends of tests: signals, full disks, lost workers, failed bootstraps, thresholds that abort.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::{Bench, Server, assert_balanced};

fn scenario(server: &Server) -> String {
    format!(
        "base_url: {}\nwait: 20ms\ntasks: [{{get: /}}]\nstages: [{{users: 10, for: 5m}}]\n",
        server.url()
    )
}

/// Starts a test, and sends it a signal after the first sample with completed requests. Returns its status and events.
fn interrupted(bench: &Bench, more: &[&str], signal: impl Fn(i32)) -> (i32, Vec<Value>) {
    let mut child = bench
        .command(&[&["--events", "-", "--save", "saved.json"], more].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut events = Vec::new();
    let mut sent = false;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("readable");
        // The result for people follows the events.
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if !sent && event["completed"].as_u64() > Some(0) {
            signal(i32::try_from(child.id()).expect("a pid"));
            sent = true;
        }
        events.push(event);
    }
    (child.wait().expect("ended").code().expect("not killed"), events)
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("alive");
}

#[test]
fn ctrl_c_stops_users_and_reports_the_numbers_so_far() {
    let server = Server::start();
    let bench = Bench::new(&scenario(&server));
    let (status, events) = interrupted(&bench, &[], |pid| kill(pid, Signal::INT));
    assert_eq!(status, 5);
    let summary = &events.last().expect("some")["summary"];
    assert_eq!(summary["ended"], "interrupted");
    assert_eq!(summary["requests"]["completed"].as_u64(), Some(server.count("/")));
    assert_balanced(summary);
    let saved = std::fs::read_to_string(bench.path("saved.json")).expect("written");
    assert_eq!(serde_json::from_str::<Value>(&saved).expect("JSON"), *summary);
}

#[test]
fn a_lost_worker_is_reported_with_the_numbers_of_the_others() {
    let server = Server::start();
    let bench = Bench::new(&scenario(&server));
    let (status, events) = interrupted(&bench, &["--workers", "2"], |pid| {
        kill(workers(pid)[0], Signal::KILL);
        kill(pid, Signal::TERM);
    });
    assert_eq!(status, 1);
    let summary = &events.last().expect("some")["summary"];
    assert_eq!(
        summary["generator"]["lost"].as_array().map(Vec::len),
        Some(1),
        "{summary:#}"
    );
    assert!(summary["requests"]["completed"].as_u64() > Some(0));
}

/// The process ids of the workers of a test.
fn workers(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("readable");
    children
        .split_whitespace()
        .map(|child| child.parse().expect("a pid"))
        .collect()
}

/// Stops a process, and waits until all of its threads have stopped.
fn stop(pid: i32) {
    kill(pid, Signal::STOP);
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    let is_stopped = || {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("alive");
        threads.all(|thread| {
            let path = thread.expect("readable").path().join("stat");
            // A thread that has ended has no state.
            let state = std::fs::read_to_string(path).unwrap_or_default();
            state
                .rsplit_once(')')
                .is_none_or(|(_, rest)| rest.starts_with(" T"))
        })
    };
    while !is_stopped() {
        assert!(std::time::Instant::now() < deadline, "worker {pid} goes on");
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_that_is_stuck_is_given_up() {
    let server = Server::start();
    let bench = Bench::new(&scenario(&server));
    let (status, events) = interrupted(&bench, &["--workers", "2", "--grace", "100ms"], |pid| {
        stop(workers(pid)[0]);
        kill(pid, Signal::TERM);
    });
    assert_eq!(status, 1);
    let summary = &events.last().expect("some")["summary"];
    let lost = summary["generator"]["lost"].as_array().expect("a list");
    assert_eq!(lost.len(), 1, "{summary:#}");
    let said = lost[0].as_str().expect("text");
    assert!(
        said.starts_with("worker 1 did not end within 5 s") && said.ends_with("are missing"),
        "{said}"
    );
    assert_eq!(summary["ended"], "interrupted");
}

#[test]
fn ctrl_c_before_the_first_user_is_exit_5() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let bench = Bench::new(&format!(
        "base_url: http://{}\nbootstrap: {{steps: [{{get: /}}]}}\ntasks: [{{get: /}}]\nstages: [{{users: 3, for: 1m}}]\n",
        listener.local_addr().expect("bound")
    ));
    let child = bench
        .command(&[])
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    // The bootstrap waits for an answer that never comes.
    let (_held, _) = listener.accept().expect("a connection");
    kill(i32::try_from(child.id()).expect("a pid"), Signal::INT);
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("interrupted in the bootstrap"), "{said}");
}

#[test]
fn a_full_disk_loses_the_file_but_not_the_numbers() {
    let server = Server::start();
    let bench = Bench::new(&scenario(&server));
    let output = bench.run(&[
        "-u",
        "2",
        "-d",
        "1200ms",
        "--events",
        "/dev/full",
        "--html",
        "/dev/full",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let (screen, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(screen.contains("completed"), "{screen}");
    assert!(errors.contains("can't write events"), "{errors}");
    assert!(errors.contains("can't write /dev/full"), "{errors}");
}

#[test]
fn a_reader_that_stops_reading_does_not_stop_the_test() {
    use std::io::Write as _;
    let server = Server::start();
    let bench = Bench::new(&scenario(&server));
    // The pipe is full, and it is not read.
    let (_reader, mut pipe) = std::io::pipe().expect("a pipe");
    pipe.write_all(&vec![b'x'; 64 << 10]).expect("room");
    let output = bench
        .command(&["-u", "2", "-d", "1200ms", "--events", "-", "--save", "saved.json"])
        .stdout(pipe)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("dropped ") && said.contains(" because the reader stopped reading"),
        "{said}"
    );
    let saved = std::fs::read_to_string(bench.path("saved.json")).expect("written");
    let summary: Value = serde_json::from_str(&saved).expect("JSON");
    assert_eq!(summary["ended"], "finished");
}

#[test]
fn a_report_that_does_not_fit_leaves_the_earlier_one() {
    let server = Server::start();
    let bench = Bench::new(&scenario(&server));
    std::fs::write(bench.path("saved.json"), "monday").expect("written");
    // The limit is one block for each file.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_reveille-load"))
        .args([
            "load.yaml",
            "--quiet",
            "-u",
            "2",
            "-d",
            "100ms",
            "--save",
            "saved.json",
        ])
        .current_dir(bench.directory.path())
        .output()
        .expect("started");
    let (screen, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(screen.contains("completed"), "{screen}");
    assert!(errors.contains("can't write saved.json"), "{errors}");
    let saved = std::fs::read_to_string(bench.path("saved.json")).expect("there");
    assert_eq!(saved, "monday");
    let names = std::fs::read_dir(bench.directory.path())
        .expect("readable")
        .count();
    assert_eq!(names, 2, "load.yaml and saved.json");
}

#[test]
fn a_failed_bootstrap_starts_no_user() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nbootstrap: {{steps: [{{get: /missing}}]}}\ntasks: [{{get: /}}]\nstages: [{{users: 3, for: 1m}}]\n",
        server.url()
    ));
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("the bootstrap failed, no user has started: GET /missing: status 404"),
        "{errors}"
    );
    assert_eq!(server.count("/"), 0);
}

#[test]
fn a_threshold_that_aborts_ends_the_test() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nwait: 20ms\ntasks: [{{get: /missing}}]\nstages: [{{users: 3, for: 5m}}]\nthresholds: [{{metric: errors, below: 1%, abort: true}}]\n",
        server.url()
    ));
    let (status, summary) = bench.summary(&[]);
    assert_eq!((status, &summary["ended"]), (6, &"aborted".into()));
    assert_eq!(summary["aborted_by"], "errors < 1%");
}
