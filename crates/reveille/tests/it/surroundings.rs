//! No host is lost if something that all hosts share fails during a run: a jump host, the name server, the clock.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reveille_testbed::Testbed;

use crate::proxy::Proxy;
use crate::support::{Ended, Reveille, binary};

const HOSTS: usize = 4;

/// A command that reports its start and waits for a file.
const WORK: &str = "echo run >>$HOME/$REVEILLE_NAME.runs; touch $HOME/$REVEILLE_NAME.began; \
                    until [ -e $HOME/go ]; do sleep 0.1; done; echo done";

fn job(reveille: &Reveille) -> String {
    let env = "env: {REVEILLE_NAME: \"{{ inventory_hostname }}\"}";
    reveille.file(
        "job.yaml",
        format!("{env}\nsteps:\n  - name: work\n    run: {WORK}\n"),
    )
}

fn wait_for(path: &Path, controller: &mut Child) {
    while !path.exists() {
        assert!(controller.try_wait().unwrap().is_none(), "the controller ended");
        std::thread::yield_now();
    }
}

fn runs(testbed: &Testbed, host: &str) -> usize {
    let text = fs::read_to_string(testbed.home().join(format!("{host}.runs")));
    text.unwrap_or_default().lines().count()
}

/// The jump host of all hosts goes down during a run and comes back; in another run it stays down.
#[test]
fn a_jump_host_that_comes_back_during_a_run_loses_no_host() {
    let jump = Testbed::start(1, "").unwrap();
    let testbed = Testbed::start(HOSTS, "").unwrap();
    let mut proxy = Proxy::to((jump.address(0), jump.port()).into());
    let reveille = Reveille::new();
    // All servers have the same key.
    fs::copy(
        testbed.path().join("authorized_keys"),
        jump.path().join("authorized_keys"),
    )
    .unwrap();
    let mut text = testbed.inventory();
    let _ = writeln!(text, "ansible_ssh_common_args='-J 127.0.0.1:{}'", proxy.port());
    let inventory = reveille.file("inventory.ini", text);
    let job = job(&reveille);
    let controller = |options: &[&str]| {
        reveille
            .command(&["run", &job, "-i", &inventory, "--format", "json"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let all_began = |controller: &mut Child| {
        for number in 1..=HOSTS {
            wait_for(
                &testbed.home().join(format!("host-{number:03}.began")),
                controller,
            );
        }
    };

    let mut there = controller(&[]);
    all_began(&mut there);
    proxy.cut();
    fs::write(testbed.home().join("go"), "").unwrap();
    proxy.restore();
    let summary = Ended::of(&there.wait_with_output().unwrap()).expect(0).json();
    assert_eq!(summary["account"]["success"], HOSTS, "{summary}");
    for number in 1..=HOSTS {
        let host = format!("host-{number:03}");
        assert_eq!(runs(&testbed, &host), 1);
        let logs = reveille.run(&["logs", &host]).expect(0).stdout;
        assert!(logs.contains("work: re-attached"), "{logs}");
    }

    for entry in fs::read_dir(testbed.home()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    let mut gone = controller(&["--reconnect-within", "1s"]);
    all_began(&mut gone);
    proxy.cut();
    let summary = Ended::of(&gone.wait_with_output().unwrap()).expect(3).json();
    assert_eq!(summary["account"]["failed"], HOSTS, "{summary}");
    assert_eq!(summary["account"]["balanced"], true, "{summary}");
    for host in summary["hosts"].as_array().unwrap() {
        assert_eq!(host["class"], "connection_lost", "{host}");
        let message = host["message"].as_str().unwrap();
        assert!(message.contains("jump host 127.0.0.1:"), "{message}");
    }
    // The command went on all the time, and the run re-attaches to it.
    fs::write(testbed.home().join("go"), "").unwrap();
    proxy.restore();
    let summary = reveille.run(&["retry", "--format", "json"]).expect(0).json();
    assert_eq!(summary["account"]["success"], HOSTS, "{summary}");
    for number in 1..=HOSTS {
        assert_eq!(runs(&testbed, &format!("host-{number:03}")), 1);
    }
}

/// A name server for the hosts, which can be told to stop answering. Only processes of the test ask it.
struct Names {
    address: Ipv4Addr,
    silent: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Names {
    fn start(address: Ipv4Addr, answer: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 53)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (silent, ended) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (is_silent, is_ended) = (Arc::clone(&silent), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !is_ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else {
                    continue;
                };
                if !is_silent.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&Self::answer(&question[..length], answer), from);
                }
            }
        });
        Self {
            address,
            silent,
            ended,
            thread: Some(thread),
        }
    }

    /// Answers every name with one IPv4 address and no IPv6 address (RFC 1035, section 4).
    fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
        let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let is_a = question[name_end..name_end + 2] == [0, 1];
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
        answer.extend(&question[12..name_end + 4]);
        if is_a {
            // The name as above, type A, class IN, time to live 0, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        answer
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Names are resolved for every connection. If the name server stops answering, connected hosts finish, and the outcomes
/// of the others say why.
#[test]
fn a_name_server_that_stops_answering_fails_hosts_that_need_it() {
    let testbed = Testbed::start(1, "").unwrap();
    // The address is this process's own, because the port has to be 53.
    let [.., high, low] = std::process::id().to_be_bytes();
    let names = Names::start(Ipv4Addr::new(127, 78, high, low.max(1)), testbed.address(0));
    let reveille = Reveille::new();
    let mut text = String::new();
    for number in 1..=2 * HOSTS {
        let _ = writeln!(text, "host{number}.reveille.test");
    }
    let _ = writeln!(
        text,
        "\n[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}",
        testbed.port(),
        testbed.key().display()
    );
    let inventory = reveille.file("inventory.ini", text);
    let job = job(&reveille);
    let resolv = reveille.file("resolv.conf", format!("nameserver {}\n", names.address));
    let switch = reveille.file("nsswitch.conf", "hosts: dns\n");
    let mounted = format!(
        "mount --bind {resolv} /etc/resolv.conf && {{ [ ! -e /etc/nsswitch.conf ] || mount --bind {switch} \
         /etc/nsswitch.conf; }} && exec \"$0\" \"$@\""
    );
    let start = |arguments: &[&str]| {
        reveille
            .through("unshare")
            .args(["--mount", "--", "sh", "-c", &mounted])
            .arg(binary())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let width = HOSTS.to_string();
    let options = ["--connect-timeout", "1s", "--format", "json", "-c", &width];
    let mut controller = start(&[&["run", &job, "-i", &inventory][..], &options].concat());
    for number in 1..=HOSTS {
        wait_for(
            &testbed.home().join(format!("host{number}.reveille.test.began")),
            &mut controller,
        );
    }
    names.silent.store(true, Ordering::Relaxed);
    fs::write(testbed.home().join("go"), "").unwrap();
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(3)
        .json();
    assert_eq!(summary["account"]["success"], HOSTS, "{summary}");
    assert_eq!(summary["account"]["failed"], HOSTS, "{summary}");
    assert_eq!(summary["account"]["balanced"], true, "{summary}");
    for host in summary["hosts"].as_array().unwrap().iter().skip(HOSTS) {
        assert_eq!(host["class"], "dns", "{host}");
        let message = host["message"].as_str().unwrap();
        assert!(message.contains("no answer within 1 s"), "{message}");
    }
    names.silent.store(false, Ordering::Relaxed);
    let summary = Ended::of(&start(&["retry", "--format", "json"]).wait_with_output().unwrap());
    let summary = summary.expect(0).json();
    assert_eq!(summary["account"]["success"], 2 * HOSTS, "{summary}");
}

/// Setting the clock changes neither durations nor deadlines.
#[test]
fn setting_the_clock_moves_no_deadline() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = reveille.file(
        "job.yaml",
        "env: {REVEILLE_NAME: \"{{ inventory_hostname }}\"}\nwatchdog: {idle: 30s, total: 60s}\nsteps:\n  - name: work\n    run: "
            .to_owned()
            + WORK
            + "\n  - run: touch $HOME/$REVEILLE_NAME.second; until [ -e $HOME/end ]; do sleep 0.1; done\n",
    );
    let clock = reveille.file("clock", "+0\n");
    let mut controller = reveille
        .command(&["run", &job, "-i", &inventory, "--format", "json"])
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("LD_PRELOAD", faketime())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for number in 1..=2 {
        wait_for(
            &testbed.home().join(format!("host-{number:03}.began")),
            &mut controller,
        );
    }
    // The clock is set two days forward during the first step, then to a time before the run.
    fs::write(&clock, "+2d\n").unwrap();
    fs::write(testbed.home().join("go"), "").unwrap();
    for number in 1..=2 {
        wait_for(
            &testbed.home().join(format!("host-{number:03}.second")),
            &mut controller,
        );
    }
    fs::write(&clock, "-2d\n").unwrap();
    fs::write(testbed.home().join("end"), "").unwrap();
    let summary = Ended::of(&controller.wait_with_output().unwrap())
        .expect(0)
        .json();
    assert_eq!(summary["account"]["success"], 2, "{summary}");
    for host in summary["hosts"].as_array().unwrap() {
        assert!(host["duration_s"].as_f64().unwrap() < 60.0, "{host}");
    }
    let wall = summary["timing"]["wall_s"].as_f64().unwrap();
    assert!(wall > 0.1 && wall < 60.0, "{summary}");
    let logs = reveille.run(&["logs", "host-001"]).expect(0).stdout;
    assert!(!logs.contains("stalled"), "{logs}");
    let ledger = rusqlite::Connection::open(reveille.state().join("ledger.db")).unwrap();
    let sql = "SELECT MAX(wall_ms) - MIN(wall_ms) FROM events";
    let jumped: i64 = ledger.query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(jumped > 3 * 24 * 3_600_000, "the clock did jump: {jumped} ms");
    reveille.run(&["audit"]).expect(0);
}

/// The library that fakes the time of a program.
fn faketime() -> String {
    let shown = std::process::Command::new("faketime")
        .args(["-m", "now", "printenv", "LD_PRELOAD"])
        .output()
        .unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}

/// Starts `reveille exec` on this machine, with a command that reports its start and waits for the file `go`, by a
/// shell that runs `before` first.
fn waiting(reveille: &Reveille, before: &str) -> Child {
    reveille
        .through("sh")
        .args(["-c", &format!("{before}exec \"$0\" \"$@\"")])
        .arg(binary())
        .args(["exec", "-w", "a", "--transport", "local", "--"])
        .arg("touch began; until [ -e go ]; do sleep 0.05; done")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// `nohup` ignores hang-ups for the programs that it starts.
#[test]
fn a_hangup_that_was_ignored_stays_ignored() {
    let reveille = Reveille::new();
    let mut controller = waiting(&reveille, "trap '' HUP; ");
    wait_for(&reveille.path().join("began"), &mut controller);
    let pid = controller.id().to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &pid]).status();
    assert!(sent.unwrap().success());
    reveille.file("go", "");
    Ended::of(&controller.wait_with_output().unwrap()).expect(0);
}

/// Exit status 2 would claim that nothing was dispatched.
#[test]
fn a_ledger_that_is_lost_during_a_run_is_an_internal_error() {
    let reveille = Reveille::new();
    let mut controller = waiting(&reveille, "");
    wait_for(&reveille.path().join("began"), &mut controller);
    let state = reveille.state();
    fs::rename(state.join("ledger.db"), state.join("gone")).unwrap();
    reveille.file("go", "");
    Ended::of(&controller.wait_with_output().unwrap()).expect(1);
}
