//! `rolling-upgrade`, `canary-deploy`, `certificate-renewal`.

use std::path::Path;
use std::process::Command;

use super::{Example, changes, message};

/// HAProxy's admin socket: a file for each drained server.
const SOCAT: &str = r#"
read -r command
echo "$command" >>log
case $command in
    'show stat')
        for server in web01 web02 web03; do
            [ -e "$server" ] && status=DRAIN || status=UP
            echo "app,$server,0,0,0,1,,,,,,,,,,,,$status,1"
        done ;;
    *'state drain') name=${command#set server app/}; touch "${name% state *}" ;;
    *'state ready') name=${command#set server app/}; rm "${name% state *}" ;;
esac
"#;

const DPKG_QUERY: &str = "cat version";

const APT_GET: &str = r#"
echo "$*" >>apt.log
[ -e broken ] && { echo 'E: dpkg was interrupted' >&2; exit 100; }
until [ ! -e gate ]; do sleep 0.05; done
echo "${3#*=}" >version
"#;

/// Answers if the host is healthy.
const CURL: &str = "[ ! -e sick ]";

fn rolling() -> Example {
    let example = Example::new(
        "rolling-upgrade",
        &["web01", "web02", "web03", "lb01"],
        &[
            ("socat", SOCAT),
            ("dpkg-query", DPKG_QUERY),
            ("apt-get", APT_GET),
            ("curl", CURL),
        ],
    );
    for host in ["web01", "web02", "web03"] {
        example.write(host, "version", "1.24.0\n");
    }
    example
}

#[test]
fn a_rolling_upgrade_drains_upgrades_and_puts_back_and_has_nothing_to_do_then() {
    let example = rolling();
    let checked = example.run(&["--check"]).expect(0);
    assert!(changes(&checked).is_empty());
    assert!(!example.read("lb01", "log").contains("set server"));
    assert_eq!(example.read("web01", "version"), "1.24.0\n");

    let first = example.run(&[]).expect(0);
    assert_eq!(changes(&first).len(), 9, "{:?}", changes(&first));
    let log = example.read("lb01", "log");
    let set: Vec<&str> = log.lines().filter(|line| line.starts_with("set")).collect();
    // One host after the other.
    let expected: Vec<String> = ["web01", "web02", "web03"]
        .iter()
        .flat_map(|host| ["drain", "ready"].map(|state| format!("set server app/{host} state {state}")))
        .collect();
    assert_eq!(set, expected);
    assert_eq!(example.read("web03", "version"), "1.26.3\n");

    let second = example.run(&[]).expect(0);
    assert_eq!(changes(&second).len(), 0, "{:?}", changes(&second));
}

#[test]
fn a_host_that_is_not_healthy_after_its_upgrade_stays_drained_until_a_retry() {
    let example = rolling();
    example.write("web02", "sick", "");
    let short = ["-e", "health=http://127.0.0.1/", "--max-fail", "0"];
    // The job's own limit is a minute.
    let job = std::fs::read_to_string(example.directory.join("job.yaml")).unwrap();
    std::fs::write(
        example.directory.join("job.yaml"),
        job.replace("within: 1m", "within: 1s"),
    )
    .unwrap();
    let failed = example.run(&short).expect(3);
    let said = message(&failed, "web02");
    assert!(said.contains("app/web02 stays drained"), "{said}");
    assert!(example.on("lb01", "web02").exists());
    assert!(!example.on("lb01", "web01").exists());
    assert_eq!(example.read("web03", "version"), "1.24.0\n", "{}", failed.stdout);

    std::fs::remove_file(example.on("web02", "sick")).unwrap();
    let retried = example.then(&["retry", "--format", "json"]).expect(0);
    assert!(!example.on("lb01", "web02").exists(), "{}", retried.stdout);
    assert_eq!(example.read("web02", "apt.log").lines().count(), 1);
    assert_eq!(example.read("web03", "version"), "1.26.3\n");
}

#[test]
fn a_rolling_upgrade_that_is_killed_in_the_upgrade_continues_there() {
    let example = rolling();
    example.write("web01", "gate", "");
    example.killed_in("upgrade", &[]);
    assert!(example.on("lb01", "web01").exists());
    std::fs::remove_file(example.on("web01", "gate")).unwrap();
    example.then(&["resume", "--format", "json"]).expect(0);
    for host in ["web01", "web02", "web03"] {
        assert_eq!(example.read(host, "apt.log").lines().count(), 1, "{host}");
        assert!(!example.on("lb01", host).exists(), "{host}");
    }
}

/// A service that answers with the version it was started with, if that version is any good.
const SYSTEMCTL: &str = r#"
echo "$*" >>restarts
cp srv/current/VERSION running
"#;

const CURL_VERSION: &str = "grep -v broken running";

fn canary() -> (Example, String) {
    let example = Example::new(
        "canary-deploy",
        &["app01", "app02", "app03"],
        &[("systemctl", SYSTEMCTL), ("curl", CURL_VERSION)],
    );
    let base = example.inside("base", "srv");
    let job = example.directory.join("job.yaml");
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(job, text.replace("within: 30s", "within: 1s")).unwrap();
    (example, base)
}

#[test]
fn a_deploy_is_switched_on_the_canary_first_and_rolled_back_where_it_does_not_answer() {
    let (example, base) = canary();
    let build = |text: &str| std::fs::write(example.directory.join("build/VERSION"), text).unwrap();
    let deploy = |version: &str, more: &[&str]| {
        let version = format!("version={version}");
        example.run(&[&["-e", &base, "-e", &version][..], more].concat())
    };
    let current = |host: &str| {
        let link = std::fs::read_link(example.on(host, "srv/current"));
        link.map(|target| target.display().to_string())
            .unwrap_or_default()
    };
    build("2.4.0\n");
    let checked = deploy("2.4.0", &["--check"]).expect(0);
    assert!(!example.on("app01", "srv").exists(), "{}", checked.stdout);
    deploy("2.4.0", &[]).expect(0);
    assert_eq!(current("app03"), "releases/2.4.0");
    let again = deploy("2.4.0", &[]).expect(0);
    assert!(changes(&again).is_empty(), "{:?}", changes(&again));

    // The canary fails: it goes back, and the others never see the release.
    build("2.5.0 broken\n");
    let failed = deploy("2.5.0", &[]).expect(3);
    assert_eq!(failed.json()["account"]["cancelled"], 2);
    assert_eq!(current("app01"), "releases/2.4.0");
    assert_eq!(example.read("app01", "running"), "2.4.0\n");
    assert!(!example.on("app02", "srv/releases/2.5.0").exists());

    // The mended release: a retry deploys it to the canary and then to the others.
    build("2.5.0\n");
    example.then(&["retry", "--format", "json"]).expect(0);
    for host in ["app01", "app02", "app03"] {
        assert_eq!(current(host), "releases/2.5.0");
        assert_eq!(example.read(host, "running"), "2.5.0\n");
    }
    for version in ["2.6.0", "2.7.0"] {
        build(&format!("{version}\n"));
        deploy(version, &[]).expect(0);
    }
    let mut kept: Vec<_> = std::fs::read_dir(example.on("app02", "srv/releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["2.5.0", "2.6.0", "2.7.0"]);
}

#[test]
fn a_deploy_that_is_killed_in_the_restart_restarts_once() {
    let (example, base) = canary();
    example.killed_in("restart", &["-e", &base]);
    example.then(&["resume", "--format", "json"]).expect(0);
    for host in ["app01", "app02", "app03"] {
        assert_eq!(example.read(host, "restarts").lines().count(), 1, "{host}");
    }
}

/// Makes a key and a certificate of it.
fn certificate(directory: &Path, days: &str) {
    std::fs::create_dir_all(directory).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-subj", "/CN=www.example.com", "-days", days])
        .args(["-keyout", "server.key", "-out", "server.crt"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A TLS server that reads its certificate when it is reloaded.
const TLS_SERVER: &str = r#"
echo "$*" >>reloads
[ -e pid ] && kill "$(cat pid)" && while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.05; done
setsid openssl s_server -accept "$address:$(cat ../port)" -cert tls/server.crt -key tls/server.key -quiet \
    </dev/null >/dev/null 2>&1 &
echo $! >pid
"#;

#[test]
fn a_renewed_certificate_is_installed_reloaded_once_and_served() {
    let example = Example::new(
        "certificate-renewal",
        &["web01", "web02"],
        &[
            ("systemctl", TLS_SERVER),
            ("nginx", "openssl pkey -in tls/server.key -noout"),
        ],
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    example.reveille.file("port", port.to_string());
    let tls = example.directory.join("tls");
    let directory = example.inside("directory", "tls");
    let address = format!("address={{{{ ansible_host }}}}:{port}");
    let renew = |more: &[&str]| example.run(&[&["-e", &directory, "-e", &address][..], more].concat());

    // A key of another certificate, and a certificate that is about to expire: nothing is dispatched.
    certificate(&tls, "90");
    let key = std::fs::read(tls.join("server.key")).unwrap();
    certificate(&tls, "90");
    std::fs::write(tls.join("server.key"), key).unwrap();
    let refused = renew(&[]).expect(2);
    assert!(
        refused
            .stderr
            .contains("tls/server.key is not the key of tls/server.crt"),
        "{}",
        refused.stderr
    );
    certificate(&tls, "2");
    let refused = renew(&[]).expect(2);
    assert!(
        refused.stderr.contains("expires within a week"),
        "{}",
        refused.stderr
    );

    certificate(&tls, "90");
    // What is there until now.
    for host in ["web01", "web02"] {
        certificate(&example.on(host, "tls"), "1");
    }
    let old = example.read("web01", "tls/server.key");
    let checked = renew(&["--check", "--diff"]).expect(0);
    assert_eq!(example.read("web01", "tls/server.key"), old);
    let first = renew(&["--diff"]).expect(0);
    assert_eq!(changes(&first).len(), 6, "{:?}", changes(&first));
    let second = renew(&[]).expect(0);
    assert!(changes(&second).is_empty(), "{:?}", changes(&second));
    assert_eq!(example.read("web02", "reloads"), "reload nginx\n");
    // The key is nowhere but on the hosts and where it came from.
    let key = std::fs::read_to_string(tls.join("server.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    for ended in [&checked, &first, &second] {
        assert!(!ended.stdout.contains(line) && !ended.stderr.contains(line));
    }
    let found = Command::new("grep")
        .args(["-rlF", line])
        .arg(example.reveille.state())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
