//! Output as it comes, without a terminal.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille};

#[test]
fn a_line_is_printed_when_it_is_whole() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for durable in [false, true] {
        let go = reveille.path().join(format!("go-{durable}"));
        let command = format!(
            "printf 'one\\nha'; echo lost >&2; while [ ! -e {} ]; do sleep 0.02; done; printf 'lf\\nlast'",
            go.display()
        );
        let mut arguments = vec!["exec", "-i", &inventory, "--stream"];
        if durable {
            arguments.push("--durable");
        }
        arguments.extend(["--", &command]);
        let mut child = reveille
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        // The command still runs.
        assert_eq!(line, "host-001: one\n");
        assert!(!go.exists());
        std::fs::write(&go, "").unwrap();
        line.clear();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "host-001: half\n", "no line is torn");
        line.clear();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "host-001: last\n");
        let ended = Ended::of(&child.wait_with_output().unwrap()).expect(0);
        assert!(ended.stderr.contains("host-001: lost\n"), "{}", ended.stderr);
    }
}

#[test]
fn standard_output_is_for_json_alone() {
    let reveille = Reveille::new();
    let job = reveille.file("job.yaml", "steps: [{run: 'echo said; echo more >&2'}]\n");
    let hosts = ["-w", "a,b", "--transport", "local"];
    for (command, options) in [
        (&["exec"][..], &["--stream", "--format", "json"][..]),
        (&["exec"][..], &["--format", "json"][..]),
        (&["run", &job][..], &["--stream", "--format", "json"][..]),
    ] {
        let mut arguments = command.to_vec();
        arguments.extend(hosts);
        arguments.extend(options);
        if command == ["exec"] {
            arguments.extend(["--", "echo said; echo more >&2"]);
        }
        let ended = reveille.run(&arguments).expect(0);
        let summary = ended.json();
        assert_eq!(summary["account"]["success"], 2);
        let streams = options.contains(&"--stream");
        assert_eq!(ended.stderr.contains("a: said\n"), streams, "{}", ended.stderr);
    }
    let mut arguments = vec!["exec"];
    arguments.extend(hosts);
    arguments.extend(["--events", "-", "--", "echo said"]);
    let ended = reveille.run(&arguments).expect(0);
    for line in ended.stdout.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["schema"], 1);
    }
    assert!(
        ended.stderr.contains("a,b (2 hosts)\n  said\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_flood_is_bounded_and_counted() {
    let reveille = Reveille::new();
    let names: Vec<String> = (0..20).map(|number| format!("h{number}")).collect();
    let list = names.join(",");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flood = "head -c 4000000 /dev/zero | tr '\\0' 'x' | fold -w 1000; echo; echo last";
    let child = reveille
        .command(&[
            "exec",
            "-w",
            &list,
            "--transport",
            "local",
            "--stream",
            "--",
            flood,
        ])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.map_or(0, |line| {
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0)
        })
    };
    // The reader takes nothing until the hosts have said everything.
    let mut highest = 0;
    let began = Instant::now();
    loop {
        highest = highest.max(peak());
        let shown = reveille.run(&["show", "--format", "json"]);
        // At first there is no run.
        if shown.code == 0 && shown.json()["account"]["success"] == 20 {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(2));
    }
    highest = highest.max(peak());
    let mut said = Vec::new();
    let reading = std::thread::spawn(move || {
        std::io::Read::read_to_end(&mut reader, &mut said).unwrap();
        said
    });
    let ended = Ended::of(&child.wait_with_output().unwrap()).expect(0);
    let said = reading.join().unwrap();
    assert!(highest < 200_000, "{highest} KiB");
    assert!(said.len() < 80_000_000);
    let told = ended
        .stderr
        .contains("not shown, because they came faster than they could be written")
        || ended.stderr.contains("were not shown");
    assert!(told, "{}", ended.stderr);
}

#[test]
fn no_line_is_made_of_two_streams_and_tabs_stay() {
    let reveille = Reveille::new();
    let go = reveille.path().join("go");
    let command = format!(
        "printf 'par'; sleep 0.1; echo bye >&2; sleep 0.1; printf 'tial\\tend\\n'; head -c 40000 /dev/zero | tr '\\0' x; echo; : > {}",
        go.display()
    );
    let exec = |options: &[&str]| {
        let mut arguments = vec!["exec", "-w", "a", "--transport", "local"];
        arguments.extend(options);
        arguments.extend(["--", &command]);
        reveille.run(&arguments).expect(0)
    };
    let long = "x".repeat(40_000);
    let folded = exec(&[]).stdout;
    assert_eq!(folded, format!("a\n  bye\n  partial\tend\n  {long}\n"));
    let streamed = exec(&["--stream"]);
    assert!(
        streamed.stdout.starts_with("a: partial\tend\na: xxx"),
        "{}",
        &streamed.stdout[..40]
    );
    assert!(streamed.stderr.contains("a: bye\n"));
    let logs = reveille.run(&["logs", "a"]).expect(0).stdout;
    assert!(
        logs.contains("| partial\tend\n") && logs.contains("! bye\n"),
        "{}",
        &logs[..400]
    );
}

#[test]
fn no_text_of_a_host_is_a_command_of_a_ci_server() {
    let reveille = Reveille::new();
    for options in [&[][..], &["--stream"]] {
        let mut arguments = vec!["exec", "-w", "a", "--transport", "local"];
        arguments.extend(options);
        arguments.extend(["--", "echo '##[error]x'; echo '::error::y'; exit 1"]);
        let ended = Ended::of(&reveille.command(&arguments).env("CI", "true").output().unwrap()).expect(3);
        for text in [&ended.stdout, &ended.stderr] {
            assert!(!text.contains("##["), "{text}");
            let begins = text.lines().any(|line| line.trim_start().starts_with("::"));
            assert!(!begins, "{text}");
        }
        assert!(ended.stdout.contains("# #[error]x"), "{}", ended.stdout);
    }
    let logs = reveille
        .command(&["logs", "a"])
        .env("CI", "true")
        .output()
        .unwrap();
    assert!(!Ended::of(&logs).expect(0).stdout.contains("##["));
}

#[test]
fn a_command_that_ended_while_a_child_keeps_its_output_open_is_reported() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let go = reveille.path().join("go");
    let command = format!(
        "nohup sh -c 'while [ ! -e {} ]; do sleep 0.02; done; echo late' & exit 7",
        go.display()
    );
    let mut child = reveille
        .command(&["exec", "-i", &inventory, "--", &command])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = errors.find(|line| line.as_ref().unwrap().contains("keeps its output open"));
    let told = told.unwrap().unwrap();
    assert!(told.contains("the command ended with 7, but"), "{told}");
    // The run does not end earlier because of it.
    assert!(child.try_wait().unwrap().is_none());
    std::fs::write(&go, "").unwrap();
    let rest: Vec<String> = errors.map(Result::unwrap).collect();
    let again = rest.iter().filter(|line| line.contains("keeps its output open"));
    assert_eq!(again.count(), 0, "one line for all hosts: {rest:#?}");
    let ended = Ended::of(&child.wait_with_output().unwrap()).expect(3);
    assert!(ended.stdout.contains("late"), "{}", ended.stdout);
    let logs = reveille.run(&["logs", "--failed"]).expect(0).stdout;
    assert!(logs.contains("keeps its output open"), "{logs}");
}
