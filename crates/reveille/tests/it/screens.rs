//! Snapshots of what people and programs read.

use crate::support::Reveille;

/// A run on three hosts of this machine: one succeeds, one fails, and one can't be reached.
fn a_run(reveille: &Reveille) -> crate::support::Ended {
    let inventory = reveille.file(
        "hosts.ini",
        "good ansible_connection=local\nbad ansible_connection=local\ndead ansible_host=127.0.0.1 ansible_port=1\n",
    );
    let job = reveille.file(
        "deploy.yaml",
        "name: deploy\nsteps:\n  - {name: greet, run: 'echo hello; echo oops >&2'}\n  \
         - {name: check, run: 'test {{ inventory_hostname }} = good || exit 7'}\n  \
         - {name: skipped, run: 'true', when: inventory_hostname == 'nobody'}\n",
    );
    reveille
        .run(&[
            "run",
            &job,
            "-i",
            &inventory,
            "--junit",
            &reveille.file("junit.xml", ""),
            "--events",
            &reveille.file("events.ndjson", ""),
        ])
        .expect(3)
}

/// Replaces words that differ from run to run.
fn settled(reveille: &Reveille, text: &str) -> String {
    let patterns = [
        (r"r-\d{8}-\d{6}-[0-9a-f]{4}", "RUN"),
        (r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", "UUID"),
        (
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?[+-]\d\d:?\d\d|Z| UTC)?",
            "TIME",
        ),
        (r"\d+(\.\d+)? (ms|µs|s)\b", "DURATION"),
        (r"\b\d+(\.\d+)?(ms|s)\b", "DURATION"),
        (r"\d+(\.\d+)? MB", "SIZE"),
        (
            r#"("(?:[a-z_]*_ms|[a-z_]*_s|p\d+|max|seed|peak_bytes|controller|seq|hosts|retries|samples|wall_ms|mono_ms|time)": ?)-?[0-9.]+"#,
            "${1}0",
        ),
        (r#"(time|timestamp)="[^"]*""#, "$1=\"0\""),
        (r#"("node"|"user"|"worker"): ?"[^"]*""#, "$1: \"…\""),
        (r#""(boot|machine|mark)":"[^"]*""#, "\"$1\":\"…\""),
        (r"\b[0-9a-f]{64}\b", "SHA256"),
        (r"\b[0-9a-f]{32}\b", "TOKEN"),
        (r"by \S+@\S+", "by USER@NODE"),
        // It is chance whether the start of a short step is noticed, and which host fails first.
        (r"(?m)^.*`\w+` has begun, process \d+\n", ""),
        (r"\b\d\d:\d\d:\d\d\b", "TIME"),
        (r"(?m)^\d\d:\d\d\.\d ", "TIME "),
        (r"DURATION +", "DURATION  "),
        (r"  +DURATION", "  DURATION"),
        (r"TOOK +HOSTS", "TOOK  HOSTS"),
        (r"(?m)^TIME (FAIL|LOOK|LOST|BACK) .*\n", ""),
        (r"(?m)^slowest .*", "slowest     HOSTS"),
        (r"hostname=.[^ ]*.", "HOSTNAME"),
        (r"(127\.\d+\.\d+\.\d+):\d{4,5}\b", "$1:PORT"),
    ];
    let mut text = text.replace(reveille.path().to_str().unwrap(), "DIR");
    for (pattern, with) in patterns {
        text = regex::Regex::new(pattern)
            .unwrap()
            .replace_all(&text, with)
            .into_owned();
    }
    text
}

#[test]
fn the_end_of_a_run() {
    let reveille = Reveille::new();
    let ended = a_run(&reveille);
    insta::assert_snapshot!("end", settled(&reveille, &ended.stderr));
    let show = |arguments: &[&str]| settled(&reveille, &reveille.run(arguments).stdout);
    insta::assert_snapshot!("show", show(&["show"]));
    insta::assert_snapshot!("runs", show(&["runs"]));
    insta::assert_snapshot!("logs", show(&["logs", "bad"]));
    insta::assert_snapshot!("audit", show(&["audit"]));
    let mut json = reveille.run(&["show", "--format", "json"]).json();
    // It is chance which of the hosts is slow.
    json["timing"]["slowest"].take();
    let pretty = serde_json::to_string_pretty(&json).unwrap();
    insta::assert_snapshot!("json", settled(&reveille, &pretty));
    let events = std::fs::read_to_string(reveille.path().join("events.ndjson")).unwrap();
    let of_host = events.lines().filter(|line| line.contains(r#""host":"bad""#));
    // It is chance whether the start of a short step is noticed.
    let sure: Vec<&str> = of_host.filter(|line| !line.contains("step_began")).collect();
    insta::assert_snapshot!("events", settled(&reveille, &sure.join("\n")));
    let junit = std::fs::read_to_string(reveille.path().join("junit.xml")).unwrap();
    insta::assert_snapshot!("junit", settled(&reveille, &junit));
}

/// The commands with their exit statuses and all that they print.
fn transcript(reveille: &Reveille, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for arguments in commands {
        let ended = reveille.run(arguments);
        text += &format!(
            "$ reveille {}\n{}{}[{}]\n\n",
            arguments.join(" "),
            ended.stdout,
            ended.stderr,
            ended.code
        );
    }
    settled(reveille, &text)
}

#[test]
fn one_off_commands() {
    let reveille = Reveille::new();
    reveille.file(
        "hosts.ini",
        "[web]\nweb1 ansible_connection=local\nweb2 ansible_connection=local api_token=x\n[dead]\n\
         dead1 ansible_host=127.0.0.1 ansible_port=1\ndead2 ansible_host=127.0.0.2 ansible_port=1\n",
    );
    let commands: &[&[&str]] = &[
        &["ping", "-i", "hosts.ini"],
        &[
            "exec",
            "-i",
            "hosts.ini",
            "-l",
            "web",
            "--canary",
            "1",
            "--",
            "echo hello; exit 3",
        ],
        &[
            "copy",
            "-i",
            "hosts.ini",
            "-l",
            "web1",
            "hosts.ini",
            "copied",
            "--max-fail",
            "1",
        ],
        &[
            "fetch",
            "-i",
            "hosts.ini",
            "-l",
            "web1",
            "copied",
            "--to",
            "fetched",
        ],
        &["retry"],
        &["runs"],
        &["clean"],
        &["prune", "--older-than", "1h", "--dry-run"],
        &["hosts", "-i", "hosts.ini", "--vars", "-l", "web"],
        &[
            "hosts",
            "-i",
            "hosts.ini",
            "--why",
            "all",
            "--port",
            "99",
            "-u",
            "ann",
        ],
        &["explain", "connect_refused"],
    ];
    insta::assert_snapshot!(transcript(&reveille, commands));
}

#[test]
fn mistakes_on_the_command_line() {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", "web1 ansible_connection=local\n");
    reveille.run(&["exec", "-i", "hosts.ini", "true"]).expect(0);
    reveille.file(
        "ways.ini",
        "a ansible_host=127.0.0.1\np ansible_ssh_common_args='-o ProxyCommand=nc'\nz ansible_host=127.0.0.2\n",
    );
    let commands: &[&[&str]] = &[
        &["logs", "last"],
        &["logs", "web2"],
        &["explain", "comand_failed"],
        &["explain", "no"],
        &["exec", "-i", "hosts.ini", "-l", "db", "true"],
        &["exec", "-i", "hosts.ini", "--serial", "0", "true"],
        &["exec", "-i", "hosts.ini", "--max-fail", "many", "true"],
        &["hosts", "-i", "hosts.ini", "--port", "99"],
        &[
            "hosts",
            "-i",
            "ways.ini",
            "--why",
            "all",
            "--transport",
            "native",
            "-u",
            "ann",
        ],
        &["drill", "--fault", "none", "--fault", "refuse=1"],
        &["show", "r-1"],
    ];
    insta::assert_snapshot!(transcript(&reveille, commands));
}

#[test]
fn a_drill() {
    let reveille = Reveille::new();
    let drill: &[&str] = &[
        "drill",
        "--hosts",
        "12",
        "--fault",
        "drop_once=1",
        "--fault",
        "refuse=2",
        "--fault",
        "exit_100=1",
    ];
    insta::assert_snapshot!(transcript(&reveille, &[drill]));
}

#[test]
fn a_man_page() {
    let reveille = Reveille::new();
    reveille.run(&["man", "--to", "man"]).expect(0);
    let page = std::fs::read_to_string(reveille.path().join("man/reveille-logs.1")).unwrap();
    insta::assert_snapshot!(page);
}

#[test]
fn mistakes_at_lint() {
    let reveille = Reveille::new();
    for (name, text) in [
        (
            "job.yaml",
            "nmae: x\nsteps:\n  - {run: 'echo {{ shade | uper }}', attemps: 3}\n  - {run: id, idle: 90}\n",
        ),
        ("hosts.ini", "web[1:3 ansible_port=99999\n[web:children]\ndb\n"),
        ("empty.yaml", ""),
    ] {
        reveille.file(name, text);
    }
    let commands: &[&[&str]] = &[
        &["lint", "job.yaml"],
        &["lint", "hosts.ini"],
        &["lint", "empty.yaml"],
    ];
    insta::assert_snapshot!(transcript(&reveille, commands));
}
