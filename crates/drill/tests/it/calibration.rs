//! Compares real sshd with the drill: what a plain client sees of each fault that a real server can show.
//!
//! Each test does to a real server what a fault plays, and compares the results, so that the drill does not rest on
//! assumptions. Faults without a test here are those that OpenSSH can't be made to show: lines before the identification,
//! another service on the port, an endless greeting, a channel closed without a status (`dialect` tests durable commands
//! on such a channel).

use std::io;
use std::net::SocketAddrV4;

use reveille_drill::Fleet;
use russh::client::Handle;
use russh::{ChannelMsg, ChannelOpenFailure};
use rustix::process::{Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{
    Connected, PATIENCE, STALL, Watcher, address, connect_to, fleet, greet, read_from, user,
};
use crate::sshd::Sshd;

/// Runs a command and records every message in order, with data in one piece. Calls `heard` once, at the first data.
pub(crate) async fn record(connected: &Connected, command: &str, heard: impl FnOnce()) -> Vec<String> {
    let mut channel = connected.session.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    follow(&mut channel, &connected.session, heard).await
}

async fn follow(
    channel: &mut russh::Channel<russh::client::Msg>,
    session: &Handle<Watcher>,
    heard: impl FnOnce(),
) -> Vec<String> {
    let mut heard = Some(heard);
    let mut seen: Vec<String> = Vec::new();
    loop {
        let message = match timeout(STALL, channel.wait()).await {
            Err(_) => {
                seen.push("silence".to_owned());
                return seen;
            }
            Ok(None) => {
                seen.push("lost".to_owned());
                return seen;
            }
            Ok(Some(message)) => message,
        };
        match message {
            ChannelMsg::Success => seen.push("success".to_owned()),
            ChannelMsg::Failure => seen.push("failure".to_owned()),
            ChannelMsg::Data { data } => {
                push(&mut seen, "stdout", &data);
                heard.take().into_iter().for_each(|heard| heard());
            }
            ChannelMsg::ExtendedData { data, ext: 1 } => push(&mut seen, "stderr", &data),
            ChannelMsg::Eof => seen.push("eof".to_owned()),
            ChannelMsg::ExitStatus { exit_status } => seen.push(format!("exit-status {exit_status}")),
            ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                error_message,
                lang_tag,
            } => seen.push(format!(
                "exit-signal {signal_name:?} core={core_dumped} {error_message:?} {lang_tag:?}"
            )),
            ChannelMsg::Close => {
                seen.push("close".to_owned());
                assert!(!session.is_closed());
                return seen;
            }
            // Window updates don't matter.
            ChannelMsg::WindowAdjusted { .. } => {}
            other => seen.push(format!("{other:?}")),
        }
    }
}

fn push(seen: &mut Vec<String>, stream: &str, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let begins = format!("{stream} ");
    match seen.last_mut().filter(|last| last.starts_with(&begins)) {
        Some(last) => last.push_str(&text),
        None => seen.push(begins + &text),
    }
}

/// Removes the order of the final messages: for sshd it depends on whether the process or its pipes end first, and the
/// status may even come before the last output.
pub(crate) fn facts(seen: Vec<String>) -> Vec<String> {
    let is_end = |word: &String| word == "eof" || word.starts_with("exit-");
    let (mut ends, mut facts): (Vec<String>, Vec<String>) = seen.into_iter().partition(is_end);
    ends.sort();
    // The last word is the final ending.
    let last = facts.pop();
    facts.extend(ends);
    facts.extend(last);
    facts
}

async fn real(sshd: &Sshd) -> Connected {
    connect_to(sshd.address(), &sshd.key()).await.unwrap()
}

async fn played(fleet: &Fleet) -> Connected {
    connect_to(address(fleet, 0), &fleet.client_key().unwrap())
        .await
        .unwrap()
}

/// The end of a connection that only reads: its bytes, then `end`, `reset` or `silence`.
async fn raw(address: SocketAddrV4, say: &[u8]) -> String {
    match TcpStream::connect(address).await {
        Ok(stream) => told(read_from(stream, say).await),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn told((seen, end): (Vec<u8>, Option<io::Result<()>>)) -> String {
    let seen = String::from_utf8_lossy(&seen).into_owned();
    let end = match end {
        None => "silence".to_owned(),
        Some(Ok(())) => "end".to_owned(),
        Some(Err(error)) => format!("{:?}", error.kind()),
    };
    // Any version will do.
    let words = seen
        .strip_prefix("SSH-2.0-OpenSSH_")
        .map_or(seen.as_str(), |_| "identification");
    format!("{} {end}", words.trim_end()).trim().to_owned()
}

/// Reads the server's identification.
async fn identification(address: SocketAddrV4) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        timeout(PATIENCE, stream.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();
    }
    stream
}

#[tokio::test]
async fn commands() {
    let sshd = Sshd::start("");
    // The fault, the simulated command, and a real command that does the same.
    let table = [
        ("", "echo hello; exit 0", "echo hello; exit 0"),
        ("", "echo hello >&2; exit 7", "echo hello >&2; exit 7"),
        (
            "exit_100",
            "echo hello",
            "echo 'drill: ends with status 100' >&2; exit 100",
        ),
        (
            "stderr_error",
            "echo hello",
            "echo 'E: Unable to locate package drill' >&2; exit 1",
        ),
        ("killed", "echo hello", "echo hello; kill -9 $$"),
        ("partial_stall", "echo hello", "echo hello; exec sleep 2"),
        ("eof_no_close", "echo hello", "echo hello; exec sleep 2 >&- 2>&-"),
    ];
    for (fault, command, does_the_same) in table {
        let fleet = match fault {
            "" => fleet(1, &[]),
            fault => fleet(1, &[&format!("{fault}=1")]),
        };
        let plays = record(&played(&fleet).await, command, || ()).await;
        let shows = record(&real(&sshd).await, does_the_same, || ()).await;
        assert_eq!(facts(plays), facts(shows), "{fault}: the drill, then sshd");
    }
}

#[tokio::test]
async fn another_command_is_forced() {
    let sshd = Sshd::start("ForceCommand echo This account is only for backups.");
    let shows = record(&real(&sshd).await, "echo hello", || ()).await;
    let fleet = fleet(1, &["force_command=1"]);
    let plays = record(&played(&fleet).await, "echo hello", || ()).await;
    assert_eq!(facts(plays), facts(shows));
}

#[tokio::test]
async fn a_command_is_refused() {
    // sshd refuses a second command on one channel with the same message as any other.
    let sshd = Sshd::start("");
    let connected = real(&sshd).await;
    let mut channel = connected.session.channel_open_session().await.unwrap();
    channel.exec(true, "exec sleep 2").await.unwrap();
    channel.exec(true, "echo hello").await.unwrap();
    let mut shows = follow(&mut channel, &connected.session, || ()).await;
    assert_eq!(shows.remove(0), "success");
    let fleet = fleet(1, &["exec_refused=1"]);
    let plays = record(&played(&fleet).await, "echo hello", || ()).await;
    assert_eq!((&plays, plays.len()), (&shows, 2));
}

#[tokio::test]
async fn a_request_stalls() {
    let sshd = Sshd::start("");
    let connected = real(&sshd).await;
    let mut channel = connected.session.channel_open_session().await.unwrap();
    sshd.signal_sessions(Signal::STOP);
    channel.exec(true, "echo hello").await.unwrap();
    let shows = follow(&mut channel, &connected.session, || ()).await;
    let fleet = fleet(1, &["exec_stall=1"]);
    let plays = record(&played(&fleet).await, "echo hello", || ()).await;
    assert_eq!((&plays, plays.as_slice()), (&shows, &["silence".to_owned()][..]));
}

/// Why a session channel is not opened.
async fn refusal(connected: &Connected) -> ChannelOpenFailure {
    match connected.session.channel_open_session().await {
        Err(russh::Error::ChannelOpenFailure(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn channels_are_refused() {
    let none = Sshd::start("MaxSessions 0");
    let refusing = fleet(1, &["channel_refused=1"]);
    let (shows, plays) = (real(&none).await, played(&refusing).await);
    assert_eq!(refusal(&plays).await, refusal(&shows).await);

    let one = Sshd::start("MaxSessions 1");
    let single = fleet(1, &["max_sessions_1=1"]);
    let (shows, plays) = (real(&one).await, played(&single).await);
    let _first = (
        shows.session.channel_open_session().await.unwrap(),
        plays.session.channel_open_session().await.unwrap(),
    );
    assert_eq!(refusal(&plays).await, refusal(&shows).await);
}

#[tokio::test]
async fn connections_break_in_the_middle() {
    let sshd = Sshd::start("");
    let shows = record(&real(&sshd).await, "echo hello; exec sleep 2", || {
        sshd.signal_sessions(Signal::KILL);
    })
    .await;
    assert_eq!(shows, ["success", "stdout hello\n", "lost"]);
    for fault in ["drop_once=1", "disconnect_mid=1", "reboot=1", "replaced=1"] {
        let fleet = fleet(1, &[fault]);
        let plays = record(&played(&fleet).await, "echo hello", || ()).await;
        assert_eq!(plays, shows, "{fault}");
    }
}

#[tokio::test]
async fn a_connection_falls_silent() {
    let sshd = Sshd::start("");
    let connected = real(&sshd).await;
    let shows = record(&connected, "echo hello; sleep 2; echo still here", || {
        sshd.signal_sessions(Signal::STOP);
    })
    .await;
    let silent = timeout(STALL * 8, connected.session.channel_open_session()).await;
    assert!(silent.is_err() && !connected.session.is_closed());
    let fleet = fleet(1, &["idle_nat_drop_1=1"]);
    let connected = played(&fleet).await;
    let plays = record(&connected, "echo hello", || ()).await;
    assert_eq!(plays, shows);
    // Long enough for the connection to be forgotten and the command to continue.
    tokio::time::sleep(STALL * 8).await;
    let silent = timeout(STALL, connected.session.channel_open_session()).await;
    assert!(silent.is_err() && !connected.session.is_closed());
}

#[tokio::test]
async fn nothing_listens() {
    let sshd = Sshd::start("");
    let address_before = sshd.address();
    drop(sshd);
    let refusing = fleet(1, &["refuse=1"]);
    assert_eq!(
        raw(address(&refusing, 0), b"").await,
        raw(address_before, b"").await
    );
    // The same as the cut of a reboot.
    let rebooting = fleet(1, &["reboot_5=1"]);
    record(&played(&rebooting).await, "echo hello", || ()).await;
    assert_eq!(
        raw(address(&rebooting, 0), b"").await,
        raw(address_before, b"").await
    );
}

#[tokio::test]
async fn too_many_startups() {
    let sshd = Sshd::start("MaxStartups 1");
    let held = identification(sshd.address()).await;
    let shows = raw(sshd.address(), b"").await;
    let fleet = fleet(1, &["exceeded_startups_1=1"]);
    let plays = raw(address(&fleet, 0), b"").await;
    // Since version 9.8, sshd sends this for every limit, including penalties.
    let newer = "Not allowed at this time end";
    assert!(plays == shows || shows == newer, "{plays}; {shows}");
    drop(held);
}

#[tokio::test]
async fn penalties() {
    let version = std::process::Command::new("/usr/sbin/sshd")
        .arg("-V")
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&version.stderr).into_owned();
    let number = |text: &str| text.parse::<u32>().ok();
    let mut numbers = version
        .trim_start_matches("OpenSSH_")
        .split(['.', 'p', ',', ' '])
        .map_while(number);
    let newer = (numbers.next(), numbers.next()) >= (Some(9), Some(8));
    let fleet = fleet(1, &["penalties_5=1"]);
    let at = address(&fleet, 0);
    assert_eq!(
        told(read_from(identification(at).await, b"SSH-2.0-test\r\n").await),
        "end"
    );
    let plays = raw(at, b"").await;
    assert_eq!(plays, "Not allowed at this time end");
    if newer {
        let sshd = Sshd::start("PerSourcePenalties crash:30s noauth:30s");
        drop(identification(sshd.address()).await);
        // The listener learns it when the session's process ends.
        let penalised = async { while raw(sshd.address(), b"").await != plays {} };
        timeout(PATIENCE, penalised).await.unwrap();
    }
}

#[tokio::test]
async fn servers_stall() {
    let stopped = Sshd::start("");
    kill_process(stopped.listener(), Signal::STOP).unwrap();
    let stalling = fleet(1, &["banner_stall=1"]);
    let client = b"SSH-2.0-test\r\n";
    assert_eq!(
        raw(address(&stalling, 0), client).await,
        raw(stopped.address(), client).await
    );

    let sshd = Sshd::start("");
    let stream = identification(sshd.address()).await;
    sshd.signal_sessions(Signal::STOP);
    let shows = told(read_from(stream, client).await);
    for fault in ["kex_stall=1", "stall_once=1"] {
        let fleet = fleet(1, &[fault]);
        let stream = identification(address(&fleet, 0)).await;
        assert_eq!(told(read_from(stream, client).await), shows, "{fault}");
    }
}

#[tokio::test]
async fn connections_are_reset_or_closed_early() {
    // A server that dies with the connection and the client's bytes in its queue.
    let sshd = Sshd::start("");
    kill_process(sshd.listener(), Signal::STOP).unwrap();
    let stream = TcpStream::connect(sshd.address()).await.unwrap();
    let listener = sshd.listener();
    let reading = tokio::spawn(read_from(stream, b"SSH-2.0-test\r\n"));
    kill_process(listener, Signal::KILL).unwrap();
    let shows = told(reading.await.unwrap());
    let fleet_that_resets = fleet(1, &["reset_on_accept=1"]);
    assert_eq!(
        raw(address(&fleet_that_resets, 0), b"SSH-2.0-test\r\n").await,
        shows
    );

    // A session's process that dies after its identification.
    let sshd = Sshd::start("");
    let stream = identification(sshd.address()).await;
    sshd.signal_sessions(Signal::KILL);
    let shows = told(read_from(stream, b"").await);
    let closing = fleet(1, &["penalties=1"]);
    let stream = identification(address(&closing, 0)).await;
    assert_eq!(told(read_from(stream, b"SSH-2.0-test\r\n").await), shows);
}

#[tokio::test]
async fn authentication() {
    let stranger = fleet(1, &[]).client_key().unwrap();
    let key = russh::keys::PrivateKey::from_openssh(&stranger).unwrap();
    let sshd = Sshd::start("");
    let failing = fleet(1, &["auth_fail=1"]);
    let mut answers = Vec::new();
    for address in [sshd.address(), address(&failing, 0)] {
        let mut connected = greet(address).await.unwrap();
        let key = russh::keys::PrivateKeyWithHashAlg::new(std::sync::Arc::new(key.clone()), None);
        let answer = connected
            .session
            .authenticate_publickey(user(), key)
            .await
            .unwrap();
        answers.push(format!("{answer:?}"));
    }
    assert_eq!(answers[0], answers[1]);

    let stalling = fleet(1, &["auth_stall=1"]);
    for (address, key) in [
        (sshd.address(), sshd.key()),
        (address(&stalling, 0), stalling.client_key().unwrap()),
    ] {
        let mut connected = greet(address).await.unwrap();
        if address == sshd.address() {
            sshd.signal_sessions(Signal::STOP);
        }
        let key = russh::keys::PrivateKey::from_openssh(&key).unwrap();
        let key = russh::keys::PrivateKeyWithHashAlg::new(std::sync::Arc::new(key), None);
        let answer = timeout(STALL, connected.session.authenticate_publickey(user(), key)).await;
        assert!(answer.is_err() && !connected.session.is_closed());
    }
}
