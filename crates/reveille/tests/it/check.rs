//! `run --check` and `--diff` against real servers.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reveille_testbed::Testbed;

use crate::support::Reveille;

/// Every file below a directory, with its mode and content.
fn everything(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
            if path.is_dir() {
                found.insert(path.clone(), (mode, Vec::new()));
                left.push(path);
            } else {
                found.insert(path.clone(), (mode, std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found
}

#[test]
fn a_check_tells_what_would_change_and_changes_nothing() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", testbed.inventory());
    reveille.file("conf.j2", "one\n{{ two }}\n");
    reveille.file("pw.j2", "{{ pw }}\n");
    reveille.file("same", "same\n");
    std::fs::create_dir_all(reveille.path().join("dir/below")).unwrap();
    reveille.file("dir/below/new", "new\n");
    let home = testbed.home();
    std::fs::write(home.join("conf"), "one\n2\n").unwrap();
    std::fs::write(home.join("same"), "same\n").unwrap();
    std::fs::write(home.join("pw"), "old\n").unwrap();
    std::fs::set_permissions(home.join("same"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let job = reveille.file(
        "job.yaml",
        "vars: {two: '3', pw: {secret: {env: PW}}}\nsteps:\n\
         - {name: conf, template: {src: conf.j2, dest: HOME/conf}, register: conf}\n\
         - {name: same, upload: {src: same, dest: HOME/same}, register: same}\n\
         - {name: mode, upload: {src: same, dest: HOME/same, mode: '0644'}}\n\
         - {name: secret, template: {src: pw.j2, dest: HOME/pw}}\n\
         - {name: new, upload: {src: same, dest: HOME/nowhere/x}}\n\
         - {name: tree, upload: {src: dir, dest: HOME}}\n\
         - {name: restart, run: touch HOME/restarted, when: conf.changed, register: restart}\n\
         - {name: not, run: touch HOME/not, when: same.changed}\n\
         - {name: asks, run: cat HOME/conf, check: true, register: said}\n\
         - {name: after, run: touch HOME/after, when: 'restart.stdout == ''x'''}\n\
         - {name: text, upload: {src: same, dest: '{{ restart.stdout }}'}}\n\
         - {name: known, template: {src: conf.j2, dest: HOME/conf}, when: said.stdout != ''}\n\
         - {name: there, run: touch HOME/there, skip_if: {exists: HOME/conf}}\n\
         - reboot: {}\n\
         - {name: fetch, download: {src: HOME/conf, to: got}}\n\
         on_failed:\n- {run: touch HOME/failed}\n"
            .replace("HOME", &home.display().to_string()),
    );
    let before = everything(&home);
    let run = |arguments: &[&str]| {
        let mut command = reveille.command(&[&["run", &job, "-i", &inventory], arguments].concat());
        command.env("PW", "hunter2").output().unwrap()
    };
    let ended = run(&["--check", "--diff", "--format", "json"]);
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(everything(&home), before);
    assert!(!reveille.path().join("got").exists());
    let said = reveille.run(&["logs", "host-001", "--raw"]).expect(0).stdout;
    for told in [
        "HOME/conf would change: content\n--- HOME/conf\n+++ HOME/conf\n@@ -1,2 +1,2 @@\n one\n-2\n+3\n",
        "HOME/same would not change\n",
        "HOME/same would change: mode 0600 to 0644\n",
        "HOME/pw would change: content\nthe difference is not shown: the template uses secrets\n",
        "HOME/nowhere/x would change: it is new, and its directory has to be made first\n--- /dev/null\n+++ HOME/nowhere/x\n@@ -0,0 +1 @@\n+same\n",
        "HOME/dir would change: it is new, 1 file to send (below/new)\n",
    ] {
        let told = told.replace("HOME", &home.display().to_string());
        assert!(said.contains(&told), "{told}\nis not in\n{said}");
    }
    let logs = reveille.run(&["logs", "host-001"]).expect(0).stdout;
    for (step, told) in [
        ("restart", "would run"),
        ("not", "its condition is false"),
        (
            "after",
            "not checked: its `when` needs the result of a step that did not run",
        ),
        ("text", "would run, with the result of a step that did not run"),
        ("there", "HOME/conf exists"),
        ("reboot", "would reboot"),
        ("fetch", "would download"),
    ] {
        let told = told.replace("HOME", &home.display().to_string());
        let line = logs
            .lines()
            .find(|line| line.contains(&format!("  {step}: skipped: ")));
        assert!(
            line.is_some_and(|line| line.ends_with(&told)),
            "{step}: {told}\n{logs}"
        );
    }
    assert!(!logs.contains("hunter2"), "{logs}");
    let runs = reveille.run(&["runs"]).expect(0).stdout;
    assert!(runs.contains("  check "), "{runs}");

    // Without --check, the differences are those of what was changed.
    let ended = run(&["--diff", "--tags", "never", "-q"]);
    assert_eq!(ended.status.code(), Some(2));
    let simple = reveille.file(
        "simple.yaml",
        "vars: {two: '3'}\nsteps:\n- {template: {src: conf.j2, dest: HOME/conf}}\n- {template: {src: conf.j2, dest: HOME/conf}}\n"
            .replace("HOME", &home.display().to_string()),
    );
    let ended = reveille
        .run(&["run", &simple, "-i", &inventory, "--diff"])
        .expect(0);
    let path = home.join("conf").display().to_string();
    assert_eq!(
        ended.stdout,
        format!(
            "template conf.j2: host-001\n  --- {path}\n  +++ {path}\n  @@ -1,2 +1,2 @@\n   one\n  -2\n  +3\n"
        )
    );
    assert_eq!(std::fs::read_to_string(home.join("conf")).unwrap(), "one\n3\n");
    let logs = reveille.run(&["logs", "host-001", "--raw"]).expect(0).stdout;
    assert_eq!(
        logs,
        format!("--- {path}\n+++ {path}\n@@ -1,2 +1,2 @@\n one\n-2\n+3\n")
    );
}

#[test]
fn a_check_says_what_a_run_would_do_on_how_many_hosts() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "a\nb\nc new=yes\n[all:vars]\nansible_connection=local\nnew=no\n",
    );
    reveille.file("file", "new\n");
    reveille.file("there", "old\n");
    let directory = reveille.path().display().to_string();
    let job = reveille.file(
        "job.yaml",
        "steps:\n\
         - {name: file, upload: {src: file, dest: HERE/there}, when: new == 'yes', register: file}\n\
         - {name: same, upload: {src: file, dest: HERE/file}}\n\
         - {name: restart, run: touch HERE/restarted, when: file.changed, register: restart}\n\
         - {name: after, run: touch HERE/after, when: not restart.skipped and restart.stdout == 'x'}\n"
            .replace("HERE", &directory),
    );
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--check", "--diff"])
        .expect(0);
    assert_eq!(
        ended.stdout,
        format!(
            "file: c\n  {directory}/there would change: content\n  --- {directory}/there\n  +++ {directory}/there\n  \
             @@ -1 +1 @@\n  -old\n  +new\n"
        )
    );
    let table = [
        "check       files would change on 1 host; other steps would run on 1 host; some can't be checked on 1 host; nothing was changed",
        "steps                 ran  changes  would run  unknown  skipped  failed",
        "            file        1        1          0        0        2       0",
        "            same        3        0          0        0        0       0",
        "            restart     0        0          1        0        2       0",
        "            after       0        0          0        1        2       0",
    ];
    let shown: Vec<&str> = ended.stderr.lines().collect();
    let begin = shown.iter().position(|line| *line == table[0]);
    let begin = begin.unwrap_or_else(|| panic!("{}", ended.stderr));
    assert_eq!(shown[begin..begin + table.len()], table);
    assert!(!reveille.path().join("restarted").exists());
}

#[test]
fn a_check_claims_nothing_about_hosts_that_it_did_not_check() {
    let reveille = Reveille::new();
    reveille.file("file", "new\n");
    let words = [
        "copy",
        "file",
        "/nowhere/x",
        "--check",
        "-w",
        "127.0.0.1",
        "--port",
        "1",
    ];
    let ended = reveille.run(&words).expect(3);
    assert!(
        ended.stderr.contains("\ncheck       unknown on 1 host\n"),
        "{}",
        ended.stderr
    );
    let job = reveille.file(
        "job.yaml",
        "steps:\n- {run: \"test {{ inventory_hostname }} = b\", check: true}\n",
    );
    let words = ["run", &job, "--check", "-w", "a,b,c", "--transport", "local"];
    let ended = reveille.run(&words).expect(3);
    assert!(
        ended
            .stderr
            .contains("\ncheck       no file would change; nothing was changed; unknown on 2 hosts\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_copy_can_be_checked() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", "a ansible_connection=local\n");
    reveille.file("file", "new\n");
    let there = reveille.file("there", "old\n");
    let copy = |arguments: &[&str]| {
        let words = [&["copy", "file", &there, "-i", &inventory], arguments].concat();
        reveille.run(&words).expect(0)
    };
    let checked = copy(&["--check", "--diff"]);
    let difference = format!("  --- {there}\n  +++ {there}\n  @@ -1 +1 @@\n  -old\n  +new\n");
    assert_eq!(
        checked.stdout,
        format!("copy file: a\n  {there} would change: content\n{difference}")
    );
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "old\n");
    let runs = reveille.run(&["runs"]).expect(0).stdout;
    assert!(runs.contains("  check  closed"), "{runs}");
    // The run is nobody's idea of a run to repeat, and its file is no job file that could have changed.
    let shown = reveille.run(&["show", "@last"]).expect(0);
    assert!(shown.stderr.is_empty(), "{}", shown.stderr);

    assert_eq!(copy(&["--diff"]).stdout, format!("copy file: a\n{difference}"));
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "new\n");
    assert_eq!(copy(&["--check"]).stdout, "");
}

#[test]
fn what_changes_nothing_never_counts_as_a_change() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "job.yaml",
        "steps:\n\
         - {name: asks, run: echo asked, check: true, register: asks}\n\
         - {name: waits, wait_for: {command: 'true'}, register: waits}\n\
         - {name: acts, run: echo acted, register: acts}\n\
         - {name: sums, run: 'echo {{ asks.changed }} {{ waits.changed }} {{ acts.changed }}', check: true}\n",
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
    let summary = reveille.run(&run).expect(0).json();
    let steps = summary["hosts"][0]["steps"].as_array().unwrap();
    let changed: Vec<_> = steps.iter().map(|step| step["changed"] == true).collect();
    assert_eq!(changed, [false, false, true, false]);
    assert_eq!(summary["hosts"][0]["stdout"], "False False True\n");
}

#[test]
fn a_check_heals_nothing_and_repeats_itself_as_a_check() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", "a ansible_connection=local\n");
    let job = reveille.file(
        "job.yaml",
        "steps:\n- {run: exit 3, check: true}\n- {run: touch ran}\non_failed:\n- {run: touch rescued}\n\
         heal: {repair: [{on: [command_failed], run: touch repaired}], reboot: true, replace: touch replaced}\n",
    );
    let run = |arguments: &[&str]| reveille.run(arguments).expect(3);
    run(&["run", &job, "-i", &inventory, "--check"]);
    run(&["retry"]);
    for name in ["ran", "rescued", "repaired", "replaced"] {
        assert!(!reveille.path().join(name).exists(), "{name}");
    }
}
