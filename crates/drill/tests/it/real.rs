//! Commands that run for real.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille_drill::{Fault, Fleet, FleetSpec, RealShell, end_marked};
use reveille_transport::Session;
use tokio::time::timeout;

use crate::calibration::{facts, record};
use crate::client::{PATIENCE, address, connect, connect_to, exec, run};
use crate::dialect;
use crate::sshd::Sshd;

/// A fleet whose hosts live in its own directory.
struct Real {
    fleet: Fleet,
    shell: Arc<RealShell>,
    directory: tempfile::TempDir,
}

fn real(hosts: u32, faults: &[&str]) -> Real {
    let directory = tempfile::tempdir().unwrap();
    let shell = Arc::new(RealShell::new(directory.path().join("hosts"), 8).unwrap());
    let fleet = Fleet::start(FleetSpec {
        hosts,
        faults: faults.iter().map(|text| text.parse::<Fault>().unwrap()).collect(),
        script: Arc::clone(&shell) as _,
        ..FleetSpec::default()
    })
    .unwrap();
    Real {
        fleet,
        shell,
        directory,
    }
}

impl Real {
    fn home(&self, host: &str) -> std::path::PathBuf {
        fs::canonicalize(self.directory.path().join("hosts").join(host)).unwrap()
    }

    async fn session(&self, host: usize) -> Session {
        dialect::connect(address(&self.fleet, host), &self.fleet.client_key().unwrap()).await
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for a file with content.
async fn appears(path: &Path) -> String {
    let content = async {
        loop {
            match fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(PATIENCE, content).await.unwrap()
}

fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn each_host_has_a_home() {
    let real = real(2, &[]);
    for (index, name) in ["drill-0001", "drill-0002"].into_iter().enumerate() {
        let ended = run(
            &real.fleet,
            index,
            "pwd; echo $HOME; echo $TMPDIR; touch here; env | grep -c CARGO",
        )
        .await;
        let home = format!("{}\n", real.home(name).display());
        assert_eq!(text(&ended.stdout), format!("{home}{home}{home}0\n"));
        assert!(real.home(name).join("here").exists());
    }
}

#[tokio::test]
async fn channels_look_the_same_as_with_sshd() {
    let sshd = Sshd::start("");
    let real = real(1, &[]);
    for command in [
        "echo hello; exit 0",
        "echo hello >&2; exit 7",
        "cat; echo done",
        "echo hello; kill -9 $$",
        "kill -SEGV $$",
        "echo hello; exec sleep 2",
        "echo hello; exec sleep 2 >&- 2>&-",
        "echo hello; sleep 0.1 & exit 3",
        "no-such-command 2>/dev/null",
    ] {
        let real_one = connect_to(sshd.address(), &sshd.key()).await.unwrap();
        let run = connect(&real.fleet, 0).await.unwrap();
        let shows = facts(record(&real_one, command, || ()).await);
        assert_eq!(facts(record(&run, command, || ()).await), shows, "{command}");
    }
}

#[tokio::test]
async fn input_reaches_commands_and_much_output_comes_back() {
    let real = real(1, &[]);
    let connected = connect(&real.fleet, 0).await.unwrap();
    // The client does not read while it writes, so this must fit into the buffers.
    let input = vec![b'x'; 100 << 10];
    let ended = exec(&connected, "cat", &input, PATIENCE).await;
    assert_eq!((ended.stdout == input, ended.status), (true, Some(0)));
    let ended = exec(&connected, "head -c 9000000 /dev/zero", b"", PATIENCE).await;
    assert_eq!((ended.stdout.len(), ended.status), (9_000_000, Some(0)));
    // A command that reads nothing still ends.
    let ended = exec(&connected, "echo enough", &input, PATIENCE).await;
    assert_eq!(text(&ended.stdout), "enough\n");
}

#[tokio::test]
async fn commands_outlive_their_clients_but_not_the_fleet() {
    let real = real(1, &[]);
    let connected = connect(&real.fleet, 0).await.unwrap();
    let command = "setsid sh -c 'echo $$ >far; exec sleep 1000' & echo $$ >near; exec sleep 1000";
    let ended = exec(&connected, command, b"", Duration::from_millis(200)).await;
    assert_eq!((ended.status, ended.closed), (None, false));
    let home = real.home("drill-0001");
    let (near, far) = (
        appears(&home.join("near")).await,
        appears(&home.join("far")).await,
    );
    drop(connected);
    // The second connection is answered, although the first one was given up.
    assert_eq!(run(&real.fleet, 0, "true").await.status, Some(0));
    assert!(lives(&near) && lives(&far));
    assert_eq!(real.shell.end(), 2);
    let gone = async {
        while lives(&near) || lives(&far) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(end_marked(&home), 0, "another mark");
}

#[tokio::test]
async fn durable_work_survives_a_broken_connection() {
    let real = real(2, &["drop_once=drill-0001", "disconnect_mid=drill-0002"]);
    let key = dialect::key(1);
    let command = "echo hello >>ran; echo hello; sleep 0.5; echo done";
    let first = dialect::follow(&real.session(0).await, &key, command, |_| ()).await;
    assert_eq!(first.last().unwrap(), "lost");
    let again = dialect::follow(&real.session(0).await, &key, command, |_| ()).await;
    assert_eq!(again[0], "Attached { finished: false }");
    assert!(again.last().unwrap().contains("status: 0"), "{again:?}");
    assert_eq!(
        fs::read_to_string(real.home("drill-0001").join("ran")).unwrap(),
        "hello\n"
    );
    for _ in 0..2 {
        let broken = dialect::follow(&real.session(1).await, &key, command, |_| ()).await;
        assert_eq!(broken.last().unwrap(), "lost");
    }
    let report = real.fleet.report();
    let token = key.token.to_string();
    for host in &report {
        assert_eq!((host.commands, host.tokens[&token]), (1, 1), "{host:?}");
    }
    assert_eq!((report[0].exercised, report[1].exercised), (1, 2));
}

#[tokio::test]
async fn a_plain_command_is_cut_once() {
    let real = real(1, &["drop_once=1"]);
    let ended = run(&real.fleet, 0, "echo hello; sleep 1000").await;
    assert_eq!(
        (text(&ended.stdout).as_str(), ended.status, ended.closed),
        ("hello\n", None, true)
    );
    assert_eq!(run(&real.fleet, 0, "echo hello").await.status, Some(0));
}
