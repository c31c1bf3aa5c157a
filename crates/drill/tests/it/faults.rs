//! Each fault looks as intended on the wire.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{PATIENCE, STALL, address, connect, connect_with, exec, exec_on, fleet, read_raw, run};
use reveille_drill::{
    Act, Call, Ending, Fault, FaultKind, Fleet, FleetError, FleetSpec, Script, ScriptFuture,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test]
async fn healthy_hosts_answer() {
    let fleet = fleet(3, &[]);
    for host in 0..3 {
        let connected = connect(&fleet, host).await.unwrap();
        let known_hosts = fleet.known_hosts().unwrap();
        let known = known_hosts.lines().nth(host).unwrap();
        assert!(known.ends_with(&connected.host_key));
        assert!(known.starts_with(&format!("[127.1.0.{}]:{}", host + 1, fleet.port())));
        let ended = exec(
            &connected,
            "sh -c 'echo hello; hostname >&2; exit 7'",
            b"",
            PATIENCE,
        )
        .await;
        assert_eq!(ended.stdout, b"hello\n");
        assert_eq!(ended.stderr, format!("drill-000{}\n", host + 1).as_bytes());
        assert_eq!((ended.status, ended.signal, ended.closed), (Some(7), None, true));
        let ended = exec(&connected, "cat", b"from the input", PATIENCE).await;
        assert_eq!(ended.stdout, b"from the input");
    }
    let report = fleet.report();
    assert_eq!(
        (report[0].connections, report[0].commands, report[0].exercised),
        (1, 2, 0)
    );
}

#[tokio::test]
async fn hosts_can_have_keys_of_their_own() {
    let spec = FleetSpec {
        hosts: 2,
        key_per_host: true,
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).unwrap();
    let keys: BTreeSet<String> = [
        connect(&fleet, 0).await.unwrap().host_key,
        connect(&fleet, 1).await.unwrap().host_key,
    ]
    .into();
    assert_eq!(keys.len(), 2);
    let known_hosts = fleet.known_hosts().unwrap();
    assert!(keys.iter().all(|key| known_hosts.contains(key)));
}

#[tokio::test]
async fn refuse() {
    let fleet = fleet(1, &["refuse=1"]);
    let error = TcpStream::connect(address(&fleet, 0)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn reset_on_accept() {
    let fleet = fleet(1, &["reset_on_accept=1"]);
    let (seen, end) = read_raw(&fleet, 0, b"SSH-2.0-test\r\n").await;
    assert!(seen.is_empty());
    assert_eq!(end.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(fleet.report()[0].exercised, 1);
}

#[tokio::test]
async fn exceeded_startups_ends_after_its_connections() {
    let fleet = fleet(1, &["exceeded_startups_2=1"]);
    for _ in 0..2 {
        let (seen, end) = read_raw(&fleet, 0, b"").await;
        assert_eq!(seen, b"Exceeded MaxStartups\r\n");
        assert!(end.is_some());
    }
    assert_eq!(run(&fleet, 0, "true").await.status, Some(0));
    assert_eq!(fleet.report()[0].exercised, 2);
}

#[tokio::test]
async fn stalls_before_ssh() {
    let fleet = fleet(2, &["banner_stall=drill-0001", "kex_stall=drill-0002"]);
    let (seen, end) = read_raw(&fleet, 0, b"SSH-2.0-test\r\n").await;
    assert!(seen.is_empty() && end.is_none());
    let (seen, end) = read_raw(&fleet, 1, b"SSH-2.0-test\r\n").await;
    assert_eq!(seen, b"SSH-2.0-OpenSSH_9.6p1\r\n");
    assert!(end.is_none());
}

#[tokio::test]
async fn greetings() {
    let fleet = fleet(
        3,
        &[
            "prebanner_lines=drill-0001",
            "garbage_banner=drill-0002",
            "prebanner_endless=drill-0003",
        ],
    );
    let (seen, _) = read_raw(&fleet, 0, b"").await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(
        seen.starts_with("Welcome to drill-0001, notice 1 of 5\r\n"),
        "{seen}"
    );
    assert!(seen.contains("\r\nSSH-2.0-"));
    assert_eq!(run(&fleet, 0, "true").await.status, Some(0));

    let (seen, end) = read_raw(&fleet, 1, b"").await;
    assert!(seen.starts_with(b"HTTP/1.1 400"));
    assert!(end.is_some());

    let mut stream = TcpStream::connect(address(&fleet, 2)).await.unwrap();
    let mut seen = vec![0; 17 * 5];
    timeout(PATIENCE, stream.read_exact(&mut seen))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen, b"Please stand by\r\n".repeat(5));
}

#[tokio::test]
async fn stall_once_ends_after_its_connections() {
    let fleet = fleet(1, &["stall_once=1"]);
    assert_eq!(read_raw(&fleet, 0, b"").await.0, b"SSH-2.0-OpenSSH_9.6p1\r\n");
    assert_eq!(run(&fleet, 0, "true").await.status, Some(0));
}

#[tokio::test]
async fn authentication_stalls_or_fails() {
    let fleet = fleet(2, &["auth_stall=drill-0001", "auth_fail=drill-0002"]);
    assert!(timeout(STALL, connect(&fleet, 0)).await.is_err());
    let refused = connect(&fleet, 1).await.err().unwrap();
    assert!(matches!(refused, russh::Error::NotAuthenticated), "{refused}");
    assert!(fleet.report().iter().all(|host| host.exercised == 1));
}

#[tokio::test]
async fn a_changed_host_key() {
    let fleet = fleet(2, &["host_key_changed=drill-0001"]);
    let changed = connect(&fleet, 0).await.unwrap().host_key;
    let known_hosts = fleet.known_hosts().unwrap();
    assert!(!known_hosts.contains(&changed));
    assert!(known_hosts.contains(&connect(&fleet, 1).await.unwrap().host_key));
}

#[tokio::test]
async fn refusals_of_channels_and_commands() {
    let fleet = fleet(
        3,
        &[
            "channel_refused=drill-0001",
            "exec_refused=drill-0002",
            "exec_stall=drill-0003",
        ],
    );
    let connected = connect(&fleet, 0).await.unwrap();
    let refused = connected.session.channel_open_session().await.unwrap_err();
    assert!(
        matches!(refused, russh::Error::ChannelOpenFailure(_)),
        "{refused}"
    );
    assert_eq!(run(&fleet, 1, "true").await.signal.as_deref(), Some("refused"));
    let connected = connect(&fleet, 2).await.unwrap();
    let ended = exec(&connected, "true", b"", STALL).await;
    assert_eq!((ended.status, ended.closed), (None, false));
    assert!(
        fleet
            .report()
            .iter()
            .all(|host| host.exercised == 1 && host.commands == 0)
    );
}

#[tokio::test]
async fn one_session_at_a_time() {
    let fleet = fleet(1, &["max_sessions=1"]);
    let connected = connect(&fleet, 0).await.unwrap();
    let first = connected.session.channel_open_session().await.unwrap();
    assert!(connected.session.channel_open_session().await.is_err());
    assert_eq!(exec_on(first, "true", b"", PATIENCE).await.status, Some(0));
}

#[tokio::test]
async fn a_forced_command_runs_instead() {
    let fleet = fleet(1, &["force_command=1"]);
    let ended = run(&fleet, 0, "echo hello").await;
    assert_eq!(ended.stdout, b"This account is only for backups.\n");
    assert_eq!((ended.status, fleet.report()[0].commands), (Some(0), 0));
}

#[tokio::test]
async fn what_commands_write() {
    let fleet = fleet(
        5,
        &[
            "binary_output=drill-0001",
            "flood_2=drill-0002",
            "stderr_warning=drill-0003",
            "stderr_error=drill-0004",
            "slow_drip=drill-0005",
        ],
    );
    let ended = run(&fleet, 0, "echo hello").await;
    assert!(std::str::from_utf8(&ended.stdout).is_err());
    assert!(ended.stdout.ends_with(b"hello\n"));
    let ended = run(&fleet, 1, "echo hello").await;
    assert_eq!(ended.stdout.len(), (2 << 20) + 6);
    assert_eq!(ended.status, Some(0));
    let ended = run(&fleet, 2, "echo hello").await;
    assert!(ended.stderr.starts_with(b"WARNING:"));
    assert_eq!(ended.status, Some(0));
    let ended = run(&fleet, 3, "echo hello").await;
    assert!(ended.stderr.starts_with(b"E: ") && ended.stdout.is_empty());
    assert_eq!(ended.status, Some(1));
    let started = Instant::now();
    let ended = run(&fleet, 4, "echo hello").await;
    assert_eq!(ended.stdout, [&b".".repeat(50)[..], b"hello\n"].concat());
    assert!(started.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn how_commands_end() {
    let fleet = fleet(
        5,
        &[
            "exit_100=drill-0001",
            "killed=drill-0002",
            "early_exit=drill-0003",
            "eof_no_close=drill-0004",
            "partial_stall=drill-0005",
        ],
    );
    assert_eq!(run(&fleet, 0, "echo hello").await.status, Some(100));
    let ended = run(&fleet, 1, "echo hello").await;
    assert_eq!((ended.status, ended.signal.as_deref()), (None, Some("KILL")));
    let ended = run(&fleet, 2, "echo hello").await;
    assert_eq!((ended.status, ended.signal, ended.closed), (None, None, true));
    assert_eq!(ended.stdout, b"hello\n");
    for host in [3, 4] {
        let connected = connect(&fleet, host).await.unwrap();
        let ended = exec(&connected, "echo hello", b"", STALL).await;
        assert_eq!(
            (ended.stdout.as_slice(), ended.status, ended.closed),
            (&b"hello\n"[..], None, false)
        );
    }
    assert!(fleet.report().iter().all(|host| host.exercised == 1));
}

#[tokio::test]
async fn connections_break() {
    let fleet = fleet(
        3,
        &[
            "disconnect_mid=drill-0001",
            "drop_once=drill-0002",
            "flap_3=drill-0003",
        ],
    );
    for _ in 0..2 {
        let ended = run(&fleet, 0, "echo hello").await;
        assert_eq!(
            (ended.stdout.as_slice(), ended.status, ended.closed),
            (&b"hello\n"[..], None, true)
        );
    }
    assert_eq!(run(&fleet, 1, "echo hello").await.status, None);
    assert_eq!(run(&fleet, 1, "echo hello").await.status, Some(0));

    assert!(connect(&fleet, 2).await.is_err(), "reset");
    assert!(
        connect(&fleet, 2).await.is_err(),
        "closed after the identification"
    );
    let broken = match connect(&fleet, 2).await {
        Err(_) => true,
        Ok(connected) => connected.session.channel_open_session().await.is_err(),
    };
    assert!(broken, "cut after authentication");
    assert_eq!(run(&fleet, 2, "echo hello").await.status, Some(0));
    assert_eq!(fleet.report()[2].exercised, 3);
}

#[tokio::test]
async fn late_and_slow_hosts_answer() {
    let fleet = fleet(2, &["late_exec_1=drill-0001", "latency_100=drill-0002"]);
    let started = Instant::now();
    assert_eq!(run(&fleet, 0, "echo hello").await.status, Some(0));
    assert!(started.elapsed() >= Duration::from_secs(1));
    let started = Instant::now();
    assert_eq!(run(&fleet, 1, "echo hello").await.status, Some(0));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_strangers_key_is_refused() {
    let fleet = fleet(1, &[]);
    let strangers = crate::client::fleet(1, &[]).client_key().unwrap();
    let refused = connect_with(&fleet, 0, &strangers).await.err().unwrap();
    assert!(matches!(refused, russh::Error::NotAuthenticated), "{refused}");
}

/// A script with another protocol: it answers each line of its input with a performance.
struct Lines {
    ended: mpsc::UnboundedSender<()>,
}

impl Script for Lines {
    fn run(&self, mut call: Call) -> ScriptFuture<'_> {
        Box::pin(async move {
            assert_eq!(call.command, b"lines");
            while let Ok(Some(line)) = call.io.read().await {
                call.host.count_token("a token");
                for act in call.host.perform(&line) {
                    match act {
                        Act::Stdout(bytes) => call.io.stdout(bytes).await.unwrap(),
                        Act::End(Ending::Exit(status)) => {
                            let told = format!("status {status}\n");
                            let _ = call.io.stdout(told).await;
                        }
                        _ => {}
                    }
                }
            }
            let _ = call.io.wait(Duration::from_mins(10)).await;
            let _ = self.ended.send(());
        })
    }
}

#[tokio::test]
async fn another_script_can_answer_and_notices_that_its_client_left() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let spec = FleetSpec {
        hosts: 1,
        faults: vec!["exit_9=1".parse().unwrap()],
        script: Arc::new(Lines { ended }),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).unwrap();
    let connected = connect(&fleet, 0).await.unwrap();
    let answer = exec(&connected, "lines", b"echo hello", Duration::from_secs(1)).await;
    assert_eq!(answer.stdout, b"status 9\n");
    assert!(end.try_recv().is_err());
    drop(connected);
    timeout(PATIENCE, end.recv()).await.unwrap().unwrap();
    assert_eq!(fleet.report()[0].tokens["a token"], 1);
}

#[tokio::test]
async fn hundreds_of_hosts_at_once() {
    const HOSTS: usize = 300;
    let fleet = Arc::new(fleet(HOSTS.try_into().unwrap(), &[]));
    let mut tasks = tokio::task::JoinSet::new();
    for host in 0..HOSTS {
        let fleet = Arc::clone(&fleet);
        tasks.spawn(async move { run(&fleet, host, "hostname").await.stdout });
    }
    let answers: BTreeSet<Vec<u8>> = tasks.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), HOSTS);
    assert!(
        fleet
            .report()
            .iter()
            .all(|host| (host.connections, host.commands) == (1, 1))
    );
}

#[tokio::test]
async fn addresses_without_a_host_are_not_answered() {
    let fleet = fleet(2, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", fleet.port())).await.unwrap();
    let mut seen = Vec::new();
    // The connection is closed or reset.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut seen)).await.unwrap();
    assert!(seen.is_empty());
}

#[tokio::test]
async fn the_seed_decides_which_hosts_get_faults() {
    let struck = |seed| {
        let spec = FleetSpec {
            hosts: 200,
            seed,
            faults: vec!["killed=5%".parse().unwrap(), "refuse=3".parse().unwrap()],
            ..FleetSpec::default()
        };
        let report = Fleet::start(spec).unwrap().report();
        report
            .into_iter()
            .filter_map(|host| host.fault.map(|fault| (host.name, fault)))
            .collect::<Vec<_>>()
    };
    assert_eq!(struck(1), struck(1));
    assert_ne!(struck(1), struck(2));
    let refuse = struck(1)
        .iter()
        .filter(|(_, fault)| *fault == FaultKind::Refuse)
        .count();
    assert_eq!((struck(1).len(), refuse), (13, 3));
}

#[tokio::test]
async fn impossible_fleets_are_refused() {
    let start = |hosts, faults: &[&str]| {
        let faults = faults.iter().map(|text| text.parse::<Fault>().unwrap()).collect();
        Fleet::start(FleetSpec {
            hosts,
            faults,
            ..FleetSpec::default()
        })
        .map(drop)
        .unwrap_err()
    };
    assert!(matches!(start(u32::MAX, &[]), FleetError::TooManyHosts(_)));
    assert_eq!(
        start(3, &["killed=2", "refuse=2"]).to_string(),
        "not enough hosts without another fault for refuse: 1 of 2"
    );
    assert!(matches!(
        start(3, &["killed=drill-0004"]),
        FleetError::NoSuchHost { .. }
    ));
    assert!(matches!(
        start(3, &["killed=drill-0001", "refuse=drill-0001"]),
        FleetError::NoSuchHost { .. }
    ));
}
