//! One Debian machine with users, and helpers for tests.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use reveille_account::{RunId, Token};
use reveille_testbed::machines::{Machine, Machines};
use reveille_transport::supervisor::{Beat, Durable, End, Interpreter, Key, Payload};
use reveille_transport::{
    Authentication, Become, BecomeMethod, Client, ConnectError, Deadlines, Exec, Heard, Identities,
    KnownHosts, OpenSsh, Secret, Session, Target, Transport,
};

/// The password of all users, with characters that shells and terminals interpret.
pub(crate) const PASSWORD: &str = "Pa55'w\"$o\\rd ! #é";
/// The cap for the output of durable work.
pub(crate) const CAP: u64 = 1 << 20;

/// Users: `ann` may run everything with a password, `free` without one, `tess` only on a terminal, `carl` nothing.
const USERS: &str = r#"
for user in ann free tess carl bob; do
  useradd -m -s /bin/sh $user
  printf '%s:%s\n' $user "$PASSWORD" | chpasswd
done
printf 'root:%s\n' "$PASSWORD" | chpasswd
cat >/etc/sudoers.d/test <<'END'
ann ALL=(ALL) ALL
free ALL=(ALL) NOPASSWD: ALL
tess ALL=(ALL) ALL
Defaults:tess requiretty
END
chmod 440 /etc/sudoers.d/test
printf 'permit ann\npermit nopass free\n' >/etc/doas.conf
"#;

/// A running machine.
pub(crate) struct Lab {
    machines: Machines,
    pub(crate) directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn up() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The base is created once for all tests, beside their temporary files.
        let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("machines");
        let machines = Machines::up(&shared, &directory.path().join("m"), 1, &|line| {
            eprintln!("{line}");
        })
        .unwrap_or_else(|error| panic!("can't bring up a machine: {error}"));
        let lab = Self { machines, directory };
        let password = PASSWORD.replace('\'', r"'\''");
        lab.root(&format!("PASSWORD='{password}'\n{USERS}"));
        lab
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machines.machines()[0]
    }

    /// Runs a script as root and returns its output.
    pub(crate) fn root(&self, script: &str) -> String {
        self.machines.shell(self.machine(), script).unwrap()
    }

    /// Starts another sshd, with these lines first in its configuration.
    pub(crate) fn serve(&self, lines: &str) -> u16 {
        self.machines.serve(self.machine(), lines).unwrap()
    }

    /// The port of the machine's own sshd.
    pub(crate) fn port(&self) -> u16 {
        self.machines.port()
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.machines.key()
    }

    pub(crate) fn client(&self) -> Client {
        let known = KnownHosts::load(&[], Some(self.directory.path().join("known_hosts"))).unwrap();
        Client::new(Deadlines::default(), Arc::new(known))
    }

    /// A user by key, over native SSH.
    pub(crate) fn target(&self, user: &str, port: u16) -> Target {
        let keys = Identities::load(&[self.key()], None).unwrap();
        let authentication = Authentication {
            // Every key is new here, and the tests need passwords for becoming other users.
            password_to_new_hosts: true,
            ..Authentication::keys(keys)
        };
        self.target_by(user, port, authentication)
    }

    pub(crate) fn target_by(&self, user: &str, port: u16, authentication: Authentication) -> Target {
        let address = self.machine().address().to_string();
        Target::new(user.into(), address, port, user, Arc::new(authentication))
    }

    pub(crate) async fn session(&self, user: &str) -> Session {
        connect(&self.client(), &self.target(user, self.port()))
            .await
            .unwrap()
    }
}

/// Only a password.
pub(crate) fn password() -> Authentication {
    Authentication {
        password: Some(Secret::new(PASSWORD)),
        password_to_new_hosts: true,
        ..Authentication::default()
    }
}

pub(crate) fn by(method: BecomeMethod, user: &str, password: Option<&str>) -> Become {
    Become {
        method,
        password: password.map(Secret::new),
        ..Become::sudo(user)
    }
}

/// The same target through the system's `ssh`, which reads only our configuration.
pub(crate) fn by_openssh(target: Target) -> Target {
    let how = OpenSsh {
        config: Some("/dev/null".into()),
        ..OpenSsh::default()
    };
    Target {
        transport: Transport::OpenSsh(Arc::new(how)),
        ..target
    }
}

pub(crate) async fn connect(client: &Client, target: &Target) -> Result<Session, ConnectError> {
    let dialed = client.dial(target).await?;
    client.handshake(target, dialed).await.map(|(session, _)| session)
}

/// The result of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<u32>,
    pub(crate) signal: Option<String>,
    pub(crate) lost: bool,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn error(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Sends `input`, then reads a command to its end.
pub(crate) async fn hear(mut exec: Exec, input: &[u8]) -> Said {
    let (sink, bytes) = (exec.input(), Bytes::copy_from_slice(input));
    let sending = async move {
        let _ = sink.send(bytes).await;
        let _ = sink.end().await;
    };
    let hearing = async {
        let mut said = Said::default();
        loop {
            match exec.next().await {
                Heard::Stdout(bytes) => said.stdout.extend_from_slice(&bytes),
                Heard::Stderr(bytes) => said.stderr.extend_from_slice(&bytes),
                Heard::ExitStatus(status) => said.status = Some(status),
                Heard::ExitSignal(signal) => said.signal = Some(signal),
                Heard::Eof => {}
                Heard::Closed => return said,
                Heard::Lost => {
                    said.lost = true;
                    return said;
                }
            }
        }
    };
    tokio::join!(sending, hearing).1
}

pub(crate) fn key(seed: u8) -> Key {
    Key {
        run: RunId::new(1, [7; 10]),
        epoch: 1,
        token: Token::new([seed; 16]),
        place: None,
    }
}

pub(crate) fn payload(text: &str) -> Payload {
    Payload {
        prelude: String::new(),
        text: text.into(),
        interpreter: Interpreter::Shell(vec!["sh".into()]),
    }
}

/// Reads durable work to its end: stdout, stderr, end.
pub(crate) async fn follow(durable: &mut Durable) -> (Vec<u8>, Vec<u8>, Option<End>) {
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
pub(crate) fn exited(status: i32) -> Option<End> {
    Some(End::Exit {
        status,
        slain: None,
        over: false,
    })
}
