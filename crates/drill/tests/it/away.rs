//! Hosts that go down, come back, are replaced, or are hard to reach.

use std::io;
use std::time::{Duration, Instant};

use reveille_drill::{FaultKind, Shows};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{PATIENCE, STALL, address, connect, exec, fleet, read_raw, run};

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Waits until a host accepts connections again.
async fn back(fleet: &reveille_drill::Fleet, host: usize) {
    let accepted = async {
        while TcpStream::connect(address(fleet, host)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, accepted).await.unwrap();
}

#[tokio::test]
async fn penalties_end_after_their_time() {
    let fleet = fleet(1, &["penalties_1=1"]);
    let (seen, end) = read_raw(&fleet, 0, b"SSH-2.0-test\r\n").await;
    assert_eq!(seen, b"SSH-2.0-OpenSSH_9.6p1\r\n");
    assert!(end.unwrap().is_ok());
    let (seen, end) = read_raw(&fleet, 0, b"").await;
    assert_eq!(seen, b"Not allowed at this time\r\n");
    assert!(end.unwrap().is_ok());
    let passed = async {
        while connect(&fleet, 0).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, passed).await.unwrap();
    assert!(fleet.report()[0].exercised >= 2);
}

#[tokio::test]
async fn an_idle_connection_is_dropped_silently() {
    let fleet = fleet(1, &["idle_nat_drop_1=1"]);
    let connected = connect(&fleet, 0).await.unwrap();
    let ended = exec(&connected, "echo hello", b"", Duration::from_secs(4)).await;
    assert_eq!(
        (text(&ended.stdout).as_str(), ended.status, ended.closed),
        ("hello", None, false)
    );
    assert!(
        !connected.session.is_closed(),
        "nothing is sent, not even a reset"
    );
    let answer = timeout(STALL, connected.session.channel_open_session()).await;
    assert!(answer.is_err(), "it is gone in the other direction, too");
    assert_eq!(fleet.report()[0].exercised, 1);
    // A new connection works again.
    let ended = run(&fleet, 0, "echo again").await;
    assert_eq!((text(&ended.stdout).as_str(), ended.status), ("again", Some(0)));
}

#[tokio::test]
async fn a_slow_connection_carries_everything() {
    let fleet = fleet(1, &["bandwidth_16=1"]);
    let connected = connect(&fleet, 0).await.unwrap();
    let started = Instant::now();
    let input = vec![b'x'; 16 << 10];
    let ended = exec(&connected, "cat", &input, PATIENCE).await;
    assert_eq!((ended.stdout.len(), ended.status), (input.len(), Some(0)));
    // Both directions work at the same time.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(950), "{took:?}");
}

#[tokio::test]
async fn a_reboot_ends_connections_and_commands() {
    let fleet = fleet(2, &["reboot_1=drill-0001"]);
    let port = |host| address(&fleet, host).port();
    assert_ne!(port(0), port(1), "it listens by itself");
    let connected = connect(&fleet, 0).await.unwrap();
    let beside = connect(&fleet, 0).await.unwrap();
    let ended = exec(&connected, "echo hello; sleep 100", b"", PATIENCE).await;
    assert_eq!(
        (text(&ended.stdout).as_str(), ended.status, ended.closed),
        ("hello", None, true)
    );
    let closed = async {
        while !beside.session.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
    let error = TcpStream::connect(address(&fleet, 0)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    back(&fleet, 0).await;
    let other = text(&run(&fleet, 0, BOOT_ID).await.stdout);
    assert_eq!(text(&run(&fleet, 0, BOOT_ID).await.stdout), other, "once");
    assert!(other.contains("-8001-"), "{other}");
}

#[tokio::test]
async fn a_reboot_command_reboots_the_host() {
    let fleet = fleet(1, &[]);
    let before = text(&run(&fleet, 0, BOOT_ID).await.stdout);
    assert!(run(&fleet, 0, "reboot").await.closed);
    let other = async {
        loop {
            if let Ok(connected) = connect(&fleet, 0).await {
                return text(&exec(&connected, BOOT_ID, b"", PATIENCE).await.stdout);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_ne!(timeout(PATIENCE, other).await.unwrap(), before);
}

#[tokio::test]
async fn a_host_is_replaced_by_another_machine() {
    let fleet = fleet(1, &["replaced=1"]);
    let first = connect(&fleet, 0).await.unwrap();
    assert!(fleet.known_hosts().unwrap().contains(&first.host_key));
    let ended = exec(&first, "cat /etc/machine-id", b"", PATIENCE).await;
    assert_eq!((ended.status, ended.closed), (None, true));
    let second = connect(&fleet, 0).await.unwrap();
    assert_ne!(first.host_key, second.host_key);
    let machine = exec(&second, "cat /etc/machine-id", b"", PATIENCE).await;
    assert_eq!(machine.status, Some(0));
    assert_ne!(machine.stdout, ended.stdout);
}

#[tokio::test]
async fn a_jump_of_the_clock_disturbs_nothing() {
    let fleet = fleet(1, &["clock_jump=1"]);
    let ended = run(&fleet, 0, "echo hello").await;
    assert_eq!(ended.status, Some(0));
    let said = text(&ended.stdout);
    let times: Vec<u64> = said
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split('.').next()?.parse().ok())
        .collect();
    assert_eq!(times.len(), 2, "{said}");
    assert_eq!(times[1] - times[0], 3600);
    let ended = run(&fleet, 0, "date +%s").await;
    assert!(
        text(&ended.stdout)
            .lines()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= times[1]
    );
}

#[test]
fn the_list_of_kinds_is_complete() {
    // The documentation lists these.
    let wanted = "refuse reset_on_accept exceeded_startups penalties banner_stall prebanner_lines garbage_banner \
                  kex_stall auth_stall auth_fail host_key_changed channel_refused max_sessions force_command \
                  exec_refused late_exec exec_stall partial_stall slow_drip flood binary_output early_exit \
                  disconnect_mid exit stderr_warning stderr_error killed eof_no_close flap stall_once drop_once \
                  idle_nat_drop latency bandwidth reboot replaced clock_jump disk_full";
    let kinds: Vec<&str> = FaultKind::all().map(FaultKind::name).collect();
    for name in wanted.split_whitespace() {
        assert!(kinds.contains(&name), "{name}");
    }
    assert_eq!(
        kinds.len(),
        wanted.split_whitespace().count() + 1,
        "prebanner_endless is beyond it"
    );
}

#[test]
fn the_page_names_every_kind() {
    let page = include_str!("../../../../docs/drill.md");
    for kind in FaultKind::all() {
        let classes: Vec<String> = kind
            .expected()
            .classes
            .iter()
            .map(|class| format!("`{class}`"))
            .collect();
        let real = if kind.shows() == Shows::Connection {
            "yes"
        } else {
            ""
        };
        let row = format!(
            "| `{kind}` | {} | {} | {real} |",
            kind.meaning(),
            classes.join(" or ")
        );
        assert!(page.contains(&row), "{row}");
    }
}
