//! Chains of jump hosts.

use std::sync::Arc;

use reveille_account::Class;
use reveille_transport::supervisor::{Beat, Durable, Offsets};
use reveille_transport::{HostKeyPolicy, Identities, KnownHosts, Target};

use crate::support::*;

/// `user` at a separate server, reached through `jump`, with its own known hosts.
fn hop(lab: &Lab, user: &str, port: u16, jump: Option<Target>) -> Target {
    let known = lab.directory.path().join(format!("known-{user}"));
    Target {
        known_hosts: Some(Arc::new(KnownHosts::load(&[], Some(known)).unwrap())),
        jump: jump.map(Arc::new),
        ..lab.target(user, port)
    }
}

#[tokio::test]
async fn two_and_three_hops() {
    let lab = Lab::up();
    let [first, second, third] = ["ann", "bob", "carl"].map(|user| lab.serve(&format!("AllowUsers {user}")));
    // The middle one uses another method.
    let by_password = lab.serve("PasswordAuthentication yes\nAuthenticationMethods password");
    let outer = hop(&lab, "ann", first, None);
    let middle = Target {
        authentication: Arc::new(password()),
        ..hop(&lab, "bob", by_password, Some(outer.clone()))
    };
    let inner = hop(&lab, "carl", third, Some(middle));
    let client = lab.client();
    for (target, user) in [
        (hop(&lab, "bob", second, Some(outer)), "bob"),
        (hop(&lab, "tess", lab.port(), Some(inner)), "tess"),
    ] {
        assert_eq!(
            target.first_endpoint(),
            format!("{}:{first}", lab.machine().address())
        );
        let session = connect(&client, &target).await.unwrap();
        let said = hear(session.run(None, "id -un").await.unwrap(), b"").await;
        assert_eq!(said.text(), format!("{user}\n"));
        session.close().await;
    }
    // Each recorded the key in its own file, and the client's own file was not created.
    for user in ["ann", "bob", "carl", "tess"] {
        let known = lab.directory.path().join(format!("known-{user}"));
        assert!(
            std::fs::read_to_string(known).unwrap().contains("ssh-ed25519"),
            "{user}"
        );
    }
    assert!(!lab.directory.path().join("known_hosts").exists());
}

#[tokio::test]
async fn what_fails_on_the_way_names_the_hop() {
    let lab = Lab::up();
    let wrong = Identities::default();
    let outer = lab.target("ann", lab.port());
    let middle = Target {
        authentication: Arc::new(wrong.into()),
        jump: Some(Arc::new(outer)),
        ..lab.target("bob", lab.serve("AllowUsers bob"))
    };
    let target = Target {
        host_keys: HostKeyPolicy::Off,
        jump: Some(Arc::new(middle.clone())),
        ..lab.target("carl", lab.port())
    };
    let error = connect(&lab.client(), &target).await.unwrap_err();
    assert_eq!(error.class, Class::AuthFailed);
    let hop = format!("jump host {}: ", middle.endpoint());
    assert!(error.message.starts_with(&hop), "{}", error.message);
}

#[tokio::test]
async fn a_jump_host_that_dies_loses_the_connection() {
    let lab = Lab::up();
    let port = lab.serve("AllowUsers ann");
    let target = Target {
        jump: Some(Arc::new(lab.target("ann", port))),
        ..lab.target("bob", lab.port())
    };
    let client = lab.client();
    let first = connect(&client, &target).await.unwrap();
    // Another host behind the same jump host has its own connection.
    let second = connect(&client, &target).await.unwrap();
    let mut durable = Durable::open_start(&first, None, &key(1)).await.unwrap();
    let work = payload("echo up; read -r line </tmp/gate; echo $line");
    lab.root("mkfifo -m 666 /tmp/gate");
    durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
    assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
    assert_eq!(durable.next().await.unwrap(), Beat::Stdout("up\n".into()));
    let exec = second.run(None, "sleep 1000").await.unwrap();
    let processes = lab.root("grep -ls 'sshd[:] ann' /proc/[0-9]*/cmdline | grep -o '[0-9]*'");
    // Each connection has one process of root and one of ann.
    assert_eq!(processes.lines().count(), 4, "{processes}");
    lab.root(&format!("kill -9 {}", processes.replace('\n', " ")));
    assert_eq!(durable.next().await.unwrap(), Beat::Lost);
    assert!(hear(exec, b"").await.lost);
    assert!(first.is_closed());
    let why = first.why_closed();
    assert!(
        why.starts_with("the connection to its jump host was lost"),
        "{why}"
    );
    // The work continued.
    let again = connect(&client, &target).await.unwrap();
    let mut durable = Durable::open_attach(&again, None, &key(1)).await.unwrap();
    durable
        .attach(Offsets { stdout: 3, stderr: 0 }, None, CAP)
        .await
        .unwrap();
    lab.root("timeout 10 sh -c 'echo on >/tmp/gate'");
    assert_eq!(
        follow(&mut durable).await,
        (b"on\n".to_vec(), Vec::new(), exited(0))
    );
}

#[tokio::test]
async fn the_systems_ssh_goes_through_jump_hosts() {
    let lab = Lab::up();
    let [first, second] = ["ann", "bob"].map(|user| lab.serve(&format!("AllowUsers {user}")));
    let outer = hop(&lab, "ann", first, None);
    let inner = hop(&lab, "bob", second, Some(outer));
    let target = by_openssh(hop(&lab, "carl", lab.port(), Some(inner)));
    let session = connect(&lab.client(), &target).await.unwrap();
    let said = hear(session.run(None, "id -un").await.unwrap(), b"").await;
    assert_eq!(said.text(), "carl\n");
    session.close().await;
    for user in ["ann", "bob", "carl"] {
        let known = lab.directory.path().join(format!("known-{user}"));
        assert!(
            std::fs::read_to_string(known).unwrap().contains("ssh-ed25519"),
            "{user}"
        );
    }
}
