//! Bad input: a clear message, exit status 2, nothing dispatched.

use std::process::Command;

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille};

/// Asserts that bad input is refused before anything is recorded or connected.
#[track_caller]
fn refused(reveille: &Reveille, arguments: &[&str], words: &[&str]) {
    let ended = reveille.run(arguments).expect(2);
    complains(&ended, words);
    assert!(!reveille.state().join("runs").exists(), "something was recorded");
}

#[track_caller]
fn complains(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("error:"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "{word:?} is not in: {}",
            ended.stderr
        );
    }
}

#[test]
fn names_of_ansible_and_sums_with_text_are_answered_with_what_to_write() {
    let reveille = Reveille::new();
    for (expression, hint) in [
        (
            "hostvars['b'].x",
            "a template sees the variables of its own host only",
        ),
        (
            "playbook_dir",
            "omit it: `src` and `to` are relative to the job file",
        ),
        ("ansible_facts.os_family", "use the facts `os.family`"),
        ("keep + 1", "write `(NAME | int)`"),
    ] {
        let job = reveille.file(
            "job.yaml",
            format!("vars: {{keep: 7}}\nsteps: [{{run: \"echo {{{{ {expression} }}}}\"}}]\n"),
        );
        let ended = reveille
            .run(&["run", &job, "-w", "a,", "--plan", "-e", "keep=3"])
            .expect(2);
        assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    }
}

#[test]
fn inventories() {
    let reveille = Reveille::new();
    let exec =
        |inventory: &str, words: &[&str]| refused(&reveille, &["exec", "-i", inventory, "--", "true"], words);
    exec("missing.ini", &["missing.ini", "no such file", "missing.ini,"]);
    exec(&reveille.file("empty.ini", ""), &["empty.ini", "no host"]);
    exec(
        &reveille.file("binary.ini", b"web1\nweb\0\xff2\n"),
        &["binary.ini"],
    );
    exec(
        &reveille.file("cycle.ini", "[a:children]\nb\n[b:children]\na\n[a]\nweb1\n"),
        &["cycle.ini", "a", "b"],
    );
    exec(
        &reveille.file("port.ini", "web1 ansible_port=70000\n"),
        &["70000"],
    );
    exec(&reveille.file("range.ini", "web[9:1]\n"), &["range.ini:1:", "^"]);
    exec("web[01-99999999]", &["99999999"]);
    let large = reveille.path().join("large.ini");
    // A sparse file of a gigabyte is refused because of its size, before it is read.
    std::fs::File::create(&large).unwrap().set_len(1 << 30).unwrap();
    exec(large.to_str().unwrap(), &["large.ini", "64 MiB"]);
    refused(&reveille, &["exec", "--", "true"], &["-i FILE"]);
}

#[test]
fn patterns_and_options() {
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", "[web]\nweb1\nweb2\n[db]\ndb1\n");
    let exec = |options: &[&str], words: &[&str]| {
        let arguments = [&["exec", "-i", &inventory], options, &["--", "true"]].concat();
        let ended = reveille.run(&arguments).expect(2);
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{word:?} is not in: {}",
                ended.stderr
            );
        }
        assert!(!reveille.state().join("runs").exists());
    };
    exec(&["-l", "wbe"], &["wbe", "did you mean `web`"]);
    exec(&["-l", "web:!web"], &["no host"]);
    exec(&["-l", "@last:failed"], &["no ledger"]);
    exec(&["--port", "0"], &["--port"]);
    exec(&["--port", "65536"], &["--port"]);
    exec(&["-c", "0"], &["-c"]);
    exec(&["--serial", "0"], &["--serial", "at least one host"]);
    exec(&["--serial", "5,0%"], &["--serial", "at least one host"]);
    exec(&["-u", ""], &["--user", "value is required"]);
    exec(
        &["--events", "r", "--junit", "./r"],
        &["--junit", "another report is written there"],
    );
    std::fs::create_dir(reveille.path().join("out")).unwrap();
    exec(
        &["--events", "out/events.ndjson", "--export-to", "out"],
        &["--events", "another report is written there"],
    );
    exec(&["--become-user", ""], &["--become-user", "value is required"]);
    exec(
        &["--transport", "local", "-u", "bob"],
        &["--user has no effect with the transport `local`"],
    );
    exec(&["--max-fail", "much"], &["--max-fail", "percentage"]);
    exec(&["--key", "/nowhere/id"], &["/nowhere/id", "No such file"]);
    exec(&["--connect-timeout", "soon"], &["soon", "60s"]);
    exec(&["--format", "json", "--events", "-"], &["--events -"]);
    exec(&["--stdin", "/nowhere/input"], &["/nowhere/input"]);
    let key = reveille.file("not-a-key", "hello");
    exec(&["--key", &key], &["not-a-key", "private key"]);
}

#[test]
fn jobs() {
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", "web1\nweb2 role=db\n");
    let job = |text: &str, words: &[&str]| {
        let job = reveille.file("job.yaml", text);
        let words = [&["job.yaml"], words].concat();
        refused(&reveille, &["run", &job, "-i", &inventory], &words);
    };
    job("", &[]);
    job("steps: []\n", &["needs at least one step"]);
    job(
        "steps:\n  - run: true\n    attemps: 3\n",
        &["attemps", "did you mean `attempts`", ":3:5", "^"],
    );
    job("steps:\n  - run: echo {{ nothing }}\n", &["nothing", ":2:"]);
    job("steps:\n  - run: echo {{ role }}\n", &["role", "web1"]);
    job("steps:\n  - run: {{ role }}\n", &["quote it"]);
    job("steps:\n  - run: true\n    expect: '('\n", &[":3:"]);
    job("steps:\n  - run: true\n    watchdog: {idle: soon}\n", &[":3:"]);
    job("steps:\n\t- run: true\n", &[":2:"]);
    job("steps:\n  - name: nothing to do\n", &[":2:"]);
    job("steps:\n  - run: a\n    script: {src: b}\n", &["run", "script"]);
    let nobody = reveille.file("nobody.yaml", "hosts: nobody\nsteps:\n  - run: true\n");
    refused(
        &reveille,
        &["run", &nobody, "-i", &inventory],
        &["no host or group matches `nobody`"],
    );
    let good = reveille.file("good.yaml", "steps:\n  - run: 'true'\n");
    refused(
        &reveille,
        &["run", &good, "-i", &inventory, "--plan", "--junit", "report.xml"],
        &["--junit has no effect with --plan"],
    );
    let secret = reveille.file(
        "secret.yaml",
        "vars: {pw: {secret: {command: \"printf 'a\\\\0b'\"}}}\nsteps:\n  - {run: 'true', env: {PW: '{{ pw }}'}}\n",
    );
    refused(
        &reveille,
        &["run", &secret, "-w", "localhost", "--transport", "local"],
        &["the secret `pw` contains a zero byte"],
    );
    let unread = reveille.run(&["run", "missing.yaml", "-i", &inventory]).expect(2);
    complains(&unread, &["missing.yaml", "No such file"]);
    let latin = reveille.file("latin.yaml", b"name: caf\xe9\n");
    let unread = reveille.run(&["run", &latin, "-i", &inventory]).expect(2);
    complains(&unread, &["latin.yaml:1:", "UTF-8"]);
}

#[test]
fn state_directories() {
    let reveille = Reveille::new();
    let exec = |directory: &str, words: &[&str]| {
        let ended = reveille
            .run(&["exec", "-w", "web1", "--state-dir", directory, "--", "true"])
            .expect(2);
        complains(&ended, words);
    };
    let file = reveille.file("file", "");
    exec(&file, &["file", "--state-dir"]);
    exec(&format!("{file}/below"), &["--state-dir"]);
    exec("/proc/reveille", &["/proc/reveille", "--state-dir"]);
    let other = reveille.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(
        other.join("ledger.db"),
        "this is no database, though it is long enough to be one\n".repeat(99),
    )
    .unwrap();
    exec(other.to_str().unwrap(), &["ledger.db", "not a ledger"]);
    let newer = reveille.path().join("newer");
    reveille
        .run(&[
            "exec",
            "-w",
            "127.0.0.1:1",
            "--state-dir",
            newer.to_str().unwrap(),
            "--",
            "true",
        ])
        .expect(3);
    let database = rusqlite::Connection::open(newer.join("ledger.db")).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    exec(newer.to_str().unwrap(), &["999", "newer"]);
    let ended = reveille.run(&["runs", "--state-dir", "nowhere"]).expect(2);
    complains(&ended, &["no ledger in "]);
    let ended = reveille
        .run(&["show", "r-nothing", "--state-dir", other.to_str().unwrap()])
        .expect(2);
    complains(&ended, &["not a ledger"]);
}

/// Needs the right to mount a small filesystem.
#[test]
fn a_full_disk() {
    let reveille = Reveille::new();
    let small = reveille.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "reveille-test"])
        .arg(&small)
        .status();
    assert!(
        mounted.unwrap().success(),
        "this test mounts a tmpfs and needs root"
    );
    let ended = reveille.run(&[
        "exec",
        "-w",
        "web1",
        "--state-dir",
        small.to_str().unwrap(),
        "--",
        "true",
    ]);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    complains(&ended.expect(2), &["small"]);
}

/// What is recorded can be read on a full disk, and old runs can be deleted to make space.
#[test]
fn a_full_disk_can_be_read_and_pruned() {
    let reveille = Reveille::new();
    let small = reveille.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32m", "reveille-test"])
        .arg(&small)
        .status();
    assert!(
        mounted.unwrap().success(),
        "this test mounts a tmpfs and needs root"
    );
    let state = small.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let place = ["--state-dir", state];
        reveille.run(&[&arguments[..1], &place, &arguments[1..]].concat())
    };
    let exec = ["exec", "-w", "a", "--transport", "local", "--", "seq 1 100000"];
    let first = run(&exec);
    // Everything that is left.
    let mut rest = std::fs::File::create(small.join("rest")).unwrap();
    while std::io::Write::write(&mut rest, &[0; 4096]).is_ok_and(|written| written > 0) {}
    let second = run(&exec);
    let runs = run(&["runs"]);
    let logs = run(&["logs", "a", "--raw"]);
    let pruned = run(&["prune", "--older-than", "1ms"]);
    let third = run(&exec);
    drop(rest);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    first.expect(0);
    complains(&second.expect(2), &["small", "its disk is full"]);
    assert!(runs.expect(0).stdout.contains(" 1 ok"));
    assert!(logs.expect(0).stdout.ends_with("\n100000\n"));
    pruned.expect(0);
    third.expect(0);
}

/// The disk becomes full during a run: nothing more is dispatched, running commands continue without the controller, and
/// the run can be resumed once there is space.
#[test]
fn a_disk_that_fills_up_during_a_run() {
    let testbed = Testbed::start(8, "").unwrap();
    let reveille = Reveille::new();
    let small = reveille.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "reveille-test"])
            .arg(&small)
            .status();
        assert!(
            mounted.unwrap().success(),
            "this test mounts a tmpfs and needs root"
        );
    };
    mount("size=40m");
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    // Each host keeps its output until the controller has it; all outputs together do not fit on the disk.
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - name: talk\n    run: |\n      echo ran >>\"$HOME/ran-$SSH_CONNECTION\"\n      \
         head -c 7000000 /dev/zero | tr '\\000' x\n      echo the end\n",
    );
    let state = small.to_str().unwrap();
    let first = reveille.run(&["run", &job, "-i", &inventory, "--state-dir", state]);
    mount("remount,size=400m");
    let resumed = reveille.run(&["resume", "--state-dir", state, "--format", "json"]);
    let output = reveille.run(&["logs", "host-008", "--raw", "--state-dir", state]);
    let audit = reveille.run(&["audit", "--state-dir", state]);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    let first = first.expect(1);
    complains(&first, &["disk", "full", "reveille resume"]);
    let summary = resumed.expect(0).json();
    assert_eq!(summary["account"]["success"], 8, "{summary}");
    assert_eq!(summary["account"]["balanced"], true, "{summary}");
    audit.expect(0);
    assert_eq!(output.stdout.len(), 7_000_000 + "the end\n".len());
    assert!(output.stdout.ends_with("xthe end\n"));
    let ran = std::fs::read_dir(testbed.home())
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .map(|text| text.lines().count())
        .sum::<usize>();
    assert_eq!(ran, 8, "nothing ran twice");
}

#[test]
fn no_descriptors_left() {
    let reveille = Reveille::new();
    let command = format!(
        "ulimit -n 20; exec {} exec -w web1 -- true",
        crate::support::binary().display()
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .env("REVEILLE_STATE_DIR", reveille.state())
        .output()
        .unwrap();
    complains(&Ended::of(&output).expect(2), &["ulimit -n"]);
}

#[test]
fn fewer_descriptors_than_hosts_are_said_and_enough() {
    let testbed = Testbed::start(16, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let binary = crate::support::binary();
    let command = format!(
        "ulimit -n 76; exec {} exec -i {inventory} -- true",
        binary.display()
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .env("REVEILLE_STATE_DIR", reveille.state())
        .output()
        .unwrap();
    let ended = Ended::of(&output).expect(0);
    assert!(
        ended.stderr.contains("16 hosts: 12 at once, 4 queued (2 waves)"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("because of the limit of 76 open files"),
        "{}",
        ended.stderr
    );
}

/// `load` and `mirrorlist` start the program beside this one, otherwise the one in `PATH`.
#[test]
fn programs_of_their_own_are_started() {
    use std::os::unix::fs::PermissionsExt as _;

    let reveille = Reveille::new();
    let alone = reveille.path().join("bin/reveille");
    std::fs::create_dir_all(reveille.path().join("bin")).unwrap();
    std::fs::create_dir_all(reveille.path().join("path")).unwrap();
    std::fs::copy(crate::support::binary(), &alone).unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&alone)
            .args(arguments)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", reveille.path().join("path").display()),
            )
            .output()
            .unwrap();
        crate::support::Ended::of(&output)
    };
    let missing = run(&["load", "http://127.0.0.1/"]).expect(2).stderr;
    assert!(
        missing.starts_with("error: reveille-load is neither in "),
        "{missing}"
    );
    assert!(
        missing.contains("cargo build --release -p reveille-load"),
        "{missing}"
    );
    for (place, status) in [("path", 7), ("bin", 8)] {
        let program = reveille.path().join(place).join("reveille-load");
        std::fs::write(
            &program,
            format!("#!/bin/sh\nprintf '%s|' \"$@\"\nexit {status}\n"),
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let said = run(&["load", "-q", "--help", "--", "a b"]).expect(status).stdout;
        assert_eq!(said, "-q|--help|--|a b|");
    }
}
