//! The same tests over every transport, and the mapping of `ssh` messages to our classes.

use std::sync::Arc;

use reveille_account::Class;
use reveille_transport::supervisor::{self, Beat, Durable, Look, Offsets, SuperviseError};
use reveille_transport::transfer::{self, Destination, Original};
use reveille_transport::{
    Become, BecomeMethod, Client, Deadlines, ExecError, Heard, HostKeyPolicy, KnownHosts, OpenSsh, Session,
    Target, Transport,
};

use crate::support::*;

async fn sessions(lab: &Lab) -> Vec<(&'static str, Session)> {
    let native = lab.target("ann", lab.port());
    let local = Target {
        transport: Transport::Local,
        ..native.clone()
    };
    let client = lab.client();
    let mut sessions = Vec::new();
    for (name, target) in [
        ("native", native.clone()),
        ("openssh", by_openssh(native)),
        ("local", local),
    ] {
        sessions.push((name, connect(&client, &target).await.unwrap()));
    }
    sessions
}

#[tokio::test]
async fn all_transports_do_the_same() {
    let lab = Lab::up();
    for (name, session) in sessions(&lab).await {
        let input: Vec<u8> = (0..=255u8).cycle().take(300_000).collect();
        let said = hear(
            session.run(None, "cat; echo err >&2; exit 5").await.unwrap(),
            &input,
        )
        .await;
        assert!(said.stdout == input, "{name}");
        assert_eq!(
            (said.error().as_str(), said.status, said.lost),
            ("err\n", Some(5), false),
            "{name}"
        );
        let said = hear(session.run(None, "kill -KILL $$").await.unwrap(), b"").await;
        assert_eq!(
            (said.signal.as_deref(), said.status),
            (Some("KILL"), None),
            "{name}"
        );
        let said = hear(
            session
                .run(None, "printf '%s|' 'a\\b' \"c!d\"\necho '$HOME'")
                .await
                .unwrap(),
            b"",
        )
        .await;
        assert_eq!(said.text(), "a\\b|c!d|$HOME\n", "{name}");

        // Durable work: started once, attached to, killed. Local work would use our own home, so it gets its own place.
        let place = (name == "local").then(|| lab.directory.path().join("reveille").display().to_string());
        let key = |seed| supervisor::Key {
            place: place.clone(),
            // Native and openssh use the same place.
            ..key(seed + u8::try_from(name.len()).unwrap() * 10)
        };
        let work = payload("echo out; echo err >&2; exit 4");
        for started in [true, false] {
            let mut durable = Durable::open_start(&session, None, &key(1)).await.unwrap();
            let agreed = durable.hello().clone();
            durable.start(&agreed, &work, CAP).await.unwrap();
            match durable.next().await.unwrap() {
                Beat::Started(begun) => assert!(started && begun.pid > 0, "{name}"),
                Beat::Attached { finished, .. } => assert!(finished && !started, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
            assert_eq!(
                follow(&mut durable).await,
                (b"out\n".to_vec(), b"err\n".to_vec(), exited(4)),
                "{name}"
            );
        }
        // Without a client, the work continues.
        let mut durable = Durable::open_start(&session, None, &key(2)).await.unwrap();
        durable
            .start(&durable.hello().clone(), &payload("echo up; sleep 1000"), CAP)
            .await
            .unwrap();
        assert!(
            matches!(durable.next().await.unwrap(), Beat::Started(_)),
            "{name}"
        );
        assert_eq!(
            durable.next().await.unwrap(),
            Beat::Stdout("up\n".into()),
            "{name}"
        );
        drop(durable);
        let mut durable = Durable::open_attach(&session, None, &key(2)).await.unwrap();
        durable
            .attach(Offsets { stdout: 3, stderr: 0 }, None, CAP)
            .await
            .unwrap();
        assert!(
            matches!(
                durable.next().await.unwrap(),
                Beat::Attached { finished: false, .. }
            ),
            "{name}"
        );
        assert!(
            supervisor::stop(&session, None, &key(2), None).await.unwrap(),
            "{name}"
        );
        let (_, _, end) = follow(&mut durable).await;
        assert!(
            matches!(end, Some(supervisor::End::Exit { status: 143, .. })),
            "{name}: {end:?}"
        );

        // Files.
        let directory = if name == "local" {
            lab.directory.path().display().to_string()
        } else {
            "/home/ann".into()
        };
        let destination = Destination {
            path: directory,
            name: format!("copied-{name}"),
            mode: None,
            owner: None,
            group: None,
        };
        let here = tempfile::tempdir().unwrap();
        let source = here.path().join("source");
        std::fs::write(&source, &input).unwrap();
        let original = Original::at(&source).unwrap();
        assert!(
            transfer::upload(&session, None, &original, &destination)
                .await
                .unwrap()
                .changed,
            "{name}"
        );
        let back = here.path().join("back");
        let path = format!("{}/{}", destination.path, destination.name);
        transfer::download(&session, None, &path, &back, input.len() as u64)
            .await
            .unwrap();
        assert!(std::fs::read(&back).unwrap() == input, "{name}");

        // Directories.
        let site = here.path().join("site");
        std::fs::create_dir_all(site.join("a/b")).unwrap();
        std::fs::write(site.join("a/b/c"), &input).unwrap();
        let original = Original::at(&site).unwrap();
        let destination = Destination {
            name: format!("site-{name}"),
            ..destination
        };
        for changed in [true, false] {
            let sent = transfer::upload(&session, None, &original, &destination).await;
            assert_eq!(sent.unwrap().changed, changed, "{name}");
        }
        let path = format!("{}/{}", destination.path, destination.name);
        let back = here.path().join("site-back");
        for files in [1, 0] {
            let fetched = transfer::download(&session, None, &path, &back, 1 << 30).await;
            assert_eq!(fetched.unwrap().files, files, "{name}");
        }
        assert!(std::fs::read(back.join("a/b/c")).unwrap() == input, "{name}");
        assert!(!session.is_closed(), "{name}");
        session.close().await;
    }
}

#[tokio::test]
async fn a_flood_waits_for_its_reader() {
    let lab = Lab::up();
    for (name, session) in sessions(&lab).await {
        let mark = lab.directory.path().join(name);
        let told = if name == "local" {
            mark.display().to_string()
        } else {
            format!("/tmp/{name}")
        };
        let command = format!("head -c 200000000 /dev/zero; echo done >{told}");
        let mut exec = session.run(None, &command).await.unwrap();
        let Heard::Stdout(first) = exec.next().await else {
            panic!("{name}")
        };
        assert!(!first.is_empty());
        // Another command on the same session works, and sees that the first one has not run ahead.
        if name != "native" {
            let said = hear(session.run(None, &format!("test -e {told}")).await.unwrap(), b"").await;
            assert_eq!(said.status, Some(1), "{name}");
        }
        let mut heard = first.len();
        loop {
            match exec.next().await {
                Heard::Stdout(bytes) => heard += bytes.len(),
                Heard::Closed => break,
                _ => {}
            }
        }
        assert_eq!(heard, 200_000_000, "{name}");
    }
}

#[tokio::test]
async fn a_local_command_goes_with_its_reader() {
    let lab = Lab::up();
    let (_, session) = sessions(&lab).await.pop().unwrap();
    let mut exec = session.run(None, "sleep 1000 & echo $!; wait").await.unwrap();
    let Heard::Stdout(pid) = exec.next().await else {
        panic!()
    };
    let pid = String::from_utf8_lossy(&pid).trim().to_owned();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while !stat().contains("(sleep)") {
        tokio::task::yield_now().await;
    }
    drop(exec);
    // It is a grandchild: gone, or a zombie until its new parent reaps it.
    while stat().contains("(sleep)") && !stat().contains(") Z ") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_local_command_on_a_terminal() {
    let lab = Lab::up();
    let (_, session) = sessions(&lab).await.pop().unwrap();
    // Root becomes root, so nothing on this machine needs to change.
    let other = Become {
        terminal: true,
        ..by(BecomeMethod::Su, "root", None)
    };
    let input: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
    let exec = session
        .run(Some(&other), "cat; id -un; tty <&2; exit 6")
        .await
        .unwrap();
    assert!(exec.has_terminal());
    let said = hear(exec, &input).await;
    assert_eq!(said.status, Some(6));
    assert_eq!(said.stdout, [&input[..], b"root\nnot a tty\n"].concat());
    let place = lab.directory.path().join("reveille").display().to_string();
    let key = supervisor::Key {
        place: Some(place),
        ..key(1)
    };
    let mut durable = Durable::open_start(&session, Some(&other), &key).await.unwrap();
    durable
        .start(
            &durable.hello().clone(),
            &payload("echo out; echo err >&2; exit 4"),
            CAP,
        )
        .await
        .unwrap();
    assert_eq!(
        follow(&mut durable).await,
        (b"out\nerr\n".to_vec(), Vec::new(), exited(4))
    );
}

#[tokio::test]
async fn a_local_command_is_looked_at_apart_from_others() {
    let lab = Lab::up();
    let (_, session) = sessions(&lab).await.pop().unwrap();
    let (_, other) = sessions(&lab).await.pop().unwrap();
    let processes = async || match supervisor::look(&session, None, &key(2)).await.unwrap() {
        Look::Alive(alive) => alive.counters.processes,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        supervisor::look(&session, None, &key(2)).await.unwrap(),
        Look::Gone
    );
    let one = session.run(None, "exec sleep 30").await.unwrap();
    let _other = other
        .run(None, "sleep 30 & sleep 30 & sleep 30; :")
        .await
        .unwrap();
    assert_eq!(processes().await, 1);
    let mut asks = session
        .run_on_terminal(None, "printf 'Sure? '; read -r answer")
        .await
        .unwrap();
    while !matches!(asks.next().await, Heard::Stdout(_)) {}
    while !matches!(supervisor::look(&session, None, &key(2)).await.unwrap(), Look::Alive(alive) if alive.asks)
    {
    }
    assert!(supervisor::halt(&session, None, &key(2)).await.unwrap());
    drop((one, asks));
    let left = supervisor::look(&session, None, &key(2)).await.unwrap();
    assert_eq!(left, Look::Gone);
    let left = supervisor::look(&other, None, &key(2)).await.unwrap();
    assert!(
        matches!(&left, Look::Alive(alive) if alive.counters.processes == 4),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_ssh_says_in_our_classes() {
    let lab = Lab::up();
    let good = lab.target("ann", lab.port());
    let wrong = std::fs::read_to_string(lab.key().with_extension("pub")).unwrap();
    let known = lab.directory.path().join("wrong");
    std::fs::write(
        &known,
        format!("[{}]:{} {wrong}", lab.machine().address(), lab.port()),
    )
    .unwrap();
    let mismatch = Arc::new(KnownHosts::load(&[known], None).unwrap());
    let missing = OpenSsh {
        program: "/nowhere/ssh".into(),
        ..OpenSsh::default()
    };
    let listener = std::net::TcpListener::bind("127.65.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().port();
    let old = lab.serve("KexAlgorithms diffie-hellman-group1-sha1");
    let closed = lab.serve("AllowTcpForwarding no");
    let cases = [
        (
            Class::Dns,
            Target {
                address: "no.such.host.invalid".into(),
                ..good.clone()
            },
        ),
        (
            Class::ConnectRefused,
            Target {
                port: 1,
                ..good.clone()
            },
        ),
        (
            Class::HostKeyUnknown,
            Target {
                host_keys: HostKeyPolicy::Strict,
                ..good.clone()
            },
        ),
        (
            Class::HostKeyMismatch,
            Target {
                known_hosts: Some(mismatch),
                ..good.clone()
            },
        ),
        (
            Class::AuthFailed,
            Target {
                user: "nobody-here".into(),
                ..good.clone()
            },
        ),
        (
            Class::ProtocolError,
            Target {
                port: old,
                ..good.clone()
            },
        ),
        (
            Class::HandshakeStalled,
            Target {
                port: silent,
                ..good.clone()
            },
        ),
        (
            Class::ChannelRefused,
            Target {
                transport: Transport::OpenSsh(Arc::new(OpenSsh {
                    config: Some("/dev/null".into()),
                    options: vec![format!(
                        "ProxyCommand=ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {} -p {closed} -W %h:%p ann@{}",
                        lab.key().display(),
                        lab.machine().address()
                    )],
                    ..OpenSsh::default()
                })),
                ..good.clone()
            },
        ),
        (
            Class::Internal,
            Target {
                transport: Transport::OpenSsh(Arc::new(missing)),
                ..good.clone()
            },
        ),
    ];
    let deadlines = Deadlines {
        connect: std::time::Duration::from_secs(1),
        ..Deadlines::default()
    };
    for (class, target) in cases {
        let known = KnownHosts::load(&[], Some(lab.directory.path().join("known"))).unwrap();
        let client = Client::new(deadlines, Arc::new(known));
        let target = if matches!(target.transport, Transport::Native) {
            by_openssh(target)
        } else {
            target
        };
        let error = connect(&client, &target).await.unwrap_err();
        assert_eq!(error.class, class, "{}", error.message);
    }
}

#[tokio::test]
async fn a_master_that_goes_and_one_that_is_full() {
    let lab = Lab::up();
    let port = lab.serve("MaxSessions 1");
    let session = connect(&lab.client(), &by_openssh(lab.target("ann", port)))
        .await
        .unwrap();
    let exec = session.run(None, "sleep 1000").await.unwrap();
    let second = session.run(None, "id").await;
    let Err(ExecError::Refused { class, message }) = second else {
        panic!("{second:?}")
    };
    assert_eq!(class, Class::ChannelRefused, "{message}");
    lab.root("kill -9 $(grep -ls 'sshd[:] ann' /proc/[0-9]*/cmdline | grep -o '[0-9]*')");
    assert!(hear(exec, b"").await.lost);
    let after = session.run(None, "id").await;
    assert!(
        matches!(after, Err(ExecError::NotSent(_) | ExecError::Unanswered(_))),
        "{after:?}"
    );
    assert!(session.is_closed());
}

#[tokio::test]
async fn a_full_host_refuses_and_a_second_connection_kills() {
    let lab = Lab::up();
    let target = lab.target("ann", lab.serve("MaxSessions 1"));
    let session = connect(&lab.client(), &target).await.unwrap();
    let mut durable = Durable::open_start(&session, None, &key(1)).await.unwrap();
    durable
        .start(&durable.hello().clone(), &payload("echo up; sleep 1000"), CAP)
        .await
        .unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
    let refused = supervisor::stop(&session, None, &key(1), None).await.unwrap_err();
    assert!(
        matches!(
            &refused,
            SuperviseError::Exec(ExecError::Refused {
                class: Class::ChannelRefused,
                ..
            })
        ),
        "{refused:?}"
    );
    let second = connect(&lab.client(), &target).await.unwrap();
    assert!(supervisor::stop(&second, None, &key(1), None).await.unwrap());
    assert!(follow(&mut durable).await.2.is_some());
}
