//! `service-restart`, `log-collection`, `package-audit`.

use super::{Example, changes};

/// A service that listens once it is restarted. The port that the job waits for is that of the host's sshd.
const SYSTEMCTL: &str = r#"
echo "$address $*" >>../order
[ ! -e broken ]
"#;

#[test]
fn groups_are_restarted_in_their_order_and_only_where_the_settings_changed() {
    let hosts = ["db01", "app01", "app02", "web01", "web02"];
    let example = Example::new("service-restart", &hosts, &[("systemctl", SYSTEMCTL)]);
    let serves = example.inside("serves", "fleet.conf");
    let port = format!("port={}", example.testbed.port());
    let in_order = |more: &[&str]| {
        let arguments = [
            "-i",
            "hosts.ini",
            "-i",
            "../addresses.ini",
            "-e",
            &serves,
            "-e",
            &port,
        ];
        std::process::Command::new("./in-order")
            .args(arguments)
            .args(more)
            .current_dir(&example.directory)
            .env("HOME", example.root())
            .env("PATH", super::path(example.root()))
            .env("REVEILLE_STATE_DIR", example.reveille.state())
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("ANSIBLE_INVENTORY")
            .output()
            .unwrap()
    };
    let order = || {
        let log = std::fs::read_to_string(example.root().join("order")).unwrap_or_default();
        let words = log
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned());
        words.collect::<Vec<_>>()
    };
    // The database does not come up: the others keep running with what they have.
    example.write("db01", "broken", "");
    let failed = in_order(&[]);
    assert_eq!(failed.status.code(), Some(3));
    // An idempotent step has three attempts.
    assert_eq!(order(), ["postgresql"; 3]);
    std::fs::remove_file(example.root().join("order")).unwrap();
    assert!(!example.on("app01", "fleet.conf").exists());

    // In a new run the settings of the database are unchanged, so `force` is needed; a retry needs nothing.
    std::fs::remove_file(example.on("db01", "broken")).unwrap();
    example.then(&["retry", "--format", "json"]).expect(0);
    assert_eq!(order(), ["postgresql"]);
    let whole = in_order(&[]);
    assert_eq!(
        whole.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&whole.stderr)
    );
    let everything = ["postgresql", "app", "app", "nginx", "nginx"];
    assert_eq!(order(), everything);
    assert_eq!(in_order(&[]).status.code(), Some(0));
    assert_eq!(order(), everything);
    assert_eq!(in_order(&["-e", "force=true"]).status.code(), Some(0));
    assert_eq!(order().len(), everything.len() + hosts.len());
    let conf = example.read("web02", "fleet.conf");
    assert_eq!(
        conf,
        "# Written by Reveille for web02.\nworkers = 4\ndatabases = db01\n"
    );
    let checked = example
        .run(&["--check", "-e", &serves, "-e", &port, "-e", "workers=8"])
        .expect(0);
    assert_eq!(changes(&checked).len(), hosts.len());
    assert_eq!(order().len(), everything.len() + hosts.len());
}

#[test]
fn logs_of_each_host_are_fetched_once_and_a_host_without_them_does_not_hold_up_others() {
    let example = Example::new(
        "log-collection",
        &["web01", "web02", "web03"],
        &[("journalctl", r#"echo "$address: $*""#)],
    );
    for host in ["web01", "web02"] {
        example.write(host, "log/access.log", host);
        example.write(host, "log/old/access.log.1", "old");
    }
    let logs = example.inside("logs", "log");
    let collect = |more: &[&str]| example.run(&[&["-e", &logs][..], more].concat());
    let collected = |file: &str| std::fs::read_to_string(example.directory.join("collected").join(file));
    collect(&["--check"]).expect(0);
    assert!(!example.directory.join("collected").exists());
    let first = collect(&[]).expect(3);
    assert_eq!(first.json()["account"]["success"], 2);
    assert!(changes(&first).is_empty(), "{:?}", changes(&first));
    assert_eq!(collected("web01/log/access.log").unwrap(), "web01");
    assert_eq!(collected("web02/log/old/access.log.1").unwrap(), "old");

    example.write("web03", "log/access.log", "late");
    example.then(&["retry", "--format", "json"]).expect(0);
    assert_eq!(collected("web03/log/access.log").unwrap(), "late");
    example.write("web01", "log/access.log", "web01 and more");
    collect(&["-e", "since='2 hours ago'"]).expect(0);
    assert_eq!(collected("web01/log/access.log").unwrap(), "web01 and more");
    let journal = example.then(&["logs", "web01", "--raw"]).expect(0).stdout;
    assert!(journal.contains("--since 2 hours ago --output"), "{journal}");
}

const APT_GET: &str = r#"
[ -e locked ] && { echo 'E: Could not get lock' >&2; exit 100; }
echo "$*" >>apt.log
[ -e updated ] || printf 'Inst openssl [3.0.1] (3.0.2 Debian [amd64])\nInst linux-image (6.1)\nConf openssl (3.0.2)\n'
"#;

#[test]
fn an_audit_reports_what_is_pending_and_changes_no_host() {
    let example = Example::new(
        "package-audit",
        &["node01", "node02", "node03"],
        &[
            ("apt-get", APT_GET),
            ("apt-mark", "[ \"$*\" = showhold ] && echo nginx"),
            ("dpkg", "[ \"$*\" = --audit ]"),
        ],
    );
    let report = format!("report={}/report", example.root().display());
    std::fs::create_dir(example.root().join("report")).unwrap();
    // A host on which the question fails has no report that says "nothing is pending".
    example.write("node03", "locked", "");
    let checked = example.run(&["--check", "-e", &report]).expect(3);
    assert_eq!(checked.json()["account"]["failed"], 1);
    assert!(!example.on("report", "node01.txt").exists());
    let first = example.run(&["-e", &report]).expect(3);
    let reports = ["node01 report", "node02 report"].map(str::to_owned);
    assert_eq!(changes(&first), reports.into());
    let rebooting = std::path::Path::new("/run/reboot-required").exists();
    let reboot = if rebooting { "yes" } else { "no" };
    assert_eq!(
        example.read("report", "node01.txt"),
        format!("node01\nreboot {reboot}\npending linux-image\npending openssl\nheld nginx\n")
    );
    assert!(!example.on("report", "node03.txt").exists());

    std::fs::remove_file(example.on("node03", "locked")).unwrap();
    example.write("node02", "updated", "");
    let second = example.run(&["-e", &report]).expect(0);
    let reports = ["node02 report", "node03 report"].map(str::to_owned);
    assert_eq!(changes(&second), reports.into());
    assert_eq!(
        example.read("report", "node02.txt"),
        format!("node02\nreboot {reboot}\nheld nginx\n")
    );
    assert!(
        example
            .read("node01", "apt.log")
            .lines()
            .all(|line| line.starts_with("-s "))
    );
}
