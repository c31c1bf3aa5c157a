//! What is said of earlier runs: `runs`, `logs`, and which run is meant by `last`.

use crate::support::{Ended, Reveille};

#[test]
fn runs_are_filtered() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "job.yaml",
        "name: deploy\nsteps: [{run: 'test {{ inventory_hostname }} = a'}]\n",
    );
    let here = ["-w", "a,b", "--transport", "local"];
    let run = |first: &[&str], last: &[&str]| {
        let arguments: Vec<&str> = first.iter().chain(&here).chain(last).copied().collect();
        reveille.run(&arguments)
    };
    run(&["run", &job], &[]).expect(3);
    run(&["exec", "--comment", "all is well"], &["--", "true"]).expect(0);
    run(&["ping"], &[]).expect(0);
    let kinds = |options: &[&str]| -> Vec<String> {
        let mut arguments = vec!["runs", "--format", "json"];
        arguments.extend(options);
        let json = reveille.run(&arguments).expect(0).json();
        assert_eq!(json["schema"], 1);
        let runs = json["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds(&[]), ["ping", "exec", "run"]);
    assert_eq!(kinds(&["--failed"]), ["run"]);
    assert_eq!(kinds(&["--interrupted"]), Vec::<String>::new());
    assert_eq!(kinds(&["--kind", "exec,run"]), ["exec", "run"]);
    assert_eq!(kinds(&["--number", "1"]), ["ping"]);
    assert_eq!(kinds(&["--since", "1h"]).len(), 3);
    assert_eq!(kinds(&["--since", "2999-01-01"]).len(), 0);
    assert_eq!(kinds(&["--since", "2001-01-01T10:15"]).len(), 3);
    let ended = reveille.run(&["runs", "--since", "yesterday"]).expect(2);
    assert!(
        ended.stderr.contains("--since yesterday: neither a duration"),
        "{}",
        ended.stderr
    );
    let table = reveille.run(&["runs"]).expect(0).stdout;
    assert!(
        table.starts_with("RUN ") && table.contains("1 ok, 1 failed"),
        "{table}"
    );
    assert!(table.contains("true  # all is well"), "{table}");
}

#[test]
fn logs_are_of_hosts_steps_and_rounds() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "job.yaml",
        "name: deploy\nsteps:\n  - {name: greet, run: 'printf \"one\\nhalf\"; echo lost >&2'}\n  \
         - {name: check, run: 'echo checked; test {{ inventory_hostname }} = web1'}\n",
    );
    reveille
        .run(&["run", &job, "-w", "web[1-2],db1", "--transport", "local"])
        .expect(3);
    reveille.run(&["retry"]).expect(3);
    let logs = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["logs"].iter().chain(arguments).copied().collect();
        reveille.run(&arguments)
    };
    let one = logs(&["web1"]).expect(0).stdout;
    // The order of the two streams is chance.
    let greeted = [
        "── greet, attempt 1\n| one\n! lost\n| half\n",
        "── greet, attempt 1\n! lost\n| one\n| half\n",
        "── greet, attempt 1\n| one\n| half\n! lost\n",
    ];
    assert!(greeted.iter().any(|greeted| one.contains(greeted)), "{one}");
    assert!(
        !one.contains("token") && !one.contains("── round") && !one.contains("══"),
        "{one}"
    );
    assert!(logs(&["-v", "web1"]).expect(0).stdout.contains("token "));
    let two = logs(&["last", "web2"]).expect(0).stdout;
    assert!(
        two.contains("── round 1\n") && two.contains("── round 2\n"),
        "{two}"
    );
    assert_eq!(two.matches("── check, attempt").count(), 2, "{two}");
    let failed = logs(&["--failed", "--step", "check"]).expect(0).stdout;
    assert!(
        failed.contains("══ web2\n") && failed.contains("══ db1\n") && !failed.contains("web1"),
        "{failed}"
    );
    assert!(
        failed.contains("| checked") && !failed.contains("greet"),
        "{failed}"
    );
    let all = logs(&["web*", "--step", "2"]).expect(0).stdout;
    assert!(
        all.contains("══ web1") && all.contains("══ web2") && !all.contains("db1"),
        "{all}"
    );
    let json = logs(&["web2", "--format", "json"]).expect(0).json();
    assert_eq!(
        json["hosts"][0]["rounds"][1]["outputs"][1]["stdout"], "checked\n",
        "{json}"
    );
    let raw = logs(&["--raw", "web1"]).expect(0).stdout;
    let orders = ["one\nhalflost\nchecked\n", "lost\none\nhalfchecked\n"];
    assert!(orders.contains(&raw.as_str()), "{raw}");
    // The run is over, so that there is nothing to wait for.
    let followed = logs(&["--follow", "web1"]).expect(0).stdout;
    assert_eq!(followed, one);
    for (arguments, words) in [
        (&["nobody"][..], "has no host nobody"),
        (&["--failed", "web1"], "has no failed host web1"),
        (&["web1", "--step", "install"], "its steps are `greet`, `check`"),
        (&[], "name a host, or add --failed"),
        (&["last"], "name a host of the run"),
    ] {
        let ended = logs(arguments).expect(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[test]
fn logs_follow_a_run_until_it_ends() {
    let reveille = Reveille::new();
    let go = reveille.path().join("go");
    let command = format!(
        "echo before; while [ ! -e {} ]; do sleep 0.02; done; echo after",
        go.display()
    );
    let mut run = reveille
        .command(&["exec", "-w", "a,b", "--transport", "local", "-q", "--", &command])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !reveille.run(&["logs", "a"]).stdout.contains("| before") {}
    let follower = reveille
        .command(&["logs", "--follow", "a"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::write(&go, "").unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let ended = Ended::of(&follower.wait_with_output().unwrap()).expect(0);
    assert!(
        ended.stdout.contains("| before\n") && ended.stdout.contains("| after\n"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("success (ok)"), "{}", ended.stdout);
}

#[test]
fn a_command_in_between_does_not_hide_a_failed_job() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "job.yaml",
        "name: deploy\nsteps: [{run: 'test {{ inventory_hostname }} = a'}]\n",
    );
    let exec = |command: &str, code: i32| {
        let arguments = ["exec", "-w", "a,b,c", "--transport", "local", "--", command];
        reveille.run(&arguments).expect(code)
    };
    let last = || {
        let arguments = ["hosts", "-w", "a,b,c", "-l", "@last:failed"];
        reveille.run(&arguments)
    };
    exec("exit 3", 3);
    assert_eq!(last().expect(0).stdout, "a\nb\nc\n");
    let run = ["run", &job, "-w", "a,b,c", "--transport", "local"];
    let ended = reveille.run(&run).expect(3);
    let typed = format!("reveille run {job} -w a,b,c --transport local -l @");
    assert!(ended.stderr.contains(&typed), "{}", ended.stderr);
    exec("true", 0);
    // The command has no failed hosts, so the job is meant.
    let found = last().expect(0);
    assert_eq!(found.stdout, "b\nc\n");
    assert!(found.stderr.contains(", run deploy\n"), "{}", found.stderr);
    let ended = reveille.run(&["retry"]).expect(3);
    assert!(ended.stderr.contains("deploy"), "{}", ended.stderr);
    exec("exit 4", 3);
    assert_eq!(last().expect(0).stdout, "a\nb\nc\n");
    let refused = reveille.run(&["retry"]).expect(2);
    for words in ["name the run to retry", "# run deploy", "# exec exit 4"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    // The command that reads job and inventory again works as it was printed.
    let again = ended
        .stderr
        .lines()
        .find(|line| line.contains("reads the job"))
        .unwrap();
    let words: Vec<&str> = again
        .split_once(" # ")
        .unwrap()
        .0
        .split_whitespace()
        .skip(1)
        .collect();
    reveille.file("job.yaml", "name: deploy\nsteps: [{run: 'true'}]\n");
    let mut arguments = words;
    arguments.extend(["--format", "json"]);
    let summary = reveille.run(&arguments).expect(0).json();
    assert_eq!(summary["account"]["total"], 2, "{summary}");
}
