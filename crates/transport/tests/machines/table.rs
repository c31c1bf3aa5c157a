//! Every way to log in, with every server configuration that is common in the field: the outcomes as a table.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use reveille_transport::supervisor::{Durable, SuperviseError};
use reveille_transport::{
    Authentication, Become, BecomeMethod, Client, ExecError, HostKeyPolicy, Identities, Keyring, Secret,
    Session, Target, Wanted,
};

use crate::support::*;

/// The rows so far.
#[derive(Default)]
struct Table(Vec<[String; 3]>);

impl Table {
    fn row(&mut self, server: &str, login: &str, outcome: String) {
        eprintln!("| {server} | {login} | {outcome} |");
        self.0.push([server.to_owned(), login.to_owned(), outcome]);
    }

    /// As Markdown, without details that differ between runs.
    fn text(&self, lab: &Lab) -> String {
        let mut text = "| server | login | outcome |\n|---|---|---|\n".to_owned();
        for row in &self.0 {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text.replace(&lab.directory.path().display().to_string(), "DIR")
            .replace(&lab.machine().address().to_string(), "HOST")
    }
}

/// Connects, runs a plain and a durable command: the class of the first failure, or the output.
async fn outcome(client: &Client, target: &Target, other: Option<&Become>) -> String {
    let session = match connect(client, target).await {
        Ok(session) => session,
        Err(error) => {
            return format!(
                "{}: {}",
                error.class.as_str(),
                without_port(&error.message, target)
            );
        }
    };
    let text = format!(
        "{}; {}",
        plain(&session, other).await,
        durable(&session, other).await
    );
    session.close().await;
    without_port(&text, target)
}

fn without_port(text: &str, target: &Target) -> String {
    let mut text = text.replace(&format!(":{}", target.port), ":PORT");
    if let Some(jump) = &target.jump {
        text = text.replace(&format!(":{}", jump.port), ":PORT");
    }
    text
}

async fn plain(session: &Session, other: Option<&Become>) -> String {
    match session.run(other, "echo ok; exit 3").await {
        Ok(exec) => {
            let said = hear(exec, b"").await;
            let (stdout, stderr) = (said.text(), said.error());
            match (stdout.as_str(), stderr.as_str(), said.status) {
                ("ok\n", "", Some(3)) => "plain ok".to_owned(),
                (stdout, stderr, status) => {
                    let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
                    format!("plain: status {status}, {:?}", format!("{stdout}{stderr}"))
                }
            }
        }
        Err(ExecError::Refused { class, message }) => format!("plain: {}: {message}", class.as_str()),
        Err(other) => format!("plain: {other}"),
    }
}

async fn durable(session: &Session, other: Option<&Become>) -> String {
    // No two rows share a token.
    static ROW: AtomicU8 = AtomicU8::new(0);
    let key = key(ROW.fetch_add(1, Ordering::Relaxed));
    match Durable::open_start(session, other, &key).await {
        Ok(mut durable) => {
            durable
                .start(&durable.hello().clone(), &payload("echo ok; exit 3"), CAP)
                .await
                .unwrap();
            let (stdout, _, end) = follow(&mut durable).await;
            if stdout == b"ok\n" && end == exited(3) {
                "durable ok".to_owned()
            } else {
                format!("durable: {:?}, {end:?}", String::from_utf8_lossy(&stdout))
            }
        }
        Err(SuperviseError::Exec(ExecError::Refused { class, message })) => {
            format!("durable: {}: {message}", class.as_str())
        }
        Err(other) => format!("durable: {other}"),
    }
}

/// Creates a key pair of a kind; returns its path.
fn make_key(lab: &Lab, kind: &str, bits: &str) -> PathBuf {
    let path = lab.directory.path().join(format!("{kind}{bits}"));
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", kind, "-N", "", "-C", kind, "-f"])
        .arg(&path);
    if !bits.is_empty() {
        keygen.args(["-b", bits]);
    }
    assert!(keygen.status().unwrap().success());
    path
}

/// Signs a user certificate, which is written beside the key.
fn sign(authority: &std::path::Path, key: &std::path::Path, principal: &str, more: &[&str]) {
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-I", "test", "-n", principal, "-s"])
        .arg(authority)
        .args(more)
        .arg(key.with_extension("pub"))
        .status();
    assert!(signed.unwrap().success());
}

fn keys(paths: &[PathBuf]) -> Authentication {
    Authentication {
        password_to_new_hosts: true,
        ..Identities::load(paths, None).unwrap().into()
    }
}

fn with_password(authentication: Authentication, password: &str) -> Authentication {
    Authentication {
        password: Some(Secret::new(password)),
        password_to_new_hosts: true,
        ..authentication
    }
}

/// Lets the machine's users log in with these keys, too.
fn authorize(lab: &Lab, paths: &[PathBuf]) {
    for path in paths {
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        lab.root(&format!("echo '{}' >>/etc/ssh/authorized_keys", public.trim()));
    }
}

/// A separate agent.
struct Agent(std::process::Child, PathBuf);

impl Agent {
    fn start(lab: &Lab, keys: &[PathBuf]) -> Self {
        let socket = lab.directory.path().join(format!("agent{}", keys.len()));
        let mut child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        // The agent prints its socket once it listens.
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let added = Command::new("ssh-add")
            .arg("-q")
            .args(keys)
            .env("SSH_AUTH_SOCK", &socket)
            .stderr(std::process::Stdio::null())
            .status();
        assert!(added.unwrap().success());
        Self(child, socket)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn logins() {
    let lab = Lab::up();
    let client = lab.client();
    let mut table = Table::default();
    let key = || keys(&[lab.key()]);
    let none = Authentication::default;

    // Passwords.
    let by_password = "PasswordAuthentication yes";
    let by_pam = "UsePAM yes\nKbdInteractiveAuthentication yes";
    for (server, lines) in [
        ("PasswordAuthentication", by_password),
        ("keyboard-interactive (PAM)", by_pam),
    ] {
        let port = lab.serve(lines);
        for (login, password) in [("password", PASSWORD), ("wrong password", "Wr0ng!pass")] {
            let target = lab.target_by("ann", port, with_password(none(), password));
            table.row(server, login, outcome(&client, &target, None).await);
        }
    }
    let port = lab.serve(by_password);
    let careful = Authentication {
        password: Some(Secret::new(PASSWORD)),
        ..none()
    };
    let target = lab.target_by("ann", port, careful);
    table.row(
        "PasswordAuthentication, key not known",
        "password, accept-new by default",
        outcome(&client, &target, None).await,
    );
    table.row(
        "PasswordAuthentication, key known by now to another process",
        "password, accept-new by default",
        outcome(&lab.client(), &target, None).await,
    );

    // Several methods together.
    let second = make_key(&lab, "ecdsa", "256");
    authorize(&lab, std::slice::from_ref(&second));
    let both = "publickey and password";
    let port = lab.serve("PasswordAuthentication yes\nAuthenticationMethods publickey,password");
    let server = "AuthenticationMethods publickey,password";
    for (login, with) in [
        (both, with_password(key(), PASSWORD)),
        ("publickey and wrong password", with_password(key(), "Wr0ng!pass")),
        ("publickey", key()),
        ("password", with_password(none(), PASSWORD)),
    ] {
        table.row(
            server,
            login,
            outcome(&client, &lab.target_by("ann", port, with), None).await,
        );
    }
    let port = lab.serve(&format!(
        "{by_pam}\nAuthenticationMethods publickey,keyboard-interactive"
    ));
    let target = lab.target_by("ann", port, with_password(key(), PASSWORD));
    table.row(
        "AuthenticationMethods publickey,keyboard-interactive",
        both,
        outcome(&client, &target, None).await,
    );
    let port = lab.serve("AuthenticationMethods publickey,publickey");
    for (login, with) in [
        ("two keys", keys(&[lab.key(), second.clone()])),
        ("one key", key()),
    ] {
        let target = lab.target_by("ann", port, with);
        table.row(
            "AuthenticationMethods publickey,publickey",
            login,
            outcome(&client, &target, None).await,
        );
    }

    // Kinds of keys.
    let rsa = make_key(&lab, "rsa", "3072");
    let large = make_key(&lab, "ecdsa", "521");
    let middle = make_key(&lab, "ecdsa", "384");
    authorize(&lab, &[rsa.clone(), large.clone(), middle.clone()]);
    for path in [&second, &middle, &large, &rsa] {
        let login = path.file_name().unwrap().to_string_lossy().into_owned();
        let target = lab.target_by("ann", lab.port(), keys(std::slice::from_ref(path)));
        table.row("as usual", &login, outcome(&client, &target, None).await);
    }
    for accepted in ["rsa-sha2-256", "ssh-rsa", "ssh-ed25519"] {
        let port = lab.serve(&format!("PubkeyAcceptedAlgorithms {accepted}"));
        let target = lab.target_by("ann", port, keys(std::slice::from_ref(&rsa)));
        table.row(
            &format!("PubkeyAcceptedAlgorithms {accepted}"),
            "rsa3072",
            outcome(&client, &target, None).await,
        );
    }

    // Certificates.
    let authority = make_key(&lab, "ed25519", "");
    let public = std::fs::read_to_string(authority.with_extension("pub")).unwrap();
    lab.root(&format!("echo '{}' >/etc/ssh/authority.pub", public.trim()));
    let port = lab.serve("TrustedUserCAKeys /etc/ssh/authority.pub\nAuthorizedKeysFile none");
    let server = "TrustedUserCAKeys";
    for path in [&second, &rsa] {
        sign(&authority, path, "ann", &[]);
        let login = format!(
            "{} with KEY-cert.pub beside it",
            path.file_name().unwrap().to_string_lossy()
        );
        table.row(
            server,
            &login,
            outcome(
                &client,
                &lab.target_by("ann", port, keys(std::slice::from_ref(path))),
                None,
            )
            .await,
        );
    }
    let agent = Agent::start(&lab, std::slice::from_ref(&rsa));
    let held: Authentication = Identities::load(&[], Some(agent.1.clone())).unwrap().into();
    table.row(
        server,
        "RSA certificate in the agent",
        outcome(&client, &lab.target_by("ann", port, held), None).await,
    );
    drop(agent);
    let beside = lab.directory.path().join("elsewhere.pub");
    std::fs::rename(lab.directory.path().join("ecdsa256-cert.pub"), &beside).unwrap();
    let wanted = Wanted {
        keys: vec![second.clone()],
        certificates: vec![beside],
        ..Wanted::default()
    };
    let named = Keyring::new().load(&wanted).unwrap().into();
    table.row(
        server,
        "CertificateFile",
        outcome(&client, &lab.target_by("ann", port, named), None).await,
    );
    table.row(
        server,
        "the key without its certificate",
        outcome(
            &client,
            &lab.target_by("ann", port, keys(std::slice::from_ref(&second))),
            None,
        )
        .await,
    );
    for (login, principal, more) in [
        ("certificate for another user", "bob", &[][..]),
        ("expired certificate", "ann", &["-V", "20200101:20200102"]),
    ] {
        sign(&authority, &middle, principal, more);
        table.row(
            server,
            login,
            outcome(
                &client,
                &lab.target_by("ann", port, keys(std::slice::from_ref(&middle))),
                None,
            )
            .await,
        );
    }

    // An agent with many keys.
    let mut many: Vec<PathBuf> = Vec::new();
    for number in 0..10 {
        let path = lab.directory.path().join(format!("many{number}"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        many.push(path);
    }
    many.push(lab.key());
    let agent = Agent::start(&lab, &many);
    let few = lab.serve("MaxAuthTries 2");
    for (login, port, only) in [
        ("agent with 10 other keys", lab.port(), false),
        ("agent with 10 other keys", few, false),
        ("the same, the right one named (IdentitiesOnly)", few, true),
    ] {
        let wanted = Wanted {
            keys: if only { vec![lab.key()] } else { Vec::new() },
            agent: Some(agent.1.clone()),
            only,
            ..Wanted::default()
        };
        let with = Keyring::new().load(&wanted).unwrap().into();
        let server = if port == few { "MaxAuthTries 2" } else { "as usual" };
        table.row(
            server,
            login,
            outcome(&client, &lab.target_by("ann", port, with), None).await,
        );
    }
    drop(agent);

    // Accounts that may not log in.
    lab.root(
        "usermod -L carl; chage -E 2000-01-01 bob; chage -d 0 tess; \
         useradd -m -s /bin/sh gone; usermod -p '!' gone; chage -E 2000-01-01 free",
    );
    let pam = lab.serve(by_pam);
    for (login, user, with) in [
        ("locked account, key, no PAM", "carl", key()),
        (
            "locked account, password",
            "carl",
            with_password(none(), PASSWORD),
        ),
        ("expired account, key", "bob", key()),
        (
            "expired account, password",
            "bob",
            with_password(none(), PASSWORD),
        ),
        ("expired password, key", "tess", key()),
        (
            "expired password, password",
            "tess",
            with_password(none(), PASSWORD),
        ),
        (
            "no such user, password",
            "nobody-here",
            with_password(none(), PASSWORD),
        ),
    ] {
        let port = if login.ends_with("no PAM") {
            lab.port()
        } else {
            pam
        };
        let server = if port == pam {
            "keyboard-interactive (PAM)"
        } else {
            "as usual"
        };
        table.row(
            server,
            login,
            outcome(&client, &lab.target_by(user, port, with), None).await,
        );
    }

    // An agent that never answers.
    let port = lab.serve("LoginGraceTime 1");
    let socket = lab.directory.path().join("deaf");
    let deaf = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let held: Authentication = Identities::load(&[], Some(socket)).unwrap().into();
    table.row(
        "LoginGraceTime 1",
        "agent that never answers",
        outcome(&client, &lab.target_by("ann", port, held), None).await,
    );
    drop(deaf);

    insta::assert_snapshot!(table.text(&lab));
}

#[tokio::test]
async fn servers() {
    let lab = Lab::up();
    let client = lab.client();
    let mut table = Table::default();
    let key = || keys(&[lab.key()]);
    lab.root(
        "ssh-keygen -q -t rsa -b 3072 -N '' -f /etc/ssh/rsa_key; \
         printf '#!/bin/sh\nread -r line\necho \"only backups here\"\n' >/usr/local/bin/forced; chmod 755 /usr/local/bin/forced; \
         printf 'Welcome\n' >/etc/ssh/banner",
    );
    for (server, lines) in [
        (
            "old algorithms only",
            "KexAlgorithms diffie-hellman-group14-sha256\nCiphers aes128-ctr\nMACs hmac-sha2-256\nHostKeyAlgorithms rsa-sha2-256\nHostKey /etc/ssh/rsa_key",
        ),
        (
            "host key algorithm ssh-rsa (SHA-1) only",
            "HostKeyAlgorithms ssh-rsa\nHostKey /etc/ssh/rsa_key",
        ),
        (
            "KexAlgorithms diffie-hellman-group1-sha1",
            "KexAlgorithms diffie-hellman-group1-sha1",
        ),
        ("Ciphers aes128-cbc", "Ciphers aes128-cbc"),
        ("MaxSessions 1", "MaxSessions 1"),
        ("MaxSessions 0", "MaxSessions 0"),
        ("ForceCommand internal-sftp", "ForceCommand internal-sftp"),
        (
            "ForceCommand, a script that prints",
            "ForceCommand /usr/local/bin/forced",
        ),
        ("Banner", "Banner /etc/ssh/banner"),
        ("PermitTTY no", "PermitTTY no"),
        ("DenyUsers ann", "DenyUsers ann"),
    ] {
        let port = lab.serve(lines);
        let target = Target {
            // Each server has its own keys.
            host_keys: HostKeyPolicy::Off,
            ..lab.target_by("ann", port, key())
        };
        table.row(server, "key", outcome(&client, &target, None).await);
    }

    // Terminals and forwarding.
    let port = lab.serve("PermitTTY no");
    for (login, other) in [
        (
            "key, su with a password",
            by(BecomeMethod::Su, "bob", Some(PASSWORD)),
        ),
        (
            "key, sudo with a password",
            by(BecomeMethod::Sudo, "bob", Some(PASSWORD)),
        ),
    ] {
        table.row(
            "PermitTTY no",
            login,
            outcome(&client, &lab.target_by("ann", port, key()), Some(&other)).await,
        );
    }
    let closed = lab.serve("AllowTcpForwarding no");
    let target = Target {
        jump: Some(Arc::new(lab.target_by("ann", closed, key()))),
        ..lab.target_by("ann", lab.port(), key())
    };
    table.row(
        "AllowTcpForwarding no, as a jump host",
        "key",
        outcome(&client, &target, None).await,
    );

    // Login shells and their start files.
    lab.root(
        "for shell in fish csh dash; do useradd -m -s $(command -v $shell) with-$shell; done; useradd -m -s /usr/sbin/nologin with-nologin; \
         useradd -m -s /bin/bash noisy; useradd -m -s /bin/sh rc-noise; \
         for user in with-fish with-csh with-dash with-nologin noisy rc-noise; do usermod -p '*' $user; done; \
         echo 'echo noise from bashrc; echo more noise >&2' >/home/noisy/.bashrc; \
         mkdir /home/rc-noise/.ssh; echo 'echo noise from rc' >/home/rc-noise/.ssh/rc; \
         echo 'with-fish ALL=(ALL) ALL\nwith-csh ALL=(ALL) ALL' >/etc/sudoers.d/shells; \
         printf '%s:%s\n' with-fish simple with-csh simple | chpasswd",
    );
    for (login, user) in [
        ("fish", "with-fish"),
        ("csh", "with-csh"),
        ("dash", "with-dash"),
        ("nologin", "with-nologin"),
        ("bash with a noisy .bashrc", "noisy"),
        ("sh with a noisy .ssh/rc", "rc-noise"),
    ] {
        table.row(
            "login shell",
            login,
            outcome(&client, &lab.target_by(user, lab.port(), key()), None).await,
        );
    }
    for (shell, user) in [("fish", "with-fish"), ("csh", "with-csh")] {
        let other = by(BecomeMethod::Sudo, "bob", Some("simple"));
        let login = format!("{shell}, sudo with a password");
        table.row(
            "login shell",
            &login,
            outcome(&client, &lab.target_by(user, lab.port(), key()), Some(&other)).await,
        );
    }

    let other = by(BecomeMethod::Su, "with-fish", Some("simple"));
    let login = "sh, su with a password to a user of fish";
    let target = lab.target_by("ann", lab.port(), key());
    table.row(
        "login shell",
        login,
        outcome(&client, &target, Some(&other)).await,
    );

    insta::assert_snapshot!(table.text(&lab));
}
