//! Compares the real supervisor on a real sshd with the drill's: what each reports to a controller with durable work.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;

use reveille_account::{RunId, Token};
use reveille_drill::Fleet;
use reveille_transport::supervisor::{self, Beat, Begun, Durable, Hello, Interpreter, Key, Offsets, Payload};
use reveille_transport::{Client, Deadlines, HostKeyPolicy, Identities, KnownHosts, Session, Target};
use rustix::process::{Signal, kill_process};

use crate::client::{address, fleet, user};
use crate::sshd::{Sshd, children, pid};

/// The cap for output.
const CAP: u64 = 1 << 20;

pub(crate) async fn connect(address: SocketAddrV4, key: &str) -> Session {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    fs::write(&file, key).unwrap();
    let known = KnownHosts::load(&[], Some(directory.path().join("known_hosts"))).unwrap();
    let client = Client::new(Deadlines::default(), Arc::new(known));
    let identities = Identities::load(&[file], None).unwrap();
    let mut target = Target::new(
        "host".into(),
        address.ip().to_string(),
        address.port(),
        user(),
        Arc::default(),
    );
    target.authentication = Arc::new(identities.into());
    target.host_keys = HostKeyPolicy::Off;
    let dialed = client.dial(&target).await.unwrap();
    client.handshake(&target, dialed).await.unwrap().0
}

async fn real(sshd: &Sshd) -> Session {
    connect(sshd.address(), &sshd.key()).await
}

async fn played(fleet: &Fleet) -> Session {
    connect(address(fleet, 0), &fleet.client_key().unwrap()).await
}

pub(crate) fn key(number: u8) -> Key {
    Key {
        run: RunId::new(1, [7; 10]),
        epoch: 1,
        token: Token::new([number; 16]),
        place: None,
    }
}

/// Starts a command and returns every event, with data in one piece. Omits what differs between hosts.
pub(crate) async fn follow(session: &Session, key: &Key, text: &str, heard: impl FnMut(&str)) -> Vec<String> {
    let mut durable = match Durable::open_start(session, None, key).await {
        Ok(durable) => durable,
        Err(error) => return vec![kind_of(&format!("{error:?}"))],
    };
    let payload = Payload {
        prelude: String::new(),
        text: text.into(),
        interpreter: Interpreter::Shell(vec!["sh".into()]),
    };
    let agreed = durable.hello().clone();
    durable.start(&agreed, &payload, CAP).await.unwrap();
    beats(durable, heard).await
}

/// Attaches to a command and returns every event.
async fn attach(session: &Session, key: &Key, stdout: u64, begun: Option<&Begun>) -> Vec<String> {
    let mut durable = match Durable::open_attach(session, None, key).await {
        Ok(durable) => durable,
        Err(error) => return vec![kind_of(&format!("{error:?}"))],
    };
    let offsets = Offsets { stdout, stderr: 0 };
    durable.attach(offsets, begun, CAP).await.unwrap();
    beats(durable, |_| ()).await
}

async fn beats(mut durable: Durable, mut heard: impl FnMut(&str)) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    loop {
        let beat = match durable.next().await {
            Ok(beat) => beat,
            Err(error) => {
                seen.push(kind_of(&format!("{error:?}")));
                return seen;
            }
        };
        let (word, last) = match beat {
            Beat::Stdout(bytes) => (format!("stdout {}", String::from_utf8_lossy(&bytes)), false),
            Beat::Stderr(bytes) => (format!("stderr {}", String::from_utf8_lossy(&bytes)), false),
            Beat::Lost => ("lost".to_owned(), true),
            Beat::End(end) => (format!("{end:?}"), true),
            Beat::Started(_) => ("Started".to_owned(), false),
            Beat::Attached { finished, .. } => (format!("Attached {{ finished: {finished} }}"), false),
        };
        heard(&word);
        seen.push(word);
        if last {
            return seen;
        }
    }
}

/// An error without its paths, which differ.
fn kind_of(error: &str) -> String {
    let class = error.split("message").next().unwrap_or(error).trim();
    format!(
        "{class} {}",
        if error.contains("can't") || error.contains("KiB free") {
            "said why"
        } else {
            error
        }
    )
}

/// The directory of a token on the real host.
fn place(sshd: &Sshd, number: u8) -> std::path::PathBuf {
    let key = key(number);
    sshd.0
        .home()
        .join(".local/state/reveille")
        .join(key.run.uuid())
        .join(key.token.to_string())
}

fn supervisor_of(token: &Path) -> u32 {
    let text = fs::read_to_string(token.join("pid")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn kill(number: u32) {
    let mut all = vec![number];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        all.extend(children(parent));
    }
    for process in all {
        let _ = kill_process(pid(process), Signal::KILL);
    }
}

#[tokio::test]
async fn durable_commands_end() {
    let sshd = Sshd::start("");
    let (session, fleet_of_one) = (real(&sshd).await, fleet(1, &[]));
    let other = played(&fleet_of_one).await;
    let shows = follow(&session, &key(1), "echo hello; exit 7", |_| ()).await;
    assert_eq!(follow(&other, &key(1), "echo hello; exit 7", |_| ()).await, shows);
    // A second client finds it finished.
    let again = follow(&session, &key(1), "echo hello; exit 7", |_| ()).await;
    assert_eq!(again[0], "Attached { finished: true }");
    assert_eq!(follow(&other, &key(1), "echo hello; exit 7", |_| ()).await, again);

    let killed = fleet(1, &["killed=1"]);
    let shows = follow(&session, &key(2), "echo hello; kill -9 $$", |_| ()).await;
    assert_eq!(
        follow(&played(&killed).await, &key(2), "echo hello", |_| ()).await,
        shows
    );
}

#[tokio::test]
async fn supervisors_vanish_and_machines_reboot() {
    let sshd = Sshd::start("");
    let session = real(&sshd).await;
    for (number, fault) in [(1, "early_exit=1"), (2, "reboot=1")] {
        let token = place(&sshd, number);
        let shows = follow(&session, &key(number), "echo hello; exec sleep 5", |word| {
            if word == "stdout hello\n" {
                let supervisor = supervisor_of(&token);
                if fault.starts_with("reboot") {
                    let text = fs::read_to_string(token.join("pid")).unwrap();
                    let mut words: Vec<&str> = text.trim().split(' ').collect();
                    words[2] = "00000000-0000-4000-8000-000000000000";
                    fs::write(token.join("pid"), format!("{}\n", words.join(" "))).unwrap();
                }
                kill(supervisor);
            }
        })
        .await;
        let fleet = fleet(1, &[fault]);
        let mut plays = follow(&played(&fleet).await, &key(number), "echo hello", |_| ()).await;
        if fault.starts_with("reboot") {
            // The connection ends with the machine; a later connection gets the rest.
            assert_eq!(plays.pop().as_deref(), Some("lost"));
            let back = async {
                while tokio::net::TcpStream::connect(address(&fleet, 0)).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(crate::client::PATIENCE, back).await.unwrap();
            let after = follow(&played(&fleet).await, &key(number), "echo hello", |_| ()).await;
            assert_eq!(after[0], "Attached { finished: false }");
            let real_again = follow(&real(&sshd).await, &key(number), "echo hello", |_| ()).await;
            assert_eq!(after, real_again);
            let attached = (
                attach(&played(&fleet).await, &key(number), 0, None).await,
                attach(&real(&sshd).await, &key(number), 0, None).await,
            );
            assert_eq!(attached.0, attached.1);
        } else {
            assert_eq!(plays, shows, "{fault}");
        }
    }
}

#[tokio::test]
async fn hanging_work_is_stopped_and_absent_work_is_forbidden() {
    let sshd = Sshd::start("");
    let stalling = fleet(1, &["partial_stall=1"]);
    let mut told = Vec::new();
    for side in [
        (real(&sshd).await, real(&sshd).await),
        (played(&stalling).await, played(&stalling).await),
    ] {
        let (session, beside) = side;
        let (begun, mut beginning) = tokio::sync::mpsc::unbounded_channel();
        let stopping = async {
            beginning.recv().await.unwrap();
            let stopped = supervisor::stop(&beside, None, &key(1), None).await.unwrap();
            let absent = attach(&beside, &key(2), 0, None).await;
            (stopped, absent)
        };
        let first = key(1);
        let following = follow(&session, &first, "echo hello; exec sleep 60", |word| {
            if word.starts_with("stdout") {
                begun.send(()).unwrap();
            }
        });
        let (seen, asked) = tokio::join!(following, stopping);
        let forbidden = follow(&beside, &key(2), "echo hello", |_| ()).await;
        told.push((seen, asked, forbidden));
    }
    assert_eq!(told[1], told[0]);
}

#[tokio::test]
async fn a_full_disk_is_reported() {
    let sshd = Sshd::start("");
    let session = real(&sshd).await;
    // A run's directory in which nothing can be created, as on a full disk.
    let mut chosen = key(1);
    chosen.place = Some("/proc/self/reveille".to_owned());
    let shows = follow(&session, &chosen, "echo hello", |_| ()).await;
    let full = fleet(1, &["disk_full=1"]);
    let plays = follow(&played(&full).await, &key(1), "echo hello", |_| ()).await;
    assert_eq!(plays.len(), 1, "{plays:?}");
    assert!(plays[0].contains("TransferFailed"), "{plays:?}");
    assert!(shows[0].contains("TransferFailed"), "{shows:?}");
    assert_eq!(full.report()[0].commands, 0);
}

/// A host's answers to the same calls, in which work is absent, forbidden, wiped, of another boot or another machine,
/// ended or cleaned.
async fn conversation(first: Session, wipe: impl Fn()) -> Vec<Vec<String>> {
    let mut told = Vec::new();
    let session = &first;
    let open = Durable::open_start(session, None, &key(1)).await.unwrap();
    let hello = open.hello().clone();
    drop(open);
    let stops = async |number, begun: Option<&Begun>| {
        let stopped = supervisor::stop(session, None, &key(number), begun).await;
        vec![format!("{stopped:?}")]
    };
    let placed = |number| Key {
        place: Some(hello.place.clone()),
        ..key(number)
    };
    let looks = async |number| {
        let look = supervisor::look(session, None, &placed(number)).await;
        vec![format!("{:?}", look.unwrap())]
    };
    let cleans = async |reported: Option<&Hello>| {
        let left = supervisor::clean(session, None, &placed(1), reported).await;
        vec![format!("{left:?}")]
    };
    // Nothing exists yet.
    told.push(stops(1, None).await);
    told.push(looks(1).await);
    told.push(attach(session, &key(1), 0, None).await);
    told.push(attach(session, &key(1), 0, None).await);
    told.push(follow(session, &key(1), "echo never", |_| ()).await);
    // Work that ends.
    let mut durable = Durable::open_start(session, None, &key(2)).await.unwrap();
    let payload = Payload {
        prelude: String::new(),
        text: "echo hello; exit 7".to_owned(),
        interpreter: Interpreter::Shell(vec!["sh".to_owned()]),
    };
    let agreed = durable.hello().clone();
    durable.start(&agreed, &payload, CAP).await.unwrap();
    let Ok(Beat::Started(begun)) = durable.next().await else {
        panic!("not started")
    };
    told.push(beats(durable, |_| ()).await);
    told.push(follow(session, &key(2), "echo again", |_| ()).await);
    told.push(attach(session, &key(2), 2, Some(&begun)).await);
    told.push(looks(2).await);
    told.push(stops(2, Some(&begun)).await);
    let other = Hello {
        machine: "other".to_owned(),
        ..hello.clone()
    };
    let elsewhere = Hello {
        mark: "other".to_owned(),
        ..hello.clone()
    };
    told.push(cleans(Some(&elsewhere)).await);
    told.push(cleans(Some(&hello)).await);
    told.push(attach(session, &key(2), 0, None).await);
    told.push(attach(session, &key(2), 0, Some(&begun)).await);
    told.push(stops(2, None).await);
    told.push(stops(2, Some(&begun)).await);
    // Hello does not match.
    for other in [
        Hello {
            boot: "other".to_owned(),
            ..hello.clone()
        },
        other,
        elsewhere,
    ] {
        let mut durable = Durable::open_start(session, None, &key(3)).await.unwrap();
        durable.start(&other, &payload, CAP).await.unwrap();
        told.push(beats(durable, |_| ()).await);
    }
    // A later controller.
    let later = Key { epoch: 2, ..key(4) };
    let mut early = Durable::open_attach(session, None, &key(5)).await.unwrap();
    told.push(attach(session, &later, 0, None).await);
    early.attach(Offsets::default(), None, CAP).await.unwrap();
    told.push(beats(early, |_| ()).await);
    told.push(attach(session, &key(5), 0, None).await);
    told.push(stops(5, None).await);
    // A wiped place has another mark, and remembers no epochs.
    wipe();
    told.push(cleans(Some(&hello)).await);
    let open = Durable::open_attach(session, None, &key(6)).await.unwrap();
    told.push(vec![format!("{}", open.hello().mark == hello.mark)]);
    drop(open);
    told.push(attach(session, &key(2), 0, Some(&begun)).await);
    told
}

#[tokio::test]
async fn every_shell_gives_the_same_answers() {
    let fleet = fleet(1, &[]);
    let plays = conversation(played(&fleet).await, || fleet.wipe(0)).await;
    for shell in ["dash", "bash", "busybox"] {
        let tools = tempfile::tempdir().unwrap();
        let found = std::process::Command::new("which").arg(shell).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        // With busybox, every tool is busybox's.
        let tool = |name| std::os::unix::fs::symlink(found.trim(), tools.path().join(name)).unwrap();
        tool("sh");
        if shell == "busybox" {
            let names = [
                "cat", "mkfifo", "mkdir", "rm", "mv", "sleep", "dd", "tail", "id", "df", "chmod", "head",
                "ln", "wc",
            ];
            names.into_iter().for_each(tool);
        }
        let directory = tempfile::tempdir().unwrap();
        let (tools, home) = (tools.path().display(), directory.path());
        let sshd = Sshd::start(&format!(
            "SetEnv PATH={tools}:/usr/bin:/bin HOME={}",
            home.display()
        ));
        let place = home.join(".local/state/reveille");
        let shows = conversation(real(&sshd).await, || fs::remove_dir_all(&place).unwrap()).await;
        assert_eq!(plays, shows, "{shell}");
    }
}
