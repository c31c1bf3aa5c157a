//! Durable work: it runs once, outlives its connection, and is reported to every controller that asks.

use std::time::Duration;

use reveille_account::{Class, RunId, Token};
use reveille_testbed::Testbed;
use reveille_transport::Session;
use reveille_transport::supervisor::{
    self, Beat, Begun, Durable, End, Hello, Interpreter, Key, Offsets, Payload,
};

use crate::session;

const CAP: u64 = 1 << 20;

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
            Beat::Started(_) | Beat::Attached { .. } => {}
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

/// Starts work with the hello of its own channel.
async fn start(session: &Session, key: &Key, work: &Payload) -> Durable {
    let mut durable = Durable::open_start(session, None, key).await.unwrap();
    let agreed = durable.hello().clone();
    durable.start(&agreed, work, CAP).await.unwrap();
    durable
}

async fn attach(session: &Session, key: &Key, stdout: u64, stderr: u64, begun: Option<&Begun>) -> Durable {
    let mut durable = Durable::open_attach(session, None, key).await.unwrap();
    let offsets = Offsets { stdout, stderr };
    durable.attach(offsets, begun, CAP).await.unwrap();
    durable
}

/// The directory of a token on the host.
fn directory(testbed: &Testbed, key: &Key) -> std::path::PathBuf {
    let place = testbed.home().join(".local/state/reveille");
    place.join(key.run.uuid()).join(key.token.to_string())
}

/// The supervisor alone is killed, as by the kernel when memory is short: the command continues, and is not gone before
/// it has ended.
#[tokio::test]
async fn what_outlives_its_supervisor_is_not_gone_yet() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let text = "echo on\nuntil [ -e \"$HOME/stop\" ]; do sleep 0.1; done\necho off >>\"$HOME/ran\"";
    let mut first = start(&session, &key(1), &payload(text)).await;
    let Beat::Started(begun) = first.next().await.unwrap() else {
        panic!("not started")
    };
    assert_eq!(first.next().await.unwrap(), Beat::Stdout("on\n".into()));
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &begun.pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let mut second = attach(&session, &key(1), 0, 0, Some(&begun)).await;
    while second.next().await.unwrap() != Beat::Stdout("on\n".into()) {}
    std::fs::write(testbed.home().join("stop"), "").unwrap();
    for durable in [&mut second, &mut first] {
        assert_eq!(follow(durable).await.2, Some(End::Gone));
        let ran = std::fs::read_to_string(testbed.home().join("ran"));
        assert_eq!(ran.unwrap_or_default(), "off\n");
    }
}

#[tokio::test]
async fn durable_work_runs_once_and_is_told_to_everybody() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let work = payload("echo one >>\"$HOME/ran\"\necho out\necho err >&2\nexit 4");
    let mut first = start(&session, &key(1), &work).await;
    let hello = first.hello().clone();
    assert!(
        hello.place.ends_with("home/.local/state/reveille"),
        "{}",
        hello.place
    );
    assert!(
        [&hello.boot, &hello.node, &hello.mark]
            .iter()
            .all(|word| *word != "-")
    );
    let Beat::Started(begun) = first.next().await.unwrap() else {
        panic!("not started")
    };
    assert_eq!(
        follow(&mut first).await,
        (b"out\n".to_vec(), b"err\n".to_vec(), exited(4))
    );
    let mut second = attach(&session, &key(1), 2, 4, None).await;
    assert_eq!(*second.hello(), hello);
    assert!(matches!(
        second.next().await.unwrap(),
        Beat::Attached { finished: true, ran: Some(ran) } if ran < Duration::from_mins(5)
    ));
    assert_eq!(
        follow(&mut second).await,
        (b"t\n".to_vec(), Vec::new(), exited(4))
    );
    assert!(second.clean().await);
    // Only a tombstone is left; a controller that knows that the work began is not told that it never did.
    let mut third = start(&session, &key(1), &work).await;
    assert_eq!(follow(&mut third).await.2, Some(End::Never));
    let mut fourth = attach(&session, &key(1), 0, 0, None).await;
    assert_eq!(follow(&mut fourth).await.2, Some(End::Never));
    let mut fifth = attach(&session, &key(1), 0, 0, Some(&begun)).await;
    assert_eq!(follow(&mut fifth).await.2, Some(End::Gone));
    assert_eq!(
        std::fs::read_to_string(testbed.home().join("ran")).unwrap(),
        "one\n"
    );
}

#[tokio::test]
async fn an_absent_directory_is_told_and_nothing_starts_later() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let mut late = Durable::open_start(&session, None, &key(1)).await.unwrap();
    let mut absent = attach(&session, &key(1), 0, 0, None).await;
    assert_eq!(follow(&mut absent).await.2, Some(End::Absent));
    let agreed = late.hello().clone();
    assert_eq!(*absent.hello(), agreed);
    let work = payload("echo ran >\"$HOME/late\"");
    late.start(&agreed, &work, CAP).await.unwrap();
    assert_eq!(follow(&mut late).await.2, Some(End::Never));
    // A boot, machine or mark that differs from the agreed one.
    for part in 0..3 {
        let mut other = agreed.clone();
        *[&mut other.boot, &mut other.machine, &mut other.mark][part] = "other".to_owned();
        let mut start = Durable::open_start(&session, None, &key(2)).await.unwrap();
        start.start(&other, &work, CAP).await.unwrap();
        assert_eq!(follow(&mut start).await.2, Some(End::Elsewhere), "{part}");
    }
    // A wiped place is a different place.
    std::fs::remove_dir_all(&agreed.place).unwrap();
    let mut start = Durable::open_start(&session, None, &key(2)).await.unwrap();
    assert_ne!(start.hello().mark, agreed.mark);
    start.start(&agreed, &work, CAP).await.unwrap();
    assert_eq!(follow(&mut start).await.2, Some(End::Elsewhere));
    assert!(!testbed.home().join("late").exists());
}

#[tokio::test]
async fn what_is_swept_under_running_work_is_not_taken_for_its_end() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let gate = testbed.path().join("gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(made.unwrap().success());
    let work = payload(&format!("echo up; cat {}; exit 9", gate.display()));
    for (seed, whole) in [(1, false), (2, true)] {
        let mut durable = start(&session, &key(seed), &work).await;
        let Beat::Started(begun) = durable.next().await.unwrap() else {
            panic!("not started")
        };
        assert_eq!(durable.next().await.unwrap(), Beat::Stdout("up\n".into()));
        let directory = directory(&testbed, &key(seed));
        if whole {
            std::fs::remove_dir_all(directory).unwrap();
        } else {
            std::fs::remove_file(directory.join("pid")).unwrap();
        }
        let mut again = attach(&session, &key(seed), 3, 0, Some(&begun)).await;
        assert!(matches!(
            again.next().await.unwrap(),
            Beat::Attached { finished: false, .. }
        ));
        let gate = gate.clone();
        tokio::task::spawn_blocking(move || std::fs::write(gate, "through\n"))
            .await
            .unwrap()
            .unwrap();
        let (stdout, _, end) = follow(&mut again).await;
        let end_of_it = End::Exit {
            status: 9,
            slain: None,
            over: whole,
        };
        assert_eq!(end, Some(end_of_it));
        let lost = stdout.starts_with(b"\n[some of the output may be lost here: its file was removed");
        assert!(
            if whole { lost } else { stdout == b"through\n" },
            "{}",
            String::from_utf8_lossy(&stdout)
        );
    }
}

#[tokio::test]
async fn what_is_another_machines_is_left_alone() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let mut durable = start(&session, &key(1), &payload("echo up; sleep 300")).await;
    let mut key = key(1);
    key.place = Some(durable.hello().place.clone());
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
    assert_eq!(durable.next().await.unwrap(), Beat::Stdout("up\n".into()));
    let hello = durable.hello().clone();
    // A home on NFS: the same directory, seen from another machine.
    let pid = directory(&testbed, &key).join("pid");
    let ours = std::fs::read_to_string(&pid).unwrap();
    if hello.machine != "-" {
        let theirs = ours.replace(&hello.machine, "ffff").replace(&hello.boot, "0000");
        std::fs::write(&pid, theirs).unwrap();
        let mut again = attach(&session, &key, 0, 0, None).await;
        assert_eq!(follow(&mut again).await.2, Some(End::Elsewhere));
        assert!(!supervisor::stop(&session, None, &key, None).await.unwrap());
        let clean = supervisor::clean(&session, None, &key, None).await;
        assert_eq!(clean.unwrap(), Some(1));
        assert!(pid.exists());
        std::fs::write(&pid, &ours).unwrap();
    }
    // The pid file of an older script has no machine.
    let older: Vec<&str> = ours.trim_end().split(' ').take(5).collect();
    std::fs::write(&pid, format!("{}\n", older.join(" "))).unwrap();
    assert!(supervisor::stop(&session, None, &key, None).await.unwrap());
    let (_, _, end) = follow(&mut durable).await;
    assert!(
        matches!(
            end,
            Some(End::Exit {
                slain: Some(true),
                ..
            })
        ),
        "{end:?}"
    );
    // Only a place with the given identity is cleaned.
    let other = Hello {
        mark: "other".to_owned(),
        ..hello.clone()
    };
    let clean = async |reported: Option<&Hello>| supervisor::clean(&session, None, &key, reported).await;
    assert_eq!(clean(Some(&other)).await.unwrap(), None);
    assert!(pid.exists());
    assert_eq!(clean(Some(&hello)).await.unwrap(), Some(0));
    assert!(!pid.exists());
}

#[tokio::test]
async fn clean_makes_nothing_and_changes_nothing_of_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let at = |place: &std::path::Path| Key {
        place: Some(place.display().to_string()),
        ..key(1)
    };
    let other = testbed.home().join("etc");
    std::fs::create_dir(&other).unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = supervisor::clean(&session, None, &at(&other), None).await;
    assert!(matches!(
        refused,
        Err(supervisor::SuperviseError::Exec(
            reveille_transport::ExecError::Refused {
                class: Class::TransferFailed,
                ..
            }
        ))
    ));
    let place = testbed.home().join("reveille");
    let clean = async || supervisor::clean(&session, None, &at(&place), None).await;
    assert_eq!(clean().await.unwrap(), Some(0));
    assert!(!place.exists());
    // Files that resemble ours, but with other names, stay.
    let run = place.join(key(1).run.uuid());
    let token = run.join("not-a-token");
    std::fs::create_dir_all(&token).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["pid", "go", "exit"] {
        std::fs::write(token.join(name), "1 1 - 1 1\n").unwrap();
    }
    assert_eq!(clean().await.unwrap(), Some(0));
    assert!(token.join("pid").exists());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place), mode(&other)), (0o755, 0o755));
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
    let mut durable = Durable::open_start(&first, None, &key(2)).await.unwrap();
    durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
    assert_eq!(durable.next().await.unwrap(), Beat::Stdout("before\n".into()));
    drop(first);
    let again = session(&testbed).await;
    let mut durable = Durable::open_attach(&again, None, &key(2)).await.unwrap();
    durable
        .attach(Offsets { stdout: 7, stderr: 0 }, None, CAP)
        .await
        .unwrap();
    assert!(matches!(
        durable.next().await.unwrap(),
        Beat::Attached { finished: false, .. }
    ));
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
    let mut durable = Durable::open_start(&session, None, &key(3)).await.unwrap();
    let mut key = key(3);
    key.place = Some(durable.hello().place.clone());
    durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
    assert_eq!(durable.next().await.unwrap(), Beat::Stdout("ready\n".into()));
    assert!(supervisor::stop(&session, None, &key, None).await.unwrap());
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
async fn a_higher_epoch_forbids_a_late_start() {
    let testbed = Testbed::start(1, "").unwrap();
    let session = session(&testbed).await;
    let work = payload("echo ran >\"$HOME/late\"");
    let mut late = Durable::open_start(&session, None, &key(6)).await.unwrap();
    let newer = Key { epoch: 2, ..key(5) };
    let mut absent = attach(&session, &newer, 0, 0, None).await;
    assert_eq!(follow(&mut absent).await.2, Some(End::Absent));
    let agreed = late.hello().clone();
    late.start(&agreed, &work, CAP).await.unwrap();
    let fenced = late.next().await.unwrap_err();
    assert_eq!(fenced, supervisor::SuperviseError::Fenced(2));
    // By now, even hello is refused.
    let fenced = Durable::open_start(&session, None, &key(6)).await.unwrap_err();
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
                "head", "ln", "wc",
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
        let mut durable = Durable::open_start(&session, None, &key(7)).await.unwrap();
        durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
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
        let mut durable = Durable::open_attach(&session, None, &key(7)).await.unwrap();
        durable
            .attach(
                Offsets {
                    stdout: 200_001,
                    stderr: 1,
                },
                None,
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
        let mut durable = Durable::open_start(&session, None, &key(8)).await.unwrap();
        durable.start(&durable.hello().clone(), &slow, CAP).await.unwrap();
        assert!(
            matches!(durable.next().await.unwrap(), Beat::Started(_)),
            "{shell}"
        );
        assert_eq!(
            durable.next().await.unwrap(),
            Beat::Stdout("up\n".into()),
            "{shell}"
        );
        assert!(
            supervisor::stop(&session, None, &key(8), None).await.unwrap(),
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
    let mut durable = Durable::open_start(&session, None, &key(9)).await.unwrap();
    durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
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
    let mut durable = Durable::open_start(&session, None, &key(10)).await.unwrap();
    durable
        .start(
            &durable.hello().clone(),
            &Payload {
                prelude,
                ..payload(&text)
            },
            CAP,
        )
        .await
        .unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
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
    let mut durable = Durable::open_start(&session, None, &key(11)).await.unwrap();
    durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
    assert_eq!(
        follow(&mut durable).await,
        (b"bash a b/c\n".to_vec(), Vec::new(), exited(0))
    );
}

#[tokio::test]
async fn a_forced_command_is_no_shell() {
    let testbed = Testbed::start(1, "ForceCommand echo only backups here").unwrap();
    let session = session(&testbed).await;
    let error = Durable::open_start(&session, None, &key(12)).await.unwrap_err();
    let supervisor::SuperviseError::Exec(reveille_transport::ExecError::Refused { class, message }) = error
    else {
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
    // Durable: a sleep is still, a loop moves, ended work is finished.
    for (seed, text, moves) in [(31, "sleep 30", false), (32, "while :; do :; done", true)] {
        let mut durable = Durable::open_start(&session, None, &key(seed)).await.unwrap();
        let place = Some(durable.hello().place.clone());
        durable
            .start(&durable.hello().clone(), &payload(text), CAP)
            .await
            .unwrap();
        assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
        let key = Key { place, ..key(seed) };
        let count = async || match look(&session, None, &key).await.unwrap() {
            Look::Alive(alive) => alive,
            other => panic!("{text}: {other:?}"),
        };
        // The command starts a moment after its supervisor was reported.
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
        assert!(supervisor::stop(&session, None, &key, None).await.unwrap());
        assert_eq!(look(&session, None, &key).await.unwrap(), Look::Finished);
    }
    // Plain: everything else on this connection.
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
