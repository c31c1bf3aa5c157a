//! Tests the transport with a real sshd.

mod copies;
mod durable;

use std::sync::Arc;
use std::time::Duration;

use reveille_account::Class;
use reveille_testbed::Testbed;
use reveille_transport::{
    Client, ConnectError, Deadlines, Heard, HostKeyPolicy, Identities, Keyring, KnownHosts, Session, Target,
    Throttle, Wanted,
};

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

/// The result of a plain command: stdout, stderr, status.
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
async fn servers_that_offer_a_single_algorithm() {
    for hardened in [
        "KexAlgorithms ecdh-sha2-nistp256",
        "KexAlgorithms ecdh-sha2-nistp384",
        "KexAlgorithms ecdh-sha2-nistp521",
        "Ciphers aes128-gcm@openssh.com",
        "Ciphers aes192-ctr",
        "MACs hmac-sha2-256",
    ] {
        let testbed = Testbed::start(1, hardened).unwrap();
        let session = session(&testbed).await;
        assert_eq!(run(&session, "echo ok").await.0, b"ok\n", "{hardened}");
    }
}

/// Longer than an argument of a program, than a packet of SSH, and than servers accept.
#[tokio::test]
async fn a_long_command_runs_and_reads_its_input() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let filler = "it's \\ a \"long\"\n!command $(x) ä".repeat(20_000);
    let quoted = filler.replace('\'', "'\\''");
    let command = format!("text='{quoted}'; echo ${{#c}}; printf %s \"$text\"; cat; exit 7\n");
    let mut exec = session.run(None, &command).await.unwrap();
    let input = exec.input();
    input.send("input").await.unwrap();
    input.end().await.unwrap();
    let (mut stdout, mut status) = (Vec::new(), None);
    loop {
        match exec.next().await {
            Heard::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Heard::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            Heard::ExitStatus(number) => status = Some(number),
            Heard::Closed | Heard::Lost => break,
            Heard::Eof | Heard::ExitSignal(_) => {}
        }
    }
    assert_eq!(status, Some(7));
    assert!(stdout == format!("0\n{filler}input").into_bytes());
}

#[tokio::test]
async fn the_words_of_a_forced_command_are_reported_when_another_user_was_wanted() {
    let testbed = Testbed::start(1, "ForceCommand echo This service allows sftp only; exit 1").unwrap();
    let session = session(&testbed).await;
    let other = reveille_transport::Become::sudo("root");
    let error = session.run(Some(&other), "id").await.unwrap_err();
    let reveille_transport::ExecError::Refused { class, message } = error else {
        panic!("{error}");
    };
    assert_eq!(class, Class::NoShell);
    assert_eq!(
        message,
        "can't become root: the host did not run sudo; it said: This service allows sftp only"
    );
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
    // The agent prints its socket once it listens.
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
    // By itself; and for an encrypted file, whose passphrase nobody has to enter then.
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
    // As with the keys of password managers and hardware: only the public key is in a file, named itself or by the name
    // of its private key, and the agent holds more keys than the host accepts offers.
    for number in 0..7 {
        let key = testbed.path().join(format!("other{number}"));
        for (program, arguments) in [
            ("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f"][..]),
            ("ssh-add", &["-q"]),
        ] {
            let done = std::process::Command::new(program)
                .args(arguments)
                .arg(&key)
                .env("SSH_AUTH_SOCK", &socket)
                .status();
            assert!(done.unwrap().success());
        }
    }
    let public = testbed.path().join("away.pub");
    let text = std::fs::read(testbed.path().join("id_ed25519.pub")).unwrap();
    std::fs::write(&public, text).unwrap();
    std::process::Command::new("ssh-add")
        .args(["-q", "-d"])
        .arg(&public)
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .unwrap();
    let unheld = Identities::load(std::slice::from_ref(&public), Some(socket.clone())).unwrap_err();
    assert!(
        unheld.to_string().contains("no agent holds its private key"),
        "{unheld}"
    );
    let open = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "opensesame", "-N", "", "-f"])
        .arg(testbed.key())
        .status();
    assert!(open.unwrap().success());
    // Now the last of its keys.
    std::process::Command::new("ssh-add")
        .arg("-q")
        .arg(testbed.key())
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .unwrap();
    for (file, only) in [("away.pub", true), ("away.pub", false), ("away", true)] {
        let wanted = Wanted {
            keys: vec![testbed.path().join(file)],
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
    // The other end sees the connection end, so nothing of it is left on ours.
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
            (error.class, error.throttle() != Throttle::No),
            (class, throttled),
            "{}",
            error.message
        );
    }
}
