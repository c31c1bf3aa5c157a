//! Options from configuration files and the environment.

use crate::support::{Ended, Reveille};

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
