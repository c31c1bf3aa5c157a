//! Becoming another user with every method, and everything that can run that way.

use reveille_account::Class;
use reveille_transport::supervisor::{self, Beat, Durable, End, Offsets};
use reveille_transport::transfer::{self, Destination, Original};
use reveille_transport::{Become, BecomeMethod, ExecError, Heard, Session};

use crate::support::*;

/// Users to log in as, and how each becomes bob.
fn ways() -> Vec<(&'static str, Become)> {
    use BecomeMethod::{Doas, Su, Sudo};
    vec![
        ("free", by(Sudo, "bob", None)),
        // The password is not asked for, so it is not sent.
        ("free", by(Sudo, "bob", Some("unused"))),
        ("ann", by(Sudo, "bob", Some(PASSWORD))),
        ("tess", by(Sudo, "bob", Some(PASSWORD))),
        (
            "ann",
            Become {
                terminal: true,
                ..by(Sudo, "bob", Some(PASSWORD))
            },
        ),
        ("ann", by(Su, "bob", Some(PASSWORD))),
        ("root", by(Su, "bob", None)),
        ("free", by(Doas, "bob", None)),
        ("ann", by(Doas, "bob", Some(PASSWORD))),
    ]
}

/// Runs every kind of command as bob.
async fn everything(lab: &Lab, session: &Session, other: &Become, seed: u8, way: &str) {
    let other = Some(other);
    // A plain command, with input of all bytes.
    let input: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
    let exec = session.run(other, "cat; id -un >&2; exit 7").await.unwrap();
    let terminal = exec.has_terminal();
    let said = hear(exec, &input).await;
    assert_eq!(said.status, Some(7), "{way}: {}", said.error());
    if terminal {
        assert_eq!(said.stdout, [&input[..], b"bob\n"].concat(), "{way}");
    } else {
        assert!(said.stdout == input, "{way}: {} bytes", said.stdout.len());
        assert_eq!(said.error(), "bob\n", "{way}");
    }
    // A command that reads no input, and one that gets none.
    let exec = session.run(other, "echo \"$HOME/$USER\"; tty").await.unwrap();
    let said = hear(exec, b"").await;
    assert_eq!(
        (said.text(), said.status),
        ("/home/bob/bob\nnot a tty\n".to_owned(), Some(1)),
        "{way}: {}",
        said.error()
    );
    // On its own terminal.
    let command = "test -t 0 && test -t 1 && echo all here; id -un; printf 'err\\n' >&2; exit 5";
    let exec = session.run_on_terminal(other, command).await.unwrap();
    let mut exec = exec;
    let (mut said, mut status) = (Vec::new(), None);
    // The status may come before the last output.
    loop {
        match exec.next().await {
            Heard::Stdout(bytes) => said.extend_from_slice(&bytes),
            Heard::ExitStatus(number) => status = Some(number),
            Heard::Closed => break,
            Heard::Lost => panic!("{way}: lost"),
            _ => {}
        }
    }
    assert_eq!(
        (String::from_utf8_lossy(&said).into_owned(), status),
        ("all here\nbob\nerr\n".to_owned(), Some(5)),
        "{way}"
    );

    // Durable work.
    let work = payload("id -un; echo err >&2; printf 'a\\r\\nb\\377'; exit 4");
    let mut durable = Durable::open_start(session, other, &key(seed)).await.unwrap();
    durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)), "{way}");
    let (stdout, stderr, end) = follow(&mut durable).await;
    assert_eq!(end, exited(4), "{way}");
    let whole: &[u8] = if terminal {
        b"bob\nerr\na\r\nb\xff"
    } else {
        b"bob\na\r\nb\xff"
    };
    assert_eq!(stdout, whole, "{way}");
    assert_eq!(stderr, if terminal { &b""[..] } else { b"err\n" }, "{way}");
    // Attached to in the middle.
    let mut again = Durable::open_attach(session, other, &key(seed)).await.unwrap();
    let offsets = Offsets {
        stdout: 2,
        stderr: if terminal { 0 } else { 4 },
    };
    again.attach(offsets, None, CAP).await.unwrap();
    assert_eq!(
        follow(&mut again).await,
        (whole[2..].to_vec(), Vec::new(), exited(4)),
        "{way}"
    );
    assert!(again.clean().await, "{way}");

    // Killed.
    let slow = payload("echo up; sleep 1000");
    let mut durable = Durable::open_start(session, other, &key(seed + 100))
        .await
        .unwrap();
    durable.start(&durable.hello().clone(), &slow, CAP).await.unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)), "{way}");
    assert_eq!(
        durable.next().await.unwrap(),
        Beat::Stdout("up\n".into()),
        "{way}"
    );
    assert!(
        supervisor::stop(session, other, &key(seed + 100), None)
            .await
            .unwrap(),
        "{way}"
    );
    let killed = End::Exit {
        status: 143,
        slain: Some(true),
        over: false,
    };
    assert_eq!(follow(&mut durable).await.2, Some(killed), "{way}");

    // Files.
    let destination = Destination {
        path: format!("/home/bob/copy{seed}"),
        name: String::new(),
        mode: Some("0600".into()),
        owner: None,
        group: None,
    };
    let here = tempfile::tempdir().unwrap();
    let source = here.path().join("source");
    std::fs::write(&source, &input).unwrap();
    let original = Original::at(&source).unwrap();
    for changed in [true, false] {
        let copied = transfer::upload(session, other, &original, &destination).await;
        assert_eq!(copied.unwrap().changed, changed, "{way}");
    }
    let back = here.path().join("back");
    transfer::download(session, other, &destination.path, &back, input.len() as u64)
        .await
        .unwrap();
    assert!(std::fs::read(&back).unwrap() == input, "{way}");
    let site = here.path().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("file"), &input).unwrap();
    let directory = Destination {
        path: format!("/home/bob/site{seed}"),
        mode: None,
        ..destination.clone()
    };
    let original = Original::at(&site).unwrap();
    for changed in [true, false] {
        let copied = transfer::upload(session, other, &original, &directory).await;
        assert_eq!(copied.unwrap().changed, changed, "{way}");
    }
    let back = here.path().join("back-site");
    transfer::download(session, other, &directory.path, &back, 1 << 30)
        .await
        .unwrap();
    assert!(std::fs::read(back.join("file")).unwrap() == input, "{way}");
    let owner = lab.root(&format!("stat -c '%U %a' {}", destination.path));
    assert_eq!(owner, "bob 600\n", "{way}");
}

#[tokio::test]
async fn everything_runs_under_every_method() {
    let lab = Lab::up();
    for (number, (user, other)) in ways().into_iter().enumerate() {
        let way = format!("{user} by {other:?}");
        let session = lab.session(user).await;
        everything(&lab, &session, &other, u8::try_from(number).unwrap(), &way).await;
        session.close().await;
    }
}

#[tokio::test]
async fn everything_runs_through_the_systems_ssh() {
    let lab = Lab::up();
    for (number, (user, other)) in ways().into_iter().enumerate() {
        let way = format!("{user} by {other:?} through ssh");
        let target = by_openssh(lab.target(user, lab.port()));
        let session = connect(&lab.client(), &target).await.unwrap();
        everything(&lab, &session, &other, u8::try_from(number).unwrap(), &way).await;
        session.close().await;
    }
}

// A second thread lets the connection end while this one waits for the host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_work_outlives_the_connection_and_its_terminal() {
    let lab = Lab::up();
    for (number, (user, other)) in ways().into_iter().enumerate() {
        let key = key(u8::try_from(number).unwrap());
        let gate = format!("/tmp/gate{number}");
        lab.root(&format!("mkfifo -m 666 {gate}"));
        let first = lab.session(user).await;
        let work = payload(&format!("echo before; cat {gate}; echo after"));
        let mut durable = Durable::open_start(&first, Some(&other), &key).await.unwrap();
        durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
        assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
        assert_eq!(durable.next().await.unwrap(), Beat::Stdout("before\n".into()));
        drop(durable);
        drop(first);
        // The host notices the end of the connection, and hangs up its terminals. For root, our own connections look
        // the same, so only the work is waited for.
        let gone = if user == "root" { "-" } else { user };
        lab.root(&format!(
            "while grep -qs 'sshd[:] {gone}@' /proc/[0-9]*/cmdline; do sleep 0.05; done"
        ));
        let second = lab.session(user).await;
        let mut durable = Durable::open_attach(&second, Some(&other), &key).await.unwrap();
        let offsets = Offsets { stdout: 7, stderr: 0 };
        durable.attach(offsets, None, CAP).await.unwrap();
        assert!(
            matches!(
                durable.next().await.unwrap(),
                Beat::Attached { finished: false, .. }
            ),
            "{user} by {other:?}"
        );
        lab.root(&format!("timeout 10 sh -c 'echo through >{gate}'"));
        assert_eq!(
            follow(&mut durable).await,
            (b"through\nafter\n".to_vec(), Vec::new(), exited(0)),
            "{user} by {other:?}"
        );
    }
}

/// The class and message of a refusal.
async fn refused(session: &Session, other: &Become) -> (Class, String) {
    match session.run(Some(other), "id").await {
        Err(ExecError::Refused { class, message }) => (class, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn refusals_are_told_apart_and_a_password_is_tried_once() {
    use BecomeMethod::{Doas, Su, Sudo};
    let lab = Lab::up();
    // PAM counts the attempts.
    lab.root(
        "cat >/etc/pam.d/tries <<'END'\nauth required pam_exec.so quiet /usr/local/bin/tried\nEND\n\
         printf '#!/bin/sh\\necho \"$PAM_SERVICE $PAM_TYPE\" >>/var/log/tried\\n' >/usr/local/bin/tried\n\
         chmod 755 /usr/local/bin/tried\n\
         for service in sudo su doas; do sed -i '1i auth optional pam_exec.so quiet /usr/local/bin/tried' /etc/pam.d/$service; done",
    );
    let wrong = "Wr0ng!pass";
    let ann = lab.session("ann").await;
    let carl = lab.session("carl").await;
    for (session, other, class, words) in [
        (
            &ann,
            by(Sudo, "bob", None),
            Class::BecomeFailed,
            "a password is required",
        ),
        (
            &ann,
            by(Sudo, "bob", Some(wrong)),
            Class::BecomeFailed,
            "sudo refused the password",
        ),
        (
            &ann,
            by(Sudo, "nobody-here", Some(PASSWORD)),
            Class::BecomeFailed,
            "nobody-here",
        ),
        (
            &carl,
            by(Sudo, "bob", Some(PASSWORD)),
            Class::BecomeFailed,
            "not in the sudoers file",
        ),
        (
            &ann,
            by(Su, "-c", Some(PASSWORD)),
            Class::BecomeFailed,
            "not a user name",
        ),
        (
            &carl,
            by(Sudo, "bob", None),
            Class::BecomeFailed,
            "a password is required",
        ),
        (
            &ann,
            by(Su, "bob", Some(wrong)),
            Class::BecomeFailed,
            "Authentication failure",
        ),
        (
            &ann,
            by(Su, "bob", None),
            Class::BecomeFailed,
            "su asks for a password, and none is set",
        ),
        (
            &ann,
            by(Su, "nobody-here", Some(PASSWORD)),
            Class::BecomeFailed,
            "nobody-here",
        ),
        (
            &ann,
            by(Doas, "bob", Some(wrong)),
            Class::BecomeFailed,
            "Authentication failed",
        ),
        (
            &ann,
            by(Doas, "bob", None),
            Class::BecomeFailed,
            "Authentication required",
        ),
        (
            &carl,
            by(Doas, "bob", Some(PASSWORD)),
            Class::BecomeFailed,
            "Operation not permitted",
        ),
    ] {
        lab.root("rm -f /var/log/tried");
        let (found, message) = refused(session, &other).await;
        assert_eq!(found, class, "{other:?}: {message}");
        assert!(message.contains(words), "{other:?}: {message}");
        assert!(
            !message.contains(wrong) && !message.contains(PASSWORD),
            "{message}"
        );
        let tries = lab.root("cat /var/log/tried 2>/dev/null || true");
        assert!(tries.lines().count() <= 1, "{other:?}: {tries}");
    }
    lab.root("mv /usr/bin/sudo /usr/bin/sudo.away; mv /usr/bin/su /usr/bin/su.away; mv /usr/bin/doas /usr/bin/doas.away");
    for method in [Sudo, Su, Doas] {
        for password in [None, Some(PASSWORD)] {
            let (class, message) = refused(&ann, &by(method, "bob", password)).await;
            assert_eq!(class, Class::BecomeMissing, "{method:?}: {message}");
        }
    }
}

#[tokio::test]
async fn nothing_of_the_input_is_sent_before_the_user_is_changed() {
    let lab = Lab::up();
    // A sudo that reads everything it can get while it waits, and then refuses.
    lab.root(
        "mv /usr/bin/sudo /usr/bin/sudo.away; printf '#!/bin/sh\\ntimeout 1 cat >/tmp/stolen\\nexit 1\\n' >/usr/bin/sudo; \
         chmod 755 /usr/bin/sudo",
    );
    let session = lab.session("ann").await;
    for password in [None, Some(PASSWORD)] {
        let (class, _) = refused(&session, &by(BecomeMethod::Sudo, "bob", password)).await;
        assert_eq!(class, Class::BecomeFailed);
        let error =
            Durable::open_start(&session, Some(&by(BecomeMethod::Sudo, "bob", password)), &key(1)).await;
        assert!(error.is_err());
        assert_eq!(lab.root("cat /tmp/stolen"), "");
    }
}
