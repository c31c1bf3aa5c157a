//! Places where secrets must not appear.

use std::collections::BTreeSet;
use std::fs;

use reveille_transport::supervisor::{Beat, Durable};
use reveille_transport::{Authentication, Become, BecomeMethod, Identities, Keyring, Secret, Wanted};

use crate::support::*;

/// Every process on this machine, including those of the test machine, that shows `secret` to other users.
fn seen(secret: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        for file in ["cmdline", "environ"] {
            let path = entry.path().join(file);
            // Processes come and go.
            let Ok(bytes) = fs::read(&path) else { continue };
            if bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
            {
                found.insert(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn no_process_and_no_message_shows_a_secret() {
    let lab = Lab::up();
    // Letters only, so that no quoting or encoding could hide the secret.
    let [login, sudo, passphrase] =
        ["Xlogin", "Xsudo", "Xphrase"].map(|word| format!("{word}{}", "qz".repeat(6)));
    lab.root(&format!(
        "printf 'ann:{login}\\nbob:{sudo}\\n' | chpasswd; echo 'ann ALL=(ALL) ALL\nDefaults:ann targetpw' >/etc/sudoers.d/test"
    ));
    let port = lab.serve("PasswordAuthentication yes\nAuthenticationMethods publickey,password");
    let path = lab.directory.path().join("closed");
    fs::copy(lab.key(), &path).unwrap();
    let locked = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", &passphrase, "-f"])
        .arg(&path)
        .status();
    assert!(locked.unwrap().success());

    let wanted = Wanted {
        keys: vec![path],
        ..Wanted::default()
    };
    let identities = Keyring::asking(|_| Some(Secret::new(passphrase.as_str())))
        .load(&wanted)
        .unwrap();
    let authentication = Authentication {
        identities,
        password: Some(Secret::new(login.as_str())),
        password_to_new_hosts: true,
    };
    let target = lab.target_by("ann", port, authentication);
    let session = connect(&lab.client(), &target).await.unwrap();
    let mut shown = vec![format!("{target:?} {:#?}", target.authentication)];
    for (number, method) in [BecomeMethod::Sudo, BecomeMethod::Su].into_iter().enumerate() {
        for terminal in [false, true] {
            let other = Become {
                terminal,
                ..by(method, "bob", Some(&sudo))
            };
            let seed = u8::try_from(number * 2 + usize::from(terminal)).unwrap();
            let mut durable = Durable::open_start(&session, Some(&other), &key(seed))
                .await
                .unwrap();
            let work = payload("echo up; read -r line </tmp/gate; echo $line");
            lab.root("rm -f /tmp/gate; mkfifo -m 666 /tmp/gate");
            durable.start(&durable.hello().clone(), &work, CAP).await.unwrap();
            assert!(matches!(durable.next().await.unwrap(), Beat::Started(_)));
            assert_eq!(durable.next().await.unwrap(), Beat::Stdout("up\n".into()));
            let mut plain = session.run(Some(&other), "cat; env").await.unwrap();
            for secret in [&login, &sudo, &passphrase] {
                assert_eq!(seen(secret), BTreeSet::new(), "{other:?}");
            }
            shown.push(format!("{other:?} {durable:?} {plain:?}"));
            plain.input().end().await.unwrap();
            loop {
                match plain.next().await {
                    reveille_transport::Heard::Closed => break,
                    heard => shown.push(format!("{heard:?}")),
                }
            }
            lab.root("timeout 10 sh -c 'echo on >/tmp/gate'");
            shown.push(format!("{:?}", follow(&mut durable).await));
        }
    }
    // Messages if every method fails.
    for method in [BecomeMethod::Sudo, BecomeMethod::Su, BecomeMethod::Doas] {
        let error = session
            .run(Some(&by(method, "carl", Some(&sudo))), "id")
            .await
            .unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    lab.root("usermod -p '*' ann");
    let error = connect(&lab.client(), &target).await.unwrap_err();
    shown.push(format!("{error} {error:?}"));
    let files = lab.root("grep -rlE 'Xlogin|Xsudo' /home /tmp /var/log /run || true");
    assert_eq!(files, "");
    for text in shown {
        for secret in [&login, &sudo, &passphrase] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
    }
}

/// A man in the middle may end the first connection to be known on the second one: no password is offered to a key that
/// this process has seen for the first time, neither to log in nor to become another user.
#[tokio::test]
async fn a_new_host_gets_no_password_on_its_second_connection_either() {
    let lab = Lab::up();
    let port = lab.serve("PasswordAuthentication yes");
    let with = |authentication: Authentication| {
        let authentication = Authentication {
            password: Some(Secret::new(PASSWORD)),
            password_to_new_hosts: false,
            ..authentication
        };
        lab.target_by("ann", port, authentication)
    };
    let client = lab.client();
    for _ in 0..2 {
        let error = connect(&client, &with(Authentication::default()))
            .await
            .unwrap_err();
        assert!(error.message.contains("the password was not sent"), "{error}");
        assert!(!error.password_refused);
    }
    let keys = || Authentication::keys(Identities::load(&[lab.key()], None).unwrap());
    let session = connect(&client, &with(keys())).await.unwrap();
    let error = session
        .run(Some(&by(BecomeMethod::Sudo, "bob", Some(PASSWORD))), "id -un")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("sudo asks for the password, which was not sent"),
        "{error}"
    );
    // Another process finds the key in its file.
    let client = lab.client();
    let session = connect(&client, &with(Authentication::default())).await.unwrap();
    let mut exec = session
        .run(Some(&by(BecomeMethod::Sudo, "bob", Some(PASSWORD))), "id -un")
        .await
        .unwrap();
    assert_eq!(
        exec.next().await,
        reveille_transport::Heard::Stdout("bob\n".into())
    );
}
