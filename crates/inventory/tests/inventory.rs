//! Complete inventories: how they are read, how vars merge, which connections result.

use reveille_account::{BecomeMethod, Given, HostName, TransportKind};
use reveille_inventory::{Inventory, InventoryError, Loaded, Source};
use reveille_ssh_config::Hop;
use serde_json::{Value, json};

/// The value alone.
fn value<T>(given: Option<Given<T>>) -> Option<T> {
    given.map(|given| given.value)
}

fn load(text: &str) -> Loaded {
    let source = Source::Text {
        name: "hosts.ini".into(),
        text: text.into(),
    };
    Inventory::load(&[source]).expect("a good inventory")
}

fn list(text: &str) -> Inventory {
    let source = Source::List(text.into());
    Inventory::load(&[source]).expect("a good list").inventory
}

fn hosts(inventory: &Inventory) -> Vec<&str> {
    inventory.hosts().map(HostName::as_str).collect()
}

#[test]
fn lists_name_hosts_users_and_ports() {
    let inventory = list("web[01-02], deploy@db1:2222,[::1]:22 ,fe80::1,");
    assert_eq!(hosts(&inventory), ["web01", "web02", "db1", "::1", "fe80::1"]);
    let db = inventory.connection("db1").expect("reachable");
    assert_eq!(
        (value(db.user).as_deref(), value(db.port)),
        (Some("deploy"), Some(2222))
    );
    assert_eq!(
        value(inventory.connection("::1").expect("reachable").port),
        Some(22)
    );
}

#[test]
fn a_file_of_names_is_an_inventory() {
    let loaded = load("\u{feff}# all of them\r\nweb1\r\n\r\n; old\r\n  web2 # rack 3\r\nweb1\r\n");
    assert_eq!(hosts(&loaded.inventory), ["web1", "web2"]);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn groups_hold_hosts_and_groups() {
    let loaded = load(
        "lone\n[web]\nweb[1:2]\n[site:children]\nweb\ndb\n[db]\ndb1\nweb1\n[web]\nweb3\n[empty]\n[site:vars]\na=1\n",
    );
    let groups: Vec<(String, Vec<String>)> = loaded
        .inventory
        .groups()
        .into_iter()
        .map(|(name, hosts)| (name.to_owned(), hosts.iter().map(ToString::to_string).collect()))
        .collect();
    insta::assert_json_snapshot!(groups);
    assert_eq!(loaded.inventory.group_names("web1"), ["db", "site", "web"]);
    assert_eq!(loaded.inventory.group_names("lone"), ["ungrouped"]);
}

#[test]
fn vars_merge_in_ansible_s_order() {
    let inventory = load(
        "
[a]
h x=host
[b]
h
[c]
h
[top:children]
a
[all:vars]
v=all
only_all=1
x=all
[top:vars]
v=top
w=top
[a:vars]
v=a
[b:vars]
v=b
w=b
p=b
[c:vars]
v=c
p=c
",
    )
    .inventory;
    let vars = inventory.vars("h");
    // `a` is a child of `top`, so it is deeper than its siblings `b` and `c`.
    assert_eq!(
        Value::Object(vars),
        json!({"v": "a", "only_all": 1, "x": "host", "w": "top", "p": "c"})
    );
}

#[test]
fn a_priority_beats_the_alphabet() {
    let inventory =
        load("[a]\nh\n[z]\nh\n[a:vars]\nv=a\nansible_group_priority=10\n[z:vars]\nv=z\n").inventory;
    assert_eq!(Value::Object(inventory.vars("h")), json!({"v": "a"}));
}

#[test]
fn values_are_python_literals() {
    let inventory = load(
        r#"
h number=5 quoted="'5'" truth=True word=yes spaced="a b" list="[1, 'x']" empty= octal=0640 eq=a=b
[all:vars]
dict={'a': [1, None]}
text = free text, unquoted # not a comment
commented = 7 # a comment
"#,
    )
    .inventory;
    assert_eq!(
        Value::Object(inventory.vars("h")),
        json!({
            "dict": {"a": [1, null]}, "text": "free text, unquoted # not a comment", "commented": 7,
            "number": 5, "quoted": "5", "truth": true, "word": "yes", "spaced": "a b", "list": [1, "x"],
            "empty": "", "octal": "0640", "eq": "a=b",
        })
    );
}

#[test]
fn sources_merge_and_the_later_wins() {
    let source = |name: &str, text: &str| Source::Text {
        name: name.into(),
        text: text.into(),
    };
    let inventory = Inventory::load(&[
        source("a", "[web]\nw1 x=1\n[web:vars]\ny=1\nz=1\n"),
        source("b", "[web:vars]\ny=2\n[db]\nw1 x=2\nd1\n"),
        Source::List("extra".into()),
    ])
    .expect("good")
    .inventory;
    assert_eq!(hosts(&inventory), ["w1", "d1", "extra"]);
    assert_eq!(
        Value::Object(inventory.vars("w1")),
        json!({"y": 2, "z": 1, "x": 2})
    );
}

#[test]
fn connections_come_from_vars() {
    let inventory = load(
        "
[web]
web1 ansible_host=10.0.0.1 ansible_port=2222 ansible_user=deploy ansible_ssh_private_key_file=/k/id
web2 ansible_host='{{ inventory_hostname }}.{{ domain }}' ansible_ssh_port=23
web3 ansible_become_method=doas
here ansible_connection=local reveille_not_ready=true
[web:vars]
domain=example.org
ansible_ssh_common_args=-J me@bastion:24,inner -o Port=99
ansible_become=yes
ansible_become_user=app
",
    )
    .inventory;
    let web1 = inventory.connection("web1").expect("reachable");
    assert_eq!(
        (web1.address.value.as_str(), value(web1.port)),
        ("10.0.0.1", Some(2222))
    );
    assert_eq!(value(web1.user).as_deref(), Some("deploy"));
    assert_eq!(web1.key_files[0].value, std::path::Path::new("/k/id"));
    let jump = value(web1.jump).expect("jumps");
    assert_eq!(
        jump[0],
        Hop {
            user: Some("me".into()),
            address: "bastion".into(),
            port: Some(24)
        }
    );
    assert_eq!(jump.len(), 2);
    assert_eq!(
        (
            value(web1.escalate),
            value(web1.become_user).as_deref(),
            web1.become_method
        ),
        (Some(true), Some("app"), None)
    );
    let web2 = inventory.connection("web2").expect("reachable");
    assert_eq!(
        (web2.address.value.as_str(), value(web2.port)),
        ("web2.example.org", Some(23))
    );
    let web3 = inventory.connection("web3").expect("reachable");
    assert_eq!(
        (value(web3.port), value(web3.become_method)),
        (Some(99), Some(BecomeMethod::Doas))
    );
    let here = inventory.connection("here").expect("reachable");
    assert_eq!(
        (value(here.transport), here.not_ready),
        (Some(TransportKind::Local), true)
    );
    assert!(matches!(
        inventory.connection("nobody"),
        Err(InventoryError::UnknownHost(_))
    ));
}

#[test]
fn connections_that_cannot_be_read_say_where() {
    let inventory = load(
        "a ansible_host='{{ x | uper }}' x=y\nb ansible_connection=winrm\nc ansible_host={{missing}}\nd ansible_host={{ansible_host}}\ne ansible_port={{p}} p=x\n\
         f ansible_host='{{ lookup(\"file\", \"x\") }}'\ng ansible_host='{{ x'\nh ansible_host='{{ hostvars[\"nobody\"].x }}'\n\
         j ansible_host='{{ my_token.x }}' my_token=hunter2\nk ansible_host='{{ hostvars[\"k\"].ansible_host }}'\n\
         l ansible_port='{{ my_secret | int + [] }}' my_secret=hunter2\n",
    )
    .inventory;
    let errors: Vec<String> = inventory
        .hosts()
        .map(|host| {
            inventory
                .connection(host.as_str())
                .expect_err("unreadable")
                .to_string()
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n\n"));
}

#[test]
fn what_has_no_effect_is_warned_about() {
    let loaded = load(
        r#"
web1 ansible_password=hunter2 ansible_shell_type=fish
web2 ansible_password=hunter2 ansible_python_interpreter=/usr/bin/python3
web3 ansible_ssh_common_args="-o StrictHostKeyChecking=no -C -o ControlPersist=60s" motd=a#b
web4 ansible_connection=winrm url='http://{{ host }}/'
[web4]
web3
"#,
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let warnings = warnings.join("\n\n");
    assert!(!warnings.contains("hunter2"));
    insta::assert_snapshot!(warnings);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"([a-c0-9\[\]:,=@'"\\ #;.{}&!~-]|\n|\[[a-c]\]\n|\[[a-c]:(children|vars)\]\n|ansible_port=|é|\x00){0,80}"#) {
        let source = Source::Text { name: "fuzz".into(), text: text.clone() };
        if let Ok(loaded) = Inventory::load(&[source]) {
            for host in loaded.inventory.hosts() {
                let _ = loaded.inventory.vars(host.as_str());
                let _ = loaded.inventory.connection(host.as_str());
            }
            let _ = loaded.inventory.groups();
        }
        let _ = Inventory::load(&[Source::List(text)]);
    }
}
