//! Options and configuration: allowances, canaries, notifications, files, completions.

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille};

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
fn configuration_is_layered() {
    let reveille = Reveille::new();
    let user = reveille.path().join(".config/reveille");
    std::fs::create_dir_all(&user).unwrap();
    std::fs::write(
        user.join("config.toml"),
        "concurrency = 7\nconnect_timeout = \"3s\"\nserial = [\"1\", \"50%\"]\nhost-key = \"strict\"\n[exec]\nattempts = 4\n",
    )
    .unwrap();
    reveille.file("reveille.toml", "concurrency = 9\nquiet = true\n");
    let output = reveille
        .command(&["config", "show"])
        .env("REVEILLE_HOST_KEY", "off")
        .env("REVEILLE_CONFIG_TEST", "1")
        .output()
        .unwrap();
    let shown = Ended::of(&output).expect(0).stdout;
    let exec = &shown[shown.find("[exec]").unwrap()..shown.find("[run]").unwrap()];
    let home = reveille.path().display();
    for line in [
        "concurrency = \"9\"  # reveille.toml:1".to_owned(),
        format!("connect-timeout = \"3s\"  # {home}/.config/reveille/config.toml:2"),
        "host-key = \"off\"  # REVEILLE_HOST_KEY".to_owned(),
        format!("attempts = \"4\"  # {home}/.config/reveille/config.toml:6"),
        "grace = \"10s\"  # default".to_owned(),
        "# max-fail is not set".to_owned(),
    ] {
        assert!(exec.contains(&line), "{line} is not in\n{exec}");
    }
    // The values have an effect, and the command line wins.
    let ended = reveille.run(&[
        "exec",
        "-w",
        "nowhere.invalid",
        "--host-key",
        "wrong",
        "--",
        "true",
    ]);
    assert!(ended.expect(2).stderr.contains("wrong"));
    reveille.file("reveille.toml", "user = \"x\"\nconcurency = 9\n");
    let ended = reveille.run(&["runs"]).expect(2);
    assert!(
        ended.stderr.contains("reveille.toml:2:1") && ended.stderr.contains("did you mean `concurrency`?"),
        "{}",
        ended.stderr
    );
    reveille.file("reveille.toml", "concurrency = {a = 1}\n");
    let ended = reveille.run(&["runs"]).expect(2);
    assert!(
        ended.stderr.contains("no command `concurrency`"),
        "{}",
        ended.stderr
    );
    reveille.file("reveille.toml", "concurrency = \"many\"\n");
    let ended = reveille.run(&["exec", "-w", "a,", "--", "true"]).expect(2);
    assert!(ended.stderr.contains("many"), "{}", ended.stderr);
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
        page.contains("\n  reveille exec \\-w \\(aqweb[01\\-40]\\(aq \\-\\- uptime\n")
            || page.contains("\n  reveille exec \\-w 'web[01\\-40]' \\-\\- uptime\n")
            || page.contains("\n  reveille exec \\-w \\*(Aqweb[01\\-40]\\*(Aq \\-\\- uptime\n"),
        "{page}"
    );
}

#[test]
fn files_are_copied_and_fetched() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    reveille.file("a {{ b }}.txt", "first\n");
    reveille.file("c.txt", "second\n");
    let there = format!("{}/", testbed.home().display());
    reveille
        .run(&[
            "copy",
            "a {{ b }}.txt",
            "c.txt",
            &there,
            "--mode",
            "0640",
            "-i",
            &inventory,
        ])
        .expect(0);
    let copied = testbed.home().join("a {{ b }}.txt");
    assert_eq!(std::fs::read_to_string(&copied).unwrap(), "first\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&copied.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
    let path = testbed.home().join("c.txt");
    reveille
        .run(&["fetch", path.to_str().unwrap(), "--to", "here", "-i", &inventory])
        .expect(0);
    for host in ["host-001", "host-002"] {
        let fetched = reveille.path().join("here").join(host).join("c.txt");
        assert_eq!(std::fs::read_to_string(fetched).unwrap(), "second\n");
    }
    reveille
        .run(&["copy", "c.txt", "a {{ b }}.txt", "/x", "-i", &inventory])
        .expect(2);
    reveille
        .run(&["copy", "nowhere", "/x", "-i", &inventory])
        .expect(2);
    reveille
        .run(&["copy", "c.txt/", "/x", "-i", &inventory])
        .expect(2);
    reveille
        .run(&["copy", "c.txt", "/x", "--mode", "9", "-i", &inventory])
        .expect(2);
    let ended = reveille
        .run(&["fetch", "/no/such/file", "--to", "here", "-i", &inventory])
        .expect(3);
    assert!(ended.stderr.contains("/no/such/file"), "{}", ended.stderr);
}

#[test]
fn a_tilde_on_hosts_is_the_home_directory_there() {
    let reveille = Reveille::new();
    reveille.file("c.txt", "second\n");
    std::fs::create_dir_all(reveille.path().join("tree/in")).unwrap();
    reveille.file("tree/in/file", "x\n");
    // HOME of the local transport is the test's directory.
    let home = reveille.path();
    std::fs::create_dir(home.join("a b")).unwrap();
    let run = |arguments: &[&str], code: i32| {
        let hosts = ["-w", "one,", "--transport", "local"];
        reveille.run(&[arguments, &hosts].concat()).expect(code)
    };
    run(&["copy", "c.txt", "~/a b/new.txt"], 0);
    assert_eq!(
        std::fs::read_to_string(home.join("a b/new.txt")).unwrap(),
        "second\n"
    );
    run(&["copy", "c.txt", "~/a b/"], 0);
    assert!(home.join("a b/c.txt").exists());
    run(&["copy", "tree", "~/a b/"], 0);
    assert!(home.join("a b/tree/in/file").exists());
    run(&["fetch", "~/a b/new.txt", "~/a b/tree", "--to", "here"], 0);
    assert!(home.join("here/one/new.txt").exists() && home.join("here/one/tree/in/file").exists());
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - upload: {src: c.txt, dest: ~/up}\n  - download: {src: ~/up, to: down}\n",
    );
    let checked = run(&["run", &job, "--check"], 0);
    assert!(
        checked.stderr.contains("files would change on 1 host"),
        "{}",
        checked.stderr
    );
    run(&["run", &job], 0);
    assert_eq!(std::fs::read_to_string(home.join("up")).unwrap(), "second\n");
    assert!(!home.join("~").exists());
    let ended = run(&["copy", "c.txt", "~no-such-user/x"], 3);
    assert!(
        ended
            .stderr
            .contains("~no-such-user is no home directory that the host knows"),
        "{}",
        ended.stderr
    );
}

#[test]
fn directories_are_copied_and_fetched() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    std::fs::create_dir_all(reveille.path().join("conf/sub")).unwrap();
    for (name, content) in [("conf/a", "one"), ("conf/sub/b", "two"), ("conf/it's", "three")] {
        reveille.file(name, content);
    }
    let home = testbed.home();
    let there = format!("{}/", home.display());
    let copied = |source: &str| {
        let ended = reveille.run(&["copy", source, &there, "-c", "1", "-i", &inventory]);
        ended.expect(0).stdout
    };
    // Both hosts share a home directory: the second finds the files that the first received.
    let said = copied("conf");
    assert!(said.contains("3 files sent (11 B), 0 there already"), "{said}");
    assert!(said.contains("0 files sent (0 B), 3 there already"), "{said}");
    assert_eq!(std::fs::read_to_string(home.join("conf/sub/b")).unwrap(), "two");
    copied("conf/");
    assert_eq!(std::fs::read_to_string(home.join("sub/b")).unwrap(), "two");
    let path = home.join("conf");
    for _ in 0..2 {
        reveille
            .run(&["fetch", path.to_str().unwrap(), "--to", "here", "-i", &inventory])
            .expect(0);
        for host in ["host-001", "host-002"] {
            let fetched = reveille.path().join("here").join(host).join("conf");
            assert_eq!(std::fs::read_to_string(fetched.join("it's")).unwrap(), "three");
            assert_eq!(std::fs::read_to_string(fetched.join("sub/b")).unwrap(), "two");
        }
    }
    // A copy without changes, used in a condition.
    let job = reveille.file(
        "job.yaml",
        format!(
            "hosts: host-001\nsteps:\n  - upload: {{src: conf, dest: {there}}}\n    register: conf\n  \
             - run: echo reload\n    when: conf.changed\n"
        ),
    );
    for (content, reloads) in [("one", false), ("ONE", true)] {
        reveille.file("conf/a", content);
        reveille.run(&["run", &job, "-i", &inventory]).expect(0);
        let said = reveille.run(&["logs", "host-001"]).expect(0).stdout;
        assert_eq!(!said.contains("echo reload: skipped"), reloads, "{said}");
    }
}

#[test]
fn a_command_needs_no_dashes_and_quiet_prints_only_failures() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let ended = reveille
        .run(&["exec", "-q", "-i", &inventory, "printf", "%s", "a-b", "-c"])
        .expect(0);
    assert!(ended.stdout.contains("a-b-c"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
    let ended = reveille
        .run(&["exec", "-q", "-i", &inventory, "exit", "3"])
        .expect(3);
    assert!(ended.stderr.contains("1 planned = 1 failed"), "{}", ended.stderr);
    let ended = reveille
        .run(&["exec", "-i", &inventory, "--concurency", "3", "true"])
        .expect(2);
    assert!(ended.stderr.contains("--concurrency"), "{}", ended.stderr);
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
fn lint_finds_what_an_inventory_would_fail_with() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "[web]\na ansible_user='{{ x | uper }}'\nb ansible_port='{{ x }}'\nc other='{{ x | of_ansible }}'\n\
         [web:vars]\nx=none\n",
    );
    let lint = |code| reveille.run(&["lint", &inventory]).expect(code);
    let found = lint(2);
    assert!(found.stdout.is_empty(), "{}", found.stdout);
    for words in [
        "`ansible_user`: its template can't be read: there is no filter `uper`; did you mean `upper`?",
        "hosts.ini:2",
        "`ansible_port`: `none` is not a port (1 to 65535)",
        "hosts.ini:3",
        "warning: `other`: its template can't be read: there is no filter `of_ansible`",
    ] {
        assert!(found.stderr.contains(words), "{words}: {}", found.stderr);
    }
    reveille.file("hosts.ini", "a\nc other='{{ x | of_ansible }}'\n");
    assert!(lint(0).stdout.contains("an inventory of 2 hosts, 1 warning\n"));
}

#[test]
fn lint_tells_jobs_from_inventories() {
    let reveille = Reveille::new();
    let job = reveille.file("job.yml", "hosts: all\nsteps:\n  - run: 'true'\n");
    let inventory = reveille.file("inv.yml", "web:\n  hosts:\n    web[1:3]:\n");
    let lint = |file: &str| reveille.run(&["lint", file]).expect(0).stdout;
    assert!(lint(&job).contains("a job of 1 step,"), "{}", lint(&job));
    assert!(
        lint(&inventory).contains("an inventory of 3 hosts"),
        "{}",
        lint(&inventory)
    );
}

/// The hosts that `reveille hosts` lists.
fn listed(reveille: &Reveille, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = reveille.command(&["hosts"]);
    command.args(arguments).envs(environment.iter().copied());
    let ended = Ended::of(&command.output().unwrap()).expect(0);
    ended.stdout.lines().collect::<Vec<_>>().join(" ")
}

/// Without the file, a command would go to other hosts.
#[test]
fn a_configuration_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let reveille = Reveille::new();
    reveille.file("hosts.ini", "a\n");
    let config = reveille.path().join("reveille.toml");
    std::fs::write(&config, "inventory = \"hosts.ini\"\n").unwrap();
    let set = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (file, directory, why) in [
        (0o646, 0o755, "everyone can write to it"),
        (0o644, 0o757, "everyone can write to its directory"),
    ] {
        set(&config, file);
        set(reveille.path(), directory);
        let ended = reveille.run(&["hosts", "-w", "b"]).expect(2);
        assert!(
            ended.stderr.contains(why) && ended.stderr.contains("chmod"),
            "{}",
            ended.stderr
        );
    }
    // Only the owner of a file replaces it in a sticky directory.
    set(reveille.path(), 0o1777);
    reveille.run(&["hosts"]).expect(0);
    set(reveille.path(), 0o755);
    if std::os::unix::fs::chown(&config, None, Some(34)).is_ok() {
        set(&config, 0o664);
        let ended = reveille.run(&["hosts"]).expect(2);
        assert!(
            ended.stderr.contains("the group 34 can write to it"),
            "{}",
            ended.stderr
        );
        std::os::unix::fs::chown(&config, None, Some(rustix::process::getegid().as_raw())).unwrap();
    }
    // The group of one user alone.
    set(&config, 0o664);
    reveille.run(&["hosts"]).expect(0);
}

/// Ansible reads the variable as a list of files.
#[test]
fn a_missing_file_of_ansibles_variable_is_no_host() {
    let reveille = Reveille::new();
    let other = reveille.file("other.ini", "o1\no2\n");
    let files = format!("{other},typo.ini");
    let output = reveille
        .command(&["hosts"])
        .env("ANSIBLE_INVENTORY", files)
        .output();
    let ended = Ended::of(&output.unwrap()).expect(2);
    assert!(ended.stderr.contains("typo.ini"), "{}", ended.stderr);
}

#[test]
fn hosts_on_the_command_line_replace_configured_ones() {
    let reveille = Reveille::new();
    let other = reveille.file("other.ini", "o1\no2\n");
    reveille.file("hosts.ini", "a\nb\n");
    let config = reveille.path().join("reveille.toml");
    std::fs::write(&config, "inventory = \"hosts.ini\"\n").unwrap();
    let list = |environment: &[(&str, &str)], arguments: &[&str]| listed(&reveille, environment, arguments);
    assert_eq!(list(&[], &[]), "a b");
    assert_eq!(list(&[], &["-w", "typed"]), "typed");
    assert_eq!(list(&[], &["-i", &other]), "o1 o2");
    assert_eq!(
        list(&[], &["-i", &other, "-w", "typed"]),
        "o1 o2 typed",
        "both are typed"
    );
    assert_eq!(list(&[("REVEILLE_HOSTS", "env1")], &[]), "env1");
    assert_eq!(list(&[("REVEILLE_HOSTS", "env1")], &["-i", &other]), "o1 o2");
    assert_eq!(list(&[("REVEILLE_INVENTORY", &other)], &["-w", "typed"]), "typed");
    assert_eq!(list(&[("ANSIBLE_INVENTORY", &other)], &["-w", "typed"]), "typed");
    assert_eq!(
        list(&[("REVEILLE_INVENTORY", &other), ("REVEILLE_HOSTS", "env1")], &[]),
        "o1 o2 env1"
    );
    std::fs::write(&config, "hosts = \"configured\"\n").unwrap();
    assert_eq!(list(&[], &[]), "configured");
    assert_eq!(list(&[], &["-i", &other]), "o1 o2");
    // A run reaches exactly the typed hosts.
    std::fs::write(&config, "inventory = \"hosts.ini\"\n").unwrap();
    let arguments = [
        "exec",
        "-w",
        "typed",
        "--transport",
        "local",
        "--format",
        "json",
        "--",
        "true",
    ];
    let summary = reveille.run(&arguments).expect(0).json();
    assert_eq!(summary["account"]["total"], 1, "{summary}");
    assert_eq!(summary["hosts"][0]["host"], "typed");
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

/// Runs lines as a shell does in which they were pasted.
fn pasted(reveille: &Reveille, lines: &str) -> Ended {
    let mut command = reveille.command(&[]);
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = std::process::Command::new("sh");
    let directory = crate::support::binary().parent().unwrap().display().to_string();
    command
        .args(["-ec", &format!("PATH={directory}:$PATH; umask 022; {lines}")])
        .envs(environment)
        .env_remove("ANSIBLE_INVENTORY")
        .current_dir(reveille.path());
    Ended::of(&command.output().unwrap())
}

#[test]
fn the_files_of_init_pass_lint_and_its_next_commands_work_as_printed() {
    let reveille = Reveille::new();
    let ended = reveille.run(&["init", "a fleet's"]).expect(0);
    assert!(
        ended.stderr.contains("wrote a fleet's/hosts.ini"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stdout.lines().count(), 4, "{}", ended.stdout);
    let ran = pasted(&reveille, &ended.stdout).expect(0);
    assert!(
        ran.stdout.contains("Hello from this-machine."),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    assert!(ran.stderr.contains("hello"), "{}", ran.stderr);
    let linted = pasted(
        &reveille,
        "cd \"a fleet's\"; reveille lint job.yaml; reveille lint hosts.ini",
    )
    .expect(0);
    assert!(linted.stdout.contains("0 warnings"), "{}", linted.stdout);
    let job = std::fs::read_to_string(reveille.path().join("a fleet's/job.yaml")).unwrap();
    let first = job.lines().next().unwrap();
    let schema = first.strip_prefix("# yaml-language-server: $schema=").unwrap();
    let schema = std::fs::read_to_string(reveille.path().join("a fleet's").join(schema)).unwrap();
    assert_eq!(schema, reveille.run(&["schema"]).expect(0).stdout);
}

#[test]
fn init_overwrites_nothing() {
    let reveille = Reveille::new();
    reveille.file("job.yaml", "mine");
    std::os::unix::fs::symlink("nowhere", reveille.path().join("hosts.ini")).unwrap();
    let ended = reveille.run(&["init"]).expect(2);
    assert!(
        ended.stderr.contains("already: hosts.ini, job.yaml;"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        std::fs::read_to_string(reveille.path().join("job.yaml")).unwrap(),
        "mine"
    );
    assert_eq!(std::fs::read_dir(reveille.path()).unwrap().count(), 2);
}

#[test]
fn init_writes_no_configuration_that_reveille_would_refuse() {
    use std::os::unix::fs::PermissionsExt as _;

    let reveille = Reveille::new();
    let directory = reveille.path().join("open");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let ended = reveille.run(&["init", "open"]).expect(2);
    assert!(
        ended.stderr.contains("everyone can write to open"),
        "{}",
        ended.stderr
    );
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    let made = pasted(
        &reveille,
        "umask 000; reveille init made >/dev/null; cd made; reveille hosts",
    )
    .expect(0);
    assert_eq!(made.stdout, "this-machine\n");
}

#[test]
fn exec_fills_in_the_values_of_each_host_and_retry_uses_the_recorded_command() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "[web]\na port=1\nb port=2\n[all:vars]\nansible_connection=local\n",
    );
    let exec = |more: &[&str], code: i32| {
        let mut arguments = vec!["exec", "-i", &inventory];
        arguments.extend(more);
        reveille.run(&arguments).expect(code)
    };
    let command = "echo {{ inventory_hostname }}:{{ port + 1 }}/{{ groups.web | length }}; test -e gone";
    let ended = exec(&["--template", "--", command], 3);
    assert!(
        ended.stdout.contains("a:2/2") && ended.stdout.contains("b:3/2"),
        "{}",
        ended.stdout
    );
    // The inventory is not read again.
    reveille.file("hosts.ini", "a port=8\nb port=9\n");
    let ended = reveille.run(&["retry"]).expect(3);
    assert!(
        ended.stdout.contains("a:2/2") && ended.stdout.contains("b:3/2"),
        "{}",
        ended.stdout
    );
    let count = || reveille.run(&["runs"]).expect(0).stdout.lines().count();
    let before = count();
    // Mistakes come before anything is recorded.
    let ended = exec(
        &["--template", "--", "echo {{ inventory_hostname }} {{ prot }}"],
        2,
    );
    insta::assert_snapshot!(ended.stderr);
    exec(&["--template", "--", "echo {{ inventory_hostname"], 2);
    let ended = exec(&["--template", "--", "uptime"], 2);
    assert!(
        ended.stderr.contains("--template has no effect"),
        "{}",
        ended.stderr
    );
    assert_eq!(count(), before);
}

#[test]
fn exec_warns_of_placeholders_that_only_a_template_fills_in() {
    let reveille = Reveille::new();
    let warnings = |command: &str| {
        let arguments = ["exec", "-w", "a", "--transport", "local", "--", command];
        let ended = reveille.run(&arguments).expect(0);
        let warnings = ended.stderr.lines().filter(|line| line.contains("--template"));
        warnings.count()
    };
    assert_eq!(warnings("echo '{{ inventory_hostname }}'"), 1);
    assert_eq!(
        warnings("echo '{{.Names}} {{json .State}} {{range .a}}{{end}}' '{{' }}"),
        0
    );
    assert_eq!(warnings("echo %host"), 1);
    assert_eq!(warnings("echo %h; date +%h"), 0);
}

#[test]
fn lint_checks_the_pattern_of_a_jobs_hosts() {
    let reveille = Reveille::new();
    reveille.file("hosts.ini", "[web]\nweb[1:3]\n[db]\ndb1\n");
    let mut said = String::new();
    for (hosts, inventory, code) in [
        ("web:!web", false, 2),
        ("'web:!all'", false, 2),
        ("\"~web(\"", false, 2),
        ("'web[1:2'", false, 2),
        ("'web:&'", false, 2),
        ("wbe:&db", false, 0),
        ("'db:wbe'", true, 2),
        ("web:&db", true, 2),
        ("web:!web3", true, 0),
        ("'@last:failed'", true, 0),
    ] {
        let job = format!("name: x\nhosts: {hosts}\nsteps: [{{run: 'true'}}]\n");
        reveille.file("job.yaml", job);
        let mut arguments = vec!["lint", "job.yaml"];
        if inventory {
            arguments.extend(["-i", "hosts.ini"]);
        }
        let ended = reveille.run(&arguments).expect(code);
        if code == 2 {
            said += &format!("{}\n", ended.stderr);
        }
    }
    insta::assert_snapshot!(said);
    // The inventory of the configuration is that of runs; `lint` checks the file alone.
    reveille.file("reveille.toml", "inventory = \"gone.ini\"\n");
    reveille.run(&["lint", "job.yaml"]).expect(0);
    let ended = reveille.run(&["lint", "hosts.ini", "-i", "hosts.ini"]).expect(2);
    assert!(ended.stderr.contains("-i has no effect"), "{}", ended.stderr);
}

#[test]
fn github_gets_folded_groups_annotations_and_a_summary() {
    let reveille = Reveille::new();
    let summary = reveille.file("summary.md", "before\n");
    let run = |more: &[&str], summary: &str, code: i32| {
        let mut arguments = vec!["exec", "-w", "a,b,c", "--transport", "local"];
        arguments.extend(more);
        arguments.extend(["--", "echo '::error::50%, <b>|@me' >&2; exit 7"]);
        let mut command = reveille.command(&arguments);
        command
            .env("CI", "true")
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", summary);
        Ended::of(&command.output().unwrap()).expect(code)
    };
    let ended = run(&[], &summary, 3);
    let commands: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("::"))
        .collect();
    assert_eq!(commands.len(), 3, "{}", ended.stderr);
    assert!(
        commands[0].starts_with("::group::3 hosts: command_failed"),
        "{commands:?}"
    );
    assert_eq!(commands[1], "::endgroup::");
    let title = "::error title=3 hosts%3A command_failed%2C exit status 7::";
    let message = commands[2].strip_prefix(title).unwrap();
    assert!(message.contains("50%25, <b>"), "{message}");
    assert!(
        !ended.stdout.lines().any(|line| line.starts_with("::")),
        "{}",
        ended.stdout
    );
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("before\n### "), "{text}");
    assert!(text.contains("50%, &#60;b&#62;&#124;&#64;me"), "{text}");
    // Data for programs is not mixed with commands.
    let ended = run(&["--format", "json"], &summary, 3);
    assert_eq!(ended.json()["account"]["failed"], 3);
    assert!(!ended.stderr.contains("::error title"), "{}", ended.stderr);
    // A summary that can't be written changes nothing.
    let ended = run(&[], "no/such/directory.md", 3);
    assert!(
        ended.stderr.contains("can't write the summary of the CI job"),
        "{}",
        ended.stderr
    );
    let large = reveille.file("large.md", vec![b'x'; 1 << 20]);
    let ended = run(&[], &large, 3);
    assert!(ended.stderr.contains("more than 1 MiB"), "{}", ended.stderr);
    assert_eq!(std::fs::metadata(large).unwrap().len(), 1 << 20);
}

#[test]
fn a_command_that_is_too_long_for_a_terminal_is_refused_before_it_runs() {
    let reveille = Reveille::new();
    let file = reveille.path().join("ran");
    let job = reveille.file(
        "job.yaml",
        format!(
            "steps:\n- run: 'touch {}; true {}'\n  pty: true\n  durable: false\n",
            file.display(),
            "x".repeat(200_000)
        ),
    );
    let run = [
        "run",
        &job,
        "-w",
        "a,",
        "--transport",
        "local",
        "--format",
        "json",
    ];
    let host = reveille.run(&run).expect(3).json()["hosts"][0].clone();
    assert_eq!(host["class"], "exec_refused", "{host}");
    let message = host["message"].as_str().unwrap();
    assert!(message.contains("too long for a terminal"), "{message}");
    assert!(!file.exists());
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

/// CI systems set variables to nothing.
#[test]
fn empty_variables_choose_no_hosts_and_set_nothing() {
    let reveille = Reveille::new();
    for (name, code, said) in [
        ("REVEILLE_BECOME", 0, "2 succeeded"),
        ("REVEILLE_CONCURRENCY", 0, "2 succeeded"),
        ("REVEILLE_STATE_DIR", 0, "2 succeeded"),
        // All hosts instead of none would be the worst reading of `-l "$TARGET"`.
        ("REVEILLE_LIMIT", 2, "the pattern is empty"),
    ] {
        let mut command = reveille.command(&["exec", "-w", "a,b", "--transport", "local", "--", "true"]);
        let ended = Ended::of(&command.env(name, "").output().unwrap()).expect(code);
        assert!(ended.stderr.contains(said), "{name}: {}", ended.stderr);
    }
}

#[test]
fn paths_in_configuration_files_may_begin_at_home() {
    let reveille = Reveille::new();
    reveille.file("mine.ini", "a ansible_connection=local\n");
    reveille.file("reveille.toml", "inventory = \"~/mine.ini\"\n");
    let hosts = reveille.run(&["hosts"]).expect(0);
    assert_eq!(hosts.stdout, "a\n");
}

#[test]
fn what_is_typed_replaces_what_is_configured() {
    let reveille = Reveille::new();
    reveille.file(
        "reveille.toml",
        "[run]\ntags = [\"one\"]\nallow-class = [\"command_failed=1\"]\n",
    );
    let job = reveille.file(
        "job.yaml",
        "steps:\n- {name: first, tags: one, run: echo first}\n- {name: second, tags: two, run: echo second; false}\n",
    );
    let run = |more: &[&str], code| {
        let words = ["run", &job, "-w", "a,", "--transport", "local", "--stream"];
        reveille.run(&[&words[..], more].concat()).expect(code).stdout
    };
    assert!(run(&[], 0).contains("first"));
    let second = run(&["--tags", "two"], 0);
    assert!(second.contains("second") && !second.contains("first"), "{second}");
    run(&["--tags", "two", "--allow-class", "connect_refused=1"], 3);
}

/// Names that are not text are used as they are, or refused before anything is dispatched.
#[test]
fn environments_and_directories_that_are_no_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let reveille = Reveille::new();
    let odd = OsStr::from_bytes(b"odd-\xff");
    let directory = reveille.path().join(odd);
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("job.yaml"), "steps:\n- run: echo ran\n").unwrap();
    for (words, code) in [
        (&["exec", "-w", "a", "--transport", "local", "--", "true"][..], 0),
        (&["run", "job.yaml", "-w", "a,", "--transport", "local"], 2),
    ] {
        let mut command = reveille.command(words);
        let output = command.env("ODD", odd).current_dir(&directory).output().unwrap();
        let ended = Ended::of(&output).expect(code);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        if code == 2 {
            assert!(ended.stderr.contains("odd-"), "{}", ended.stderr);
        }
    }
    let job = reveille.file("job.yaml", "steps:\n- run: echo {{ env.ODD }}\n");
    let mut command = reveille.command(&["run", &job, "-w", "a,", "--transport", "local"]);
    let ended = Ended::of(&command.env("ODD", odd).output().unwrap()).expect(2);
    assert!(ended.stderr.contains("ODD"), "{}", ended.stderr);
}

#[test]
fn the_end_shows_what_a_host_said_as_it_is() {
    let reveille = Reveille::new();
    let words = [
        "exec",
        "-w",
        "a",
        "--transport",
        "local",
        "--",
        "echo ::a >&2; exit 3",
    ];
    let ended = reveille.run(&words).expect(3);
    assert!(ended.stderr.contains("\n  ::a\n"), "{}", ended.stderr);
}
