//! Tests which source of a value wins, and that the reasons say so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_account::{BecomeMethod, Given, HostKeyPolicy, Origin, TransportKind};
use reveille_inventory::{Inventory, Source};
use reveille_way::{Asked, Error, Finder, Nobody, Reasons, Way};

const INVENTORY: &str = "
plain
full ansible_host=10.0.0.1 ansible_port=2222 ansible_user=inv ansible_private_key_file=/k/inv ansible_become=yes \
 ansible_become_user=app ansible_become_method=su ansible_timeout=7 ansible_ssh_common_args='-J inv@gate:99'
proxied
tokens ansible_host=10.0.0.2 ansible_port=23 ansible_user=inv ansible_private_key_file=/k/%r \
 ansible_ssh_common_args='-o UserKnownHostsFile=/known/%h-%p'
here ansible_connection=local
unchecked ansible_host_key_checking=false
routed reveille_routes='[\"10.9.9.9:24\"]' reveille_label='t3 large'
";

const SSH_CONFIG: &str = "
Host plain
  HostName plain.example.org
  Port 24
  User conf
  ProxyJump hop1
  IdentityFile /k/conf
  ConnectTimeout 3
  StrictHostKeyChecking yes
  IdentityFile none
  IdentityFile /k/second
  CertificateFile /k/cert
  IdentityAgent none
Host 10.0.0.1
  Port 25
  User conf
  ProxyJump none
Host hop1
  ProxyJump hop0
  User gate
Host proxied
  ProxyCommand nc %h %p
";

/// A directory with an inventory and an ssh_config.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("config"), SSH_CONFIG).expect("a file");
        Self(directory)
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("config")
    }

    fn find(&self, host: &str, asked: Asked) -> Result<(Way, Reasons), Error> {
        let source = Source::Text {
            name: "hosts.ini".into(),
            text: INVENTORY.into(),
        };
        let inventory = Inventory::load(&[source])?.inventory;
        let asked = Asked {
            ssh_config: Some(self.config()),
            ..asked
        };
        let mut finder = Finder::new(&asked, &Nobody)?;
        let mut reasons = Reasons::kept();
        let way = finder.find(&inventory, host, &mut reasons)?;
        Ok((way, reasons))
    }

    fn way(&self, host: &str, asked: Asked) -> Way {
        self.find(host, asked).expect(host).0
    }

    /// The reasons, without anything specific to this machine.
    fn why(&self, host: &str, asked: Asked) -> String {
        let (_, reasons) = self.find(host, asked).expect(host);
        reasons
            .to_string()
            .replace(&self.config().display().to_string(), "CONFIG")
    }
}

fn option<T>(value: T, name: &'static str) -> Given<T> {
    Given::new(value, Origin::Option(name.into()))
}

fn everything() -> Asked {
    Asked {
        user: Some(option("opt".to_owned(), "--user")),
        keys: vec![option(PathBuf::from("/k/opt"), "--key")],
        port: Some(option(26, "--port")),
        ssh_config: None,
        transport: Some(option(TransportKind::Native, "--transport")),
        escalate: None,
        become_user: Some(option("boss".to_owned(), "--become-user")),
        become_method: Some(option(BecomeMethod::Doas, "--become-method")),
        connect_timeout: Some(option(Duration::from_secs(1), "--connect-timeout")),
        host_key: Some(option(HostKeyPolicy::Off, "--host-key")),
    }
}

#[test]
fn ssh_config_fills_what_the_inventory_leaves_open() {
    let files = Files::new();
    let way = files.way("plain", Asked::default());
    let link = &way.link;
    assert_eq!(
        (link.address.as_str(), link.port, link.user.as_str()),
        ("plain.example.org", 24, "conf")
    );
    assert_eq!(link.more_keys, ["/k/conf", "/k/second"].map(PathBuf::from));
    assert_eq!(link.host_key, Some(HostKeyPolicy::Strict));
    assert_eq!(link.connect_timeout_ms, Some(3_000));
    // The jump host has its own jump host.
    let hops: Vec<&str> = way.jump.iter().map(|hop| hop.address.as_str()).collect();
    assert_eq!(hops, ["hop0", "hop1"]);
    assert_eq!(way.jump[1].user, "gate");
    assert_eq!((way.escalate, way.becomes.as_str()), (None, "root"));
}

#[test]
fn the_inventory_wins_over_ssh_config() {
    let way = Files::new().way("full", Asked::default());
    assert_eq!(
        (way.link.address.as_str(), way.link.port, way.link.user.as_str()),
        ("10.0.0.1", 2222, "inv")
    );
    assert_eq!(way.link.keys, [Path::new("/k/inv")]);
    assert_eq!(way.link.connect_timeout_ms, Some(7_000));
    assert_eq!((way.jump[0].address.as_str(), way.jump[0].port), ("gate", 99));
    assert_eq!(way.jump[0].last_keys, [Path::new("/k/inv")]);
    assert_eq!(
        (way.escalate.as_deref(), way.become_method),
        (Some("app"), BecomeMethod::Su)
    );
}

#[test]
fn the_command_line_wins_over_both() {
    let way = Files::new().way("full", everything());
    assert_eq!((way.link.port, way.link.user.as_str()), (26, "opt"));
    assert_eq!(way.link.keys, [Path::new("/k/opt")]);
    // These come from the run and apply to all hosts.
    assert_eq!((way.link.connect_timeout_ms, way.link.host_key), (None, None));
    assert_eq!(
        (way.escalate.as_deref(), way.become_method),
        (Some("boss"), BecomeMethod::Doas)
    );
}

#[test]
fn reasons_name_the_winner_and_the_losers() {
    let files = Files::new();
    let all = ["plain", "full", "proxied", "here", "unchecked"].map(|host| {
        let user = Given::new("me".to_owned(), Origin::Environment("REVEILLE_USER".into()));
        let asked = Asked {
            user: Some(user),
            ..Asked::default()
        };
        format!("{host}\n{}", files.why(host, asked))
    });
    insta::assert_snapshot!(all.join("\n"));
    insta::assert_snapshot!(files.why("full", everything()));
}

#[test]
fn routes_and_labels_come_from_vars() {
    let way = Files::new().way("routed", Asked::default());
    assert_eq!(
        (way.routes[0].address.as_str(), way.routes[0].port),
        ("10.9.9.9", 24)
    );
    assert_eq!(way.label.as_deref(), Some("t3-large"));
}

#[test]
fn native_ssh_runs_no_proxy_command() {
    let files = Files::new();
    let way = files.way("proxied", Asked::default());
    assert_eq!(way.transport, TransportKind::Openssh);
    assert_eq!(way.ssh_options, ["ProxyCommand=nc %h %p"]);
    let error = files
        .find("proxied", everything())
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("ProxyCommand at") && error.contains("--transport openssh"),
        "{error}"
    );
}

#[test]
fn jump_hosts_that_name_each_other_are_refused() {
    let files = Files::new();
    let circle = "Host plain\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyJump a\n";
    std::fs::write(files.config(), circle).expect("a file");
    let error = files.find("plain", Asked::default()).expect_err("a circle");
    assert!(error.to_string().contains("in a circle"), "{error}");
}

/// A file that does not exist knows no key, so that a changed key would be accepted as a new one.
#[test]
fn tokens_in_paths_of_the_inventory_are_expanded() {
    let (way, _) = Files::new().find("tokens", Asked::default()).expect("a way");
    assert_eq!(way.link.keys, [Path::new("/k/inv")]);
    let known = ["/known/10.0.0.2-23", "/etc/ssh/ssh_known_hosts"].map(PathBuf::from);
    assert_eq!(way.link.known_hosts.as_deref(), Some(&known[..]));
}
