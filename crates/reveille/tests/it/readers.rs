//! A stalled reader of the program's output does not stop the run.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille};

/// Fills a pipe, and keeps it full.
fn fill(mut pipe: impl std::io::Write + Send + 'static) {
    std::thread::spawn(move || {
        let _ = pipe.write_all(&vec![b'x'; 4 << 20]);
    });
}

#[test]
fn a_fifo_that_nobody_reads_does_not_stop_the_run() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let fifo = reveille.path().join("events");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    // Opened for reading and writing, so that opening does not block.
    let reader = File::options().read(true).write(true).open(&fifo).unwrap();
    fill(reader.try_clone().unwrap());
    let events = fifo.to_str().unwrap();
    let began = Instant::now();
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - {run: sleep 60, watchdog: {idle: 2s}, attempts: 1}\n",
    );
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--events", events])
        .expect(3);
    assert!(
        ended.stderr.contains("the last events were not written to "),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("watchdog_idle"), "{}", ended.stderr);
    // The deadline, five seconds for the reader, and time for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // The same with a FIFO that has no reader.
    let _ = std::fs::remove_file(&fifo);
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let ended = reveille
        .run(&["exec", "-i", &inventory, "--events", events, "--", "true"])
        .expect(0);
    assert!(
        ended.stderr.contains("the last events were not written to "),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_reader_of_events_that_leaves_is_missed() {
    let reveille = Reveille::new();
    let fifo = reveille.path().join("events");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let gone = reveille.path().join("gone");
    let command = format!("until [ -e {} ]; do sleep 0.05; done", gone.display());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut reader = File::open(fifo).unwrap();
            std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
            drop(reader);
            std::fs::write(gone, "").unwrap();
        }
    });
    let events = fifo.to_str().unwrap();
    let exec = [
        "exec",
        "-w",
        "localhost",
        "--transport",
        "local",
        "--events",
        events,
        &command,
    ];
    let ended = reveille.run(&exec).expect(0);
    reader.join().unwrap();
    assert!(
        ended.stderr.contains("because its reader has left"),
        "{}",
        ended.stderr
    );
}

#[test]
fn two_signals_end_a_program_whose_terminal_is_stalled() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let started = reveille.path().join("started");
    let (_reader, screen) = std::io::pipe().unwrap();
    let mut child = reveille
        .command(&[
            "exec",
            "-i",
            &inventory,
            "--durable",
            "--",
            &format!("echo said; : > {}; sleep 60", started.display()),
        ])
        .stdout(Stdio::null())
        .stderr(screen.try_clone().unwrap())
        .spawn()
        .unwrap();
    while !started.exists() {
        std::thread::yield_now();
    }
    fill(screen);
    let began = Instant::now();
    let pid = child.id().to_string();
    // Two signals that arrive together count as one, so the test sends more until the program ends.
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "the program does not end"
        );
        let sent = std::process::Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.is_ok());
    };
    assert_eq!(ended.code(), Some(5));
}

#[test]
fn a_stalled_pager_delays_no_deadline() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let (mut reader, pager) = std::io::pipe().unwrap();
    let said = "head -c 300000 /dev/zero | tr '\\0' 'x' | fold; echo; echo last";
    let arguments = ["exec", "-i", &inventory, "--no-fold", "--", said];
    let child = reveille
        .command(&arguments)
        .stdout(pager)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The run ends although nobody reads its output.
    let ended = Ended::of(&child.wait_with_output().unwrap()).expect(0);
    assert!(
        ended
            .stderr
            .contains("were not shown, because their reader has stalled"),
        "{}",
        ended.stderr
    );
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut said).unwrap();
    assert!(!said.is_empty());
    // A reader that does not stall gets everything.
    let ended = reveille.run(&arguments).expect(0);
    assert!(
        ended.stdout.ends_with("host-001: last\n"),
        "{}",
        ended.stdout.len()
    );
    assert!(ended.stdout.len() > 300_000);
}

/// A pipe that its reader has closed, as after `| head -1`.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_changes_no_exit_status_and_skips_no_report() {
    let reveille = Reveille::new();
    let junit = reveille.path().join("junit.xml");
    let told = reveille.path().join("told");
    let notify = format!("cat > {}", told.display());
    let exec = [
        "exec",
        "-w",
        "a,b",
        "--transport",
        "local",
        "--junit",
        junit.to_str().unwrap(),
        "--notify",
        &notify,
        "--",
        "echo said; exit 3",
    ];
    for option in [None, Some("--no-fold"), Some("--format=json"), Some("--events=-")] {
        let mut arguments = exec.to_vec();
        if let Some(option) = option {
            arguments.insert(1, option);
        }
        let ended = reveille
            .command(&arguments)
            .stdout(closed_pipe())
            .output()
            .unwrap();
        let ended = Ended::of(&ended).expect(3);
        if option != Some("--format=json") {
            assert!(
                ended.stderr.contains("2 planned = 2 failed; all accounted for"),
                "{}",
                ended.stderr
            );
        }
        assert!(
            std::fs::read_to_string(&junit)
                .unwrap()
                .contains("failures=\"2\"")
        );
        assert!(std::fs::read_to_string(&told).unwrap().contains("\"failed\":2"));
        std::fs::remove_file(&junit).unwrap();
        std::fs::remove_file(&told).unwrap();
    }
    for (arguments, code) in [
        (&["hosts", "-w", "a,b", "--why", "a"][..], 0),
        (&["show"], 0),
        (&["show", "--follow"], 0),
        (&["audit"], 0),
        (&["lint", "missing.yaml"], 2),
    ] {
        let ended = reveille
            .command(arguments)
            .stdout(closed_pipe())
            .output()
            .unwrap();
        Ended::of(&ended).expect(code);
    }
}

#[test]
fn a_signal_while_the_report_waits_for_its_reader_keeps_the_exit_status() {
    for (status, expected) in [("0", 0), ("7", 3)] {
        let reveille = Reveille::new();
        let (_reader, screen) = std::io::pipe().unwrap();
        let said = format!("head -c 300000 /dev/zero | tr '\\0' 'x' | fold; exit {status}");
        let mut child = reveille
            .command(&["exec", "-w", "a,b", "--transport", "local", "--", &said])
            .stdout(screen)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The run is over, and its report fills the pipe.
        while !reveille.run(&["runs"]).stdout.contains("closed") {}
        let pid = child.id().to_string();
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
            assert!(sent.is_ok());
        };
        assert_eq!(ended.code(), Some(expected));
    }
}
