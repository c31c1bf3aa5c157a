//! Copies files and directories to hosts and back.

use reveille_testbed::Testbed;

use crate::support::Reveille;

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
