//! The transport against a real sshd.

mod copies;

use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Class, RunId, Token};
use reveille_testbed::Testbed;
use reveille_transport::supervisor::{self, Beat, Durable, End, Found, Interpreter, Key, Offsets, Payload};
use reveille_transport::{
    Client, ConnectError, Deadlines, Heard, HostKeyPolicy, Identities, Keyring, KnownHosts, Session, Target,
    Wanted,
};

const CAP: u64 = 1 << 20;

fn client(testbed: &Testbed) -> Client {
    let known = KnownHosts::load(&[], Some(testbed.path().join("known_hosts"))).unwrap();
    Client::new(Deadlines::default(), Arc::new(known))
}

fn target(testbed: &Testbed) -> Target {
    let identities = Identities::load(&[testbed.key()], None).unwrap();
    Target {
        authentication: Arc::new(identities.into()),
        ..target_without_key(testbed)
    }
}

fn target_without_key(testbed: &Testbed) -> Target {
    let address = testbed.address(0).to_string();
    Target::new("host-001".into(), address, testbed.port(), user(), Arc::default())
}

fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn connect(client: &Client, target: &Target) -> Result<Session, ConnectError> {
    let dialed = client.dial(target).await?;
    client.handshake(target, dialed).await.map(|(session, _)| session)
}

async fn session(testbed: &Testbed) -> Session {
    connect(&client(testbed), &target(testbed)).await.unwrap()
}

/// Everything a plain command said: stdout, stderr, status.
async fn run(session: &Session, command: &str) -> (Vec<u8>, Vec<u8>, Option<u32>) {
    let mut exec = session.exec(command).await.unwrap();
    let (mut stdout, mut stderr, mut status) = (Vec::new(), Vec::new(), None);
    loop {
        match exec.next().await {
            Heard::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Heard::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            Heard::ExitStatus(number) => status = Some(number),
            Heard::Closed | Heard::Lost => return (stdout, stderr, status),
            Heard::Eof | Heard::ExitSignal(_) => {}
        }
    }
}

fn key(seed: u8) -> Key {
    Key {
        run: RunId::new(1, [7; 10]),
        epoch: 1,
        token: Token::new([seed; 16]),
        place: None,
    }
}

fn payload(text: &str) -> Payload {
    let interpreter = Interpreter::Shell(vec!["sh".into()]);
    Payload {
        prelude: String::new(),
        text: text.into(),
        interpreter,
    }
}

/// Reads durable work to its end: stdout, stderr, end.
async fn follow(durable: &mut Durable) -> (Vec<u8>, Vec<u8>, Option<End>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match durable.next().await.unwrap() {
            Beat::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Beat::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            Beat::End(end) => return (stdout, stderr, Some(end)),
            Beat::Lost => return (stdout, stderr, None),
            Beat::Started | Beat::Attached { .. } => {}
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what may be nothing")]
fn exited(status: i32) -> Option<End> {
    Some(End::Exit {
        status,
        slain: None,
        over: false,
    })
}

#[tokio::test]
async fn a_plain_command() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let (stdout, stderr, status) = run(&session, "echo out; echo err >&2; exit 3").await;
    assert_eq!(
        (stdout.as_slice(), stderr.as_slice(), status),
        (&b"out\n"[..], &b"err\n"[..], Some(3))
    );
    session.close().await;
}

#[tokio::test]
async fn a_key_that_is_not_authorized() {
    let testbed = Testbed::start(1, "").unwrap();
    std::fs::write(testbed.path().join("authorized_keys"), "").unwrap();
    let error = connect(&client(&testbed), &target(&testbed)).await.unwrap_err();
    assert_eq!(error.class, Class::AuthFailed);
    assert!(
        error.message.contains("it accepts publickey"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_changed_host_key() {
    let testbed = Testbed::start(1, "").unwrap();
    let known = testbed.path().join("known");
    let name = format!("[{}]:{}", testbed.address(0), testbed.port());
    let other = std::fs::read_to_string(testbed.path().join("id_ed25519.pub")).unwrap();
    std::fs::write(&known, format!("{name} {other}")).unwrap();
    let known_hosts = KnownHosts::load(&[known], None).unwrap();
    let client = Client::new(Deadlines::default(), Arc::new(known_hosts));
    let error = connect(&client, &target(&testbed)).await.unwrap_err();
    assert_eq!(error.class, Class::HostKeyMismatch);
}

#[tokio::test]
async fn through_a_jump_host() {
    let testbed = Testbed::start(2, "").unwrap();
    let mut target = target(&testbed);
    target.jump = Some(Arc::new(target.clone()));
    target.address = testbed.address(1).to_string();
    let session = connect(&client(&testbed), &target).await.unwrap();
    let (stdout, _, status) = run(&session, "echo $SSH_CONNECTION").await;
    assert_eq!(status, Some(0));
    assert!(String::from_utf8(stdout).unwrap().contains(&target.address));
}

#[tokio::test]
async fn a_jump_host_that_forwards_nothing() {
    let testbed = Testbed::start(1, "AllowTcpForwarding no").unwrap();
    let mut target = target(&testbed);
    target.jump = Some(Arc::new(target.clone()));
    let error = connect(&client(&testbed), &target).await.unwrap_err();
    assert_eq!(error.class, Class::ChannelRefused);
    assert!(error.message.starts_with("jump host "), "{}", error.message);
}

#[tokio::test]
async fn an_agent_has_the_key() {
    let testbed = Testbed::start(1, "").unwrap();
    let socket = testbed.path().join("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The agent says where it listens once it does.
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(agent.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let added = std::process::Command::new("ssh-add")
        .arg("-q")
        .arg(testbed.key())
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.unwrap().success());
    // By itself; and for a file that is encrypted, whose passphrase nobody has to be asked for then.
    let locked = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", "opensesame", "-f"])
        .arg(testbed.key())
        .status();
    assert!(locked.unwrap().success());
    let mut results = Vec::new();
    for (keys, only) in [(vec![], false), (vec![testbed.key()], true)] {
        let wanted = Wanted {
            keys,
            agent: Some(socket.clone()),
            only,
            ..Wanted::default()
        };
        let authentication = Arc::new(Keyring::new().load(&wanted).unwrap().into());
        let target = Target {
            authentication,
            ..target_without_key(&testbed)
        };
        results.push(connect(&client(&testbed), &target).await);
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
    for result in results {
        result.unwrap();
    }
}

#[tokio::test]
async fn nothing_listens() {
    let testbed = Testbed::start(1, "").unwrap();
    let target = Target {
        port: 1,
        ..target(&testbed)
    };
    let error = connect(&client(&testbed), &target).await.unwrap_err();
    assert_eq!(error.class, Class::ConnectRefused);
}

#[tokio::test]
async fn a_server_that_stalls_leaves_no_socket_behind() {
    let testbed = Testbed::start(1, "").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target {
        address: "127.0.0.1".into(),
        port,
        ..target(&testbed)
    };
    let short = Duration::from_millis(50);
    let deadlines = Deadlines {
        banner: short,
        key_exchange: short,
        ..Deadlines::default()
    };
    let client = Client::new(deadlines, Arc::new(KnownHosts::default()));
    let accepting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-Stalls\r\n")
            .await
            .unwrap();
        stream
    };
    let (error, mut stream) = tokio::join!(connect(&client, &target), accepting);
    let error = error.unwrap_err();
    assert_eq!(
        (error.class, error.phase),
        (Class::HandshakeStalled, reveille_account::Phase::KeyExchange)
    );
    // The other end sees the connection go: nothing of it is left on ours.
    let mut sink = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink).await;
}

#[tokio::test]
async fn a_port_that_closes_at_once_looks_throttled_and_another_service_does_not() {
    for (said, class, throttled) in [
        (&b""[..], Class::SshInitiatedFailed, true),
        (b"Exceeded MaxStartups\r\n", Class::SshInitiatedFailed, true),
        (b"Not allowed at this time\r\n", Class::SshInitiatedFailed, true),
        (
            b"HTTP/1.0 400 Bad Request\r\n\0\xff\r\nServer: x",
            Class::ProtocolError,
            false,
        ),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let testbed_less = Target {
            host_keys: HostKeyPolicy::Off,
            ..Target::new("h".into(), "127.0.0.1", port, "u", Arc::default())
        };
        let client = Client::new(Deadlines::default(), Arc::new(KnownHosts::default()));
        let closing = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, said)
                .await
                .unwrap();
        };
        let (error, ()) = tokio::join!(connect(&client, &testbed_less), closing);
        let error = error.unwrap_err();
        assert_eq!(
            (error.class, error.throttled),
            (class, throttled),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn durable_work_runs_once_and_is_told_to_everybody() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let work = payload("echo one >>\"$HOME/ran\"\necho out\necho err >&2\nexit 4");
    let mut first = Durable::open(&session, None, &key(1)).await.unwrap();
    assert!(
        first.place().ends_with("home/.local/state/reveille"),
        "{}",
        first.place()
    );
    first.go(&work, Offsets::default(), CAP).await.unwrap();
    assert_eq!(first.next().await.unwrap(), Beat::Started);
    assert_eq!(
        follow(&mut first).await,
        (b"out\n".to_vec(), b"err\n".to_vec(), exited(4))
    );
    let mut second = Durable::open(&session, None, &key(1)).await.unwrap();
    second
        .go(&work, Offsets { stdout: 2, stderr: 4 }, CAP)
        .await
        .unwrap();
    assert_eq!(second.next().await.unwrap(), Beat::Attached { finished: true });
    assert_eq!(
        follow(&mut second).await,
        (b"t\n".to_vec(), Vec::new(), exited(4))
    );
    assert!(second.clean().await);
    let mut third = Durable::open(&session, None, &key(1)).await.unwrap();
    third.go(&work, Offsets::default(), CAP).await.unwrap();
    assert_eq!(follow(&mut third).await.2, Some(End::Never));
    assert_eq!(
        std::fs::read_to_string(testbed.home().join("ran")).unwrap(),
        "one\n"
    );
}

#[tokio::test]
async fn work_goes_on_when_the_connection_is_cut() {
    let testbed = Testbed::start(1, "").unwrap();
    let first = session(&testbed).await;
    let fifo = testbed.path().join("gate");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let work = payload(&format!("echo before; cat {}; echo after", fifo.display()));
    let mut durable = Durable::open(&first, None, &key(2)).await.unwrap();
    durable.go(&work, Offsets::default(), CAP).await.unwrap();
    assert_eq!(durable.next().await.unwrap(), Beat::Started);
    assert_eq!(durable.next().await.unwrap(), Beat::Stdout("before\n".into()));
    drop(first);
    let again = session(&testbed).await;
    let mut durable = Durable::open(&again, None, &key(2)).await.unwrap();
    durable
        .go(&work, Offsets { stdout: 7, stderr: 0 }, CAP)
        .await
        .unwrap();
    assert_eq!(durable.next().await.unwrap(), Beat::Attached { finished: false });
    tokio::task::spawn_blocking(move || std::fs::write(fifo, "through\n"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        follow(&mut durable).await,
        (b"through\nafter\n".to_vec(), Vec::new(), exited(0))
    );
}

#[tokio::test]
async fn a_kill_reaches_the_group_and_what_left_it() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let work = payload("trap '' TERM; timeout 300 sleep 301 & sleep 302 & echo ready; wait; wait");
    let mut durable = Durable::open(&session, None, &key(3)).await.unwrap();
    let mut key = key(3);
    key.place = Some(durable.place().to_owned());
    durable.go(&work, Offsets::default(), CAP).await.unwrap();
    assert_eq!(durable.next().await.unwrap(), Beat::Started);
    assert_eq!(durable.next().await.unwrap(), Beat::Stdout("ready\n".into()));
    assert_eq!(
        supervisor::tomb(&session, None, &key).await.unwrap(),
        Found::Running
    );
    assert!(supervisor::stop(&session, None, &key).await.unwrap());
    let (_, _, end) = follow(&mut durable).await;
    assert_eq!(
        end,
        Some(End::Exit {
            status: 137,
            slain: Some(true),
            over: false
        })
    );
    let left = std::process::Command::new("pgrep")
        .args(["-f", "sleep 30[12]"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[tokio::test]
async fn a_tombstone_and_a_higher_epoch_forbid_a_late_start() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let work = payload("echo ran >\"$HOME/late\"");
    let mut late = Durable::open(&session, None, &key(4)).await.unwrap();
    assert_eq!(
        supervisor::tomb(&session, None, &key(4)).await.unwrap(),
        Found::Never
    );
    late.go(&work, Offsets::default(), CAP).await.unwrap();
    assert_eq!(follow(&mut late).await.2, Some(End::Never));
    let newer = Key { epoch: 2, ..key(5) };
    assert_eq!(
        supervisor::tomb(&session, None, &newer).await.unwrap(),
        Found::Never
    );
    let mut old = Durable::open(&session, None, &key(6)).await.unwrap();
    old.go(&work, Offsets::default(), CAP).await.unwrap();
    let fenced = old.next().await.unwrap_err();
    assert_eq!(fenced, supervisor::SuperviseError::Fenced(2));
    assert!(!testbed.home().join("late").exists());
}

#[tokio::test]
async fn the_same_in_every_shell() {
    for shell in ["dash", "bash", "busybox"] {
        let tools = tempfile::tempdir().unwrap();
        let real = String::from_utf8(
            std::process::Command::new("which")
                .arg(shell)
                .output()
                .unwrap()
                .stdout,
        )
        .unwrap();
        // With busybox, every tool is busybox's.
        let names: &[&str] = if shell == "busybox" {
            &[
                "sh", "cat", "mkfifo", "mkdir", "rm", "mv", "sleep", "dd", "tail", "id", "df", "chmod",
            ]
        } else {
            &["sh"]
        };
        for name in names {
            std::os::unix::fs::symlink(real.trim(), tools.path().join(name)).unwrap();
        }
        let path = format!("SetEnv PATH={}:/usr/bin:/bin", tools.path().display());
        let home = tempfile::tempdir().unwrap();
        let testbed = Testbed::start(1, "").unwrap();
        drop(testbed);
        let testbed = Testbed::start(1, &format!("{path} HOME={}", home.path().display())).unwrap();
        let session = session(&testbed).await;
        let work = payload("umask; head -c 300000 /dev/zero; printf '\\377\\n' >&2; exit 9");
        let mut durable = Durable::open(&session, None, &key(7)).await.unwrap();
        durable.go(&work, Offsets::default(), CAP).await.unwrap();
        let (stdout, stderr, end) = follow(&mut durable).await;
        assert_eq!(
            end,
            exited(9),
            "{shell}: {} {}",
            String::from_utf8_lossy(&stderr),
            testbed.log()
        );
        assert_eq!(stdout.len(), 300_005, "{shell}");
        assert!(stdout.starts_with(b"0022\n"), "{shell}");
        assert_eq!(stderr, b"\xff\n", "{shell}");
        let mut durable = Durable::open(&session, None, &key(7)).await.unwrap();
        durable
            .go(
                &work,
                Offsets {
                    stdout: 200_001,
                    stderr: 1,
                },
                CAP,
            )
            .await
            .unwrap();
        let (stdout, stderr, end) = follow(&mut durable).await;
        assert_eq!(
            (stdout.len(), stderr.as_slice(), end),
            (100_004, &b"\n"[..], exited(9)),
            "{shell}"
        );
        let slow = payload("echo up; sleep 300; echo never");
        let mut durable = Durable::open(&session, None, &key(8)).await.unwrap();
        durable.go(&slow, Offsets::default(), CAP).await.unwrap();
        assert_eq!(durable.next().await.unwrap(), Beat::Started, "{shell}");
        assert_eq!(
            durable.next().await.unwrap(),
            Beat::Stdout("up\n".into()),
            "{shell}"
        );
        assert!(
            supervisor::stop(&session, None, &key(8)).await.unwrap(),
            "{shell}"
        );
        let (_, _, end) = follow(&mut durable).await;
        assert_eq!(
            end,
            Some(End::Exit {
                status: 143,
                slain: Some(true),
                over: false
            }),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn a_flood_is_capped_on_the_host() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let work = payload("head -c 3000000 /dev/zero; echo last");
    let mut durable = Durable::open(&session, None, &key(9)).await.unwrap();
    durable.go(&work, Offsets::default(), CAP).await.unwrap();
    let (stdout, _, end) = follow(&mut durable).await;
    assert_eq!(
        end,
        Some(End::Exit {
            status: 0,
            slain: None,
            over: true
        })
    );
    let (head, tail) = stdout.split_at(usize::try_from(CAP).unwrap());
    assert!(head.iter().all(|byte| *byte == 0));
    assert!(tail.starts_with(b"\n[output over 1048576 bytes was dropped here]\n"));
    assert!(tail.ends_with(b"\0last\n"));
}

#[tokio::test]
async fn environment_secrets_and_files_stay_off_the_disk() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let secret = "it's\n\\opensesame\n";
    let prelude = [supervisor::export("A", secret), supervisor::export("B", "x y")].concat();
    let text = "printf '%s/%s/' \"${#A}\" \"$B\"; tr '\\0' ' ' </proc/$$/cmdline; read -r gate";
    let text = format!("{text} <{}", testbed.path().join("gate").display());
    assert!(
        std::process::Command::new("mkfifo")
            .arg(testbed.path().join("gate"))
            .status()
            .unwrap()
            .success()
    );
    let mut durable = Durable::open(&session, None, &key(10)).await.unwrap();
    durable
        .go(
            &Payload {
                prelude,
                ..payload(&text)
            },
            Offsets::default(),
            CAP,
        )
        .await
        .unwrap();
    assert_eq!(durable.next().await.unwrap(), Beat::Started);
    let Beat::Stdout(stdout) = durable.next().await.unwrap() else {
        panic!("no output")
    };
    assert!(stdout.starts_with(b"17/x y/sh /"), "{stdout:?}");
    let home = testbed.home();
    let found = std::process::Command::new("grep")
        .args(["-rlF", "--devices=skip", "opensesame"])
        .arg(home)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let listed = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("\\opensesame"));
    std::fs::write(testbed.path().join("gate"), "go\n").unwrap();
    assert_eq!(follow(&mut durable).await.2, exited(0));
}

#[tokio::test]
async fn a_script_keeps_its_interpreter_and_arguments() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let interpreter = vec!["/usr/bin/env".to_owned(), "bash".to_owned()];
    let interpreter = Interpreter::File {
        interpreter,
        arguments: vec!["a b".into(), "c".into()],
    };
    let work = Payload {
        prelude: String::new(),
        text: "#!/usr/bin/env bash\necho \"${BASH_VERSION:+bash} $1/$2\"\n".into(),
        interpreter,
    };
    let mut durable = Durable::open(&session, None, &key(11)).await.unwrap();
    durable.go(&work, Offsets::default(), CAP).await.unwrap();
    assert_eq!(
        follow(&mut durable).await,
        (b"bash a b/c\n".to_vec(), Vec::new(), exited(0))
    );
}

#[tokio::test]
async fn a_forced_command_is_no_shell() {
    let testbed = Testbed::start(1, "ForceCommand echo only backups here").unwrap();
    let session = session(&testbed).await;
    let error = Durable::open(&session, None, &key(12)).await.unwrap_err();
    let supervisor::SuperviseError::Refused { class, message } = error else {
        panic!("{error}")
    };
    assert_eq!(class, Class::NoShell);
    assert!(message.contains("only backups here"), "{message}");
}

#[tokio::test]
async fn a_look_tells_what_moves_from_what_is_still() {
    use reveille_transport::supervisor::{Look, look};
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    // Durable: a sleep is still, a loop moves, what has ended is finished.
    for (seed, text, moves) in [(31, "sleep 30", false), (32, "while :; do :; done", true)] {
        let mut durable = Durable::open(&session, None, &key(seed)).await.unwrap();
        let place = Some(durable.place().to_owned());
        durable.go(&payload(text), Offsets::default(), CAP).await.unwrap();
        assert!(matches!(durable.next().await.unwrap(), Beat::Started));
        let key = Key { place, ..key(seed) };
        let count = async || match look(&session, None, &key).await.unwrap() {
            Look::Alive(alive) => alive,
            other => panic!("{text}: {other:?}"),
        };
        // The command starts a moment after its supervisor says so.
        let mut one = count().await;
        let mut two = count().await;
        while !moves && one.counters != two.counters {
            one = two;
            two = count().await;
        }
        while moves && one.counters == two.counters {
            two = count().await;
        }
        assert!(one.counters.processes >= 2, "{one:?}");
        assert!(!one.asks && one.lock.is_none(), "{one:?}");
        assert!(supervisor::stop(&session, None, &key).await.unwrap());
        assert_eq!(look(&session, None, &key).await.unwrap(), Look::Finished);
    }
    // Plain: what else runs on this connection.
    let session = crate::session(&testbed).await;
    assert_eq!(look(&session, None, &key(33)).await.unwrap(), Look::Gone);
    let exec = session.exec("exec sleep 30").await.unwrap();
    let found = look(&session, None, &key(33)).await.unwrap();
    assert!(
        matches!(&found, Look::Alive(alive) if alive.counters.processes == 1),
        "{found:?}"
    );
    exec.signal_kill().await;
}
