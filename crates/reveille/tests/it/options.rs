//! Options and configuration: allowances, canaries, notifications, files, completions.

use reveille_testbed::Testbed;

use crate::support::Reveille;

/// An inventory whose first host does not answer; the other two do.
fn with_a_dead_host(testbed: &Testbed) -> String {
    format!(
        "dead ansible_host=127.0.0.1 ansible_port=1\n{}",
        testbed
            .inventory()
            .replace("[all:vars]\nansible_port", "[live:vars]\nansible_port")
            .replace("host-001", "[live]\nhost-001")
    )
}

#[test]
fn allowed_failures_exit_0_and_are_reported() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", with_a_dead_host(&testbed));
    let exec = |more: &[&str], code: i32| {
        let mut arguments = vec!["exec", "-i", &inventory];
        arguments.extend(more);
        arguments.extend(["--", "true"]);
        reveille.run(&arguments).expect(code)
    };
    exec(&[], 3);
    let ended = exec(&["--allow-failed", "1"], 0);
    assert!(
        ended
            .stderr
            .contains("allowed     1 host did not succeed, within --allow-failed 1"),
        "{}",
        ended.stderr
    );
    exec(&["--allow-failed", "34%"], 0);
    exec(&["--allow-failed", "33%"], 3);
    exec(&["--allow-class", "connect_refused=1"], 0);
    exec(&["--allow-class", "auth_failed=1"], 3);
    let json = exec(&["--allow-class", "connect_refused=1", "--format", "json"], 0).json();
    assert_eq!(json["exit_code"], 0, "{json}");
    assert_eq!(json["account"]["failed"], 1);
    let ended = exec(&["--allow-class", "conect_refused=1"], 2);
    assert!(
        ended.stderr.contains("--allow-class conect_refused=1"),
        "{}",
        ended.stderr
    );
    exec(&["--allow-failed", "many"], 2);
}

#[test]
fn a_canary_that_fails_stops_the_run() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", with_a_dead_host(&testbed));
    let arguments = [
        "exec", "-i", &inventory, "--canary", "1", "--format", "json", "--", "true",
    ];
    let summary = reveille.run(&arguments).expect(3).json();
    assert_eq!(summary["account"]["failed"], 1, "{summary}");
    assert_eq!(summary["account"]["cancelled"], 2, "{summary}");
    let arguments = [
        "exec", "-i", &inventory, "-l", "live", "--canary", "1", "--format", "json", "--", "true",
    ];
    let summary = reveille.run(&arguments).expect(0).json();
    assert_eq!(summary["account"]["success"], 2, "{summary}");
}

#[test]
fn notify_runs_a_command_at_the_end() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    reveille
        .run(&[
            "exec",
            "-i",
            &inventory,
            "--notify",
            "cat >told.json",
            "--",
            "true",
        ])
        .expect(0);
    let told = std::fs::read_to_string(reveille.path().join("told.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["account"]["success"], 1);
    let ended = reveille
        .run(&["exec", "-i", &inventory, "--notify", "exit 7", "--", "true"])
        .expect(0);
    assert!(
        ended.stderr.contains("--notify: `exit 7` failed"),
        "{}",
        ended.stderr
    );
}

#[test]
fn numbers_need_units() {
    let reveille = Reveille::new();
    for (option, value, words) in [
        (
            "--grace",
            "90",
            "the duration `90` has no unit; write `90s` for seconds",
        ),
        ("--idle", "0s", "`0s` is zero"),
        ("--max-output", "1Mb", "`1Mb` is not a size"),
    ] {
        let ended = reveille.run(&["exec", "-i", "none", option, value, "--", "true"]);
        assert_eq!(ended.code, 2, "{option} {value}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[test]
fn paths_of_reports_are_checked_before_anything_is_dispatched() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    reveille.file("file", "mine\n");
    for (option, path) in [
        ("--events", "missing/events"),
        ("--events", "."),
        ("--junit", "missing/junit.xml"),
        ("--export-to", "file"),
    ] {
        let work = "echo x >> $HOME/ran";
        let ended = reveille.run(&["exec", "-i", &inventory, option, path, "--", work]);
        assert_eq!(ended.code, 2, "{option} {path}: {}", ended.stderr);
        let named = format!("{option} {path}: ");
        assert!(ended.stderr.contains(&named), "{}", ended.stderr);
    }
    assert!(!testbed.home().join("ran").exists());
    let kept = std::fs::read_to_string(reveille.path().join("file")).unwrap();
    assert_eq!(kept, "mine\n");
}

#[test]
fn ping_reports_which_hosts_answer() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", with_a_dead_host(&testbed));
    let ended = reveille.run(&["ping", "-i", &inventory]).expect(3);
    assert_eq!(ended.stdout, "");
    assert!(
        ended.stderr.contains("3 planned = 2 succeeded + 1 failed"),
        "{}",
        ended.stderr
    );
}

#[test]
fn prune_deletes_old_runs() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    for _ in 0..2 {
        reveille
            .run(&["exec", "-i", &inventory, "--", "echo x"])
            .expect(0);
    }
    assert_eq!(
        reveille.run(&["prune", "--older-than", "1d"]).expect(0).stdout,
        ""
    );
    let listed = reveille.run(&["prune", "--older-than", "1ms", "-n"]).expect(0);
    assert_eq!(listed.stdout.lines().count(), 2, "{}", listed.stdout);
    let outputs = || std::fs::read_dir(reveille.state().join("runs")).unwrap().count();
    assert_eq!(outputs(), 2);
    let pruned = reveille.run(&["prune", "--older-than", "1ms"]).expect(0);
    assert_eq!(pruned.stdout, listed.stdout);
    assert_eq!(outputs(), 0);
    assert_eq!(reveille.run(&["runs"]).expect(0).stdout, "");
    // The ledger can still be used.
    reveille.run(&["exec", "-i", &inventory, "--", "true"]).expect(0);
    reveille.run(&["audit"]).expect(0);
}

#[test]
fn completions_and_man_pages() {
    let reveille = Reveille::new();
    for shell in ["elvish", "powershell"] {
        let said = reveille.run(&["completions", shell]).expect(0).stdout;
        assert!(said.contains("reveille") && said.contains("inventory"), "{shell}");
    }
    reveille.run(&["man", "--to", "man"]).expect(0);
    let page = std::fs::read_to_string(reveille.path().join("man/reveille-exec.1")).unwrap();
    assert!(page.contains("concurrency"), "{page}");
    assert!(
        page.contains("reveille\\-load(1), reveille\\-mirrorlist(1), ssh_config(5)"),
        "{page}"
    );
    assert!(!reveille.path().join("man/reveille-load.1").exists());
    for heading in ["EXAMPLES", "FILES", "ENVIRONMENT", "\"EXIT STATUS\""] {
        assert!(page.contains(&format!("\n.SH {heading}\n")), "{heading}: {page}");
    }
    assert!(
        page.contains("\n  reveille exec \\-w \\*(Aqweb[01\\-40]\\*(Aq \\-\\- uptime\n"),
        "{page}"
    );
}

#[test]
fn a_run_whose_directory_is_gone_is_pruned_and_comments_stay_on_their_line() {
    let reveille = Reveille::new();
    let exec = [
        "exec",
        "-w",
        "localhost",
        "--transport",
        "local",
        "--comment",
        "one\ntwo",
        "--canary",
        "1",
        "--serial",
        "3",
        "true",
    ];
    let ended = reveille.run(&exec).expect(0);
    assert!(
        ended.stderr.contains("canary of 1 host; in batches of 3"),
        "{}",
        ended.stderr
    );
    let runs = reveille.run(&["runs"]).expect(0).stdout;
    assert_eq!(runs.lines().count(), 2, "{runs}");
    std::fs::remove_dir_all(reveille.state().join("runs")).unwrap();
    reveille.run(&["prune", "--older-than", "1ms"]).expect(0);
    assert_eq!(reveille.run(&["runs"]).expect(0).stdout, "");
}

#[test]
fn options_of_other_tools_are_answered() {
    let reveille = Reveille::new();
    for (arguments, answer) in [
        (
            &["run", "job.yaml", "--forks", "5"][..],
            "the number of hosts at once is -c N",
        ),
        (
            &["exec", "-f", "10", "--", "true"],
            "the number of hosts at once is -c N",
        ),
        (&["exec", "-g", "web", "--", "true"], "choose groups by -l GROUP"),
        (&["run", "job.yaml", "--syntax-check"], "reveille lint FILE"),
        (&["run", "job.yaml", "--extra-vars=a=1"], "set variables by -e"),
    ] {
        let ended = reveille.run(arguments).expect(2);
        assert!(ended.stderr.contains(answer), "{}", ended.stderr);
    }
}

#[test]
fn the_command_of_notify_is_neither_recorded_nor_suggested() {
    let reveille = Reveille::new();
    let job = reveille.file("job.yaml", "steps: [{run: 'exit 3'}]\n");
    for notify in [&["--notify", "true # t0ken"][..], &["--notify=true # t0ken"]] {
        let mut arguments = vec!["run", &job, "-w", "a,b", "--transport", "local"];
        arguments.extend(notify);
        let ended = reveille.run(&arguments).expect(3);
        assert!(
            ended.stderr.contains("reads the job and the inventory again"),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("t0ken"), "{}", ended.stderr);
    }
    for file in ["ledger.db", "ledger.db-wal"] {
        let bytes = std::fs::read(reveille.state().join(file)).unwrap_or_default();
        assert!(!bytes.windows(5).any(|window| window == b"t0ken"), "{file}");
    }
}

#[test]
fn options_of_other_commands_and_tools_are_answered() {
    let reveille = Reveille::new();
    for (words, answer) in [
        (&["retry", "-i", "hosts.ini"][..], "-l @RUN:failed"),
        (&["resume", "--limit", "web"], "-l @RUN:failed"),
        (&["exec", "-e", "a=1", "-w", "a", "--", "true"], "--template"),
        (&["exec", "-C", "-w", "a", "--", "true"], "copy --check"),
        (&["exec", "--check", "-w", "a", "--", "true"], "copy --check"),
        (&["exec", "--diff", "-w", "a", "--", "true"], "copy --diff"),
        (&["exec", "--forks", "5", "--", "true"], "-c N"),
    ] {
        let ended = reveille.run(words).expect(2);
        assert!(ended.stderr.contains(answer), "{words:?}: {}", ended.stderr);
    }
}
