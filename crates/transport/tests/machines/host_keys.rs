//! Host keys: certificates, revocations, aliases, several files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reveille_account::Class;
use reveille_transport::{Client, ConnectError, Deadlines, HostKeyPolicy, KnownHosts, Session, Target};

use crate::support::*;

/// An authority that signs certificates for the machine.
struct Authority(PathBuf);

impl Authority {
    fn new(lab: &Lab, name: &str, kind: &str) -> Self {
        let path = lab.directory.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        Self(path)
    }

    fn public(&self) -> String {
        read(&self.0.with_extension("pub"))
    }

    /// Starts a server with a certificate.
    fn serve(&self, lab: &Lab, host_key: &str, options: &[&str]) -> u16 {
        let public = lab.root(&format!("cat {host_key}.pub"));
        let path = lab.directory.path().join("host.pub");
        std::fs::write(&path, public).unwrap();
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-h", "-I", "host"])
            .args(options)
            .arg("-s")
            .arg(&self.0)
            .arg(&path)
            .status();
        assert!(signed.unwrap().success());
        let certificate = read(&lab.directory.path().join("host-cert.pub"));
        let file = format!("/etc/ssh/{}-cert.pub", certificate.len() + options.join("").len());
        lab.root(&format!("echo '{certificate}' >{file}"));
        lab.serve(&format!("HostKey {host_key}\nHostCertificate {file}"))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// Connects with its own known-hosts file.
async fn meet(lab: &Lab, target: &Target, lines: &str) -> Result<Session, ConnectError> {
    let path = lab.directory.path().join("known");
    std::fs::write(&path, lines).unwrap();
    let known = KnownHosts::load(&[lab.directory.path().join("absent"), path], None).unwrap();
    connect(&Client::new(Deadlines::default(), Arc::new(known)), target).await
}

fn strict(lab: &Lab, port: u16, alias: Option<&str>) -> Target {
    Target {
        host_keys: HostKeyPolicy::Strict,
        host_key_alias: alias.map(str::to_owned),
        ..lab.target("ann", port)
    }
}

#[tokio::test]
async fn certificates_of_hosts() {
    let lab = Lab::up();
    let authority = Authority::new(&lab, "authority", "ed25519");
    let other = Authority::new(&lab, "other", "ecdsa");
    let rsa = Authority::new(&lab, "rsa", "rsa");
    lab.root("ssh-keygen -q -t rsa -b 3072 -N '' -f /etc/ssh/rsa_key; ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/ecdsa_key");
    let usual = "/etc/ssh/ssh_host_ed25519_key";
    let plain_key = lab.root(&format!("cat {usual}.pub"));
    let [ours, others, by_rsa] = [&authority, &other, &rsa].map(Authority::public);
    let trusted = format!("@cert-authority *.example {ours}");
    let alias = Some("web1.example");
    let address = lab.machine().address();

    let good = authority.serve(&lab, usual, &["-n", "web1.example"]);
    meet(&lab, &strict(&lab, good, alias), &trusted).await.unwrap();
    // By address and port, too; and with a certificate for any name.
    let any = authority.serve(&lab, usual, &[]);
    meet(
        &lab,
        &strict(&lab, any, None),
        &format!("@cert-authority [{address}]:{any} {ours}"),
    )
    .await
    .unwrap();
    for (signer, host_key, line) in [
        (&rsa, usual, &by_rsa),
        (&authority, "/etc/ssh/rsa_key", &ours),
        (&other, "/etc/ssh/ecdsa_key", &others),
    ] {
        let port = signer.serve(&lab, host_key, &["-n", "web?.example"]);
        meet(
            &lab,
            &strict(&lab, port, alias),
            &format!("@cert-authority web1.example {line}"),
        )
        .await
        .unwrap();
    }

    // A certificate from an unknown authority counts as the key in it: unknown here, known there.
    for (lines, class) in [
        (
            format!("@cert-authority *.example {others}"),
            Some(Class::HostKeyUnknown),
        ),
        (
            format!("@cert-authority *.elsewhere {ours}"),
            Some(Class::HostKeyUnknown),
        ),
        (
            format!("@cert-authority *.example {others}\nweb1.example {plain_key}"),
            None,
        ),
        (
            format!("{trusted}\n@revoked * {ours}"),
            Some(Class::HostKeyMismatch),
        ),
        (
            format!("{trusted}\n@revoked *.example {plain_key}"),
            Some(Class::HostKeyMismatch),
        ),
    ] {
        let met = meet(&lab, &strict(&lab, good, alias), &lines).await;
        assert_eq!(met.err().map(|error| error.class), class, "{lines}");
    }
    for (options, words) in [
        (
            &["-n", "db1.example"][..],
            "is for db1.example, not for web1.example",
        ),
        (&["-n", "web1.example", "-V", "20200101:20200102"], "has expired"),
        (
            &["-n", "web1.example", "-V", "20990101:20990102"],
            "is not valid yet",
        ),
        (
            &["-n", "web1.example", "-O", "critical:what@example=yes"],
            "has the unknown critical option what@example",
        ),
    ] {
        let port = authority.serve(&lab, usual, options);
        let error = meet(&lab, &strict(&lab, port, alias), &trusted)
            .await
            .unwrap_err();
        assert_eq!(error.class, Class::HostKeyMismatch, "{}", error.message);
        assert!(error.message.ends_with(words), "{}", error.message);
        assert!(error.message.contains("known:1"), "{}", error.message);
    }
}

#[tokio::test]
async fn names_and_files() {
    let lab = Lab::up();
    let address = lab.machine().address();
    let port = lab.port();
    let host_key = lab.root("cat /etc/ssh/ssh_host_ed25519_key.pub");
    let wrong = read(&lab.key().with_extension("pub"));
    let hashed = lab.directory.path().join("hashed");
    std::fs::write(&hashed, format!("[{address}]:{port} {host_key}")).unwrap();
    assert!(
        Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(&hashed)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let hashed = read(&hashed);
    assert!(hashed.starts_with("|1|"));
    for (alias, lines) in [
        (None, format!("[{address}]:{port} {host_key}")),
        (None, format!("[127.65.*]:{port} {host_key}")),
        (None, hashed),
        (Some("db"), format!("db {host_key}")),
        (Some("db"), format!("*,!web {host_key}")),
    ] {
        let met = meet(&lab, &strict(&lab, port, alias), &lines).await;
        assert!(met.is_ok(), "{lines}: {:?}", met.err());
    }
    let error = meet(&lab, &strict(&lab, port, Some("db")), &format!("# x\ndb {wrong}"))
        .await
        .unwrap_err();
    assert_eq!(error.class, Class::HostKeyMismatch);
    assert!(error.message.ends_with("known:2"), "{}", error.message);
}
