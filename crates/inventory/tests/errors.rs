//! Snapshots of mistakes.

use std::fs;

use reveille_inventory::{Inventory, InventoryError, MAX_FILE_BYTES, Source};

fn error_of(source: Source) -> String {
    Inventory::load(&[source]).expect_err("a mistake").to_string()
}

fn error(text: &str) -> String {
    error_of(Source::Text {
        name: "hosts.ini".into(),
        text: text.into(),
    })
}

#[test]
fn lines() {
    insta::assert_snapshot!(error(
        "[web]
web1 ansible_port=70000
web2 'open
web3 loose
web4, web5
web[5:1]
web[01:100]
web6:0
=x
ansible_host=10.0.0.1
- hosts
[web:chidren]
[we b]
[web
[web] x
"
    ));
}

#[test]
fn sections() {
    insta::assert_snapshot!(error(
        "h1
[web]
[wbe:vars]
a=1
[site:children]
wbe
h1
nobody
all
two words
[web:vars]
no value
=5
ansible_group_priority=high
"
    ));
}

#[test]
fn circles() {
    insta::assert_snapshot!(error(
        "[c]\n[x:children]\na\n[a:children]\nb\n[b:children]\nc\n[c:children]\na\n"
    ));
    assert!(error("[a:children]\na\n").contains("a > a"));
}

#[test]
fn too_many_mistakes_are_counted() {
    let text = "bad name\n".repeat(50);
    assert!(error(&text).ends_with("and 30 more mistakes"));
}

#[test]
fn too_many_names() {
    insta::assert_snapshot!(error("a[0:599999]\nb[1:500000]\n"));
}

#[test]
fn lists() {
    insta::assert_snapshot!(error_of(Source::List("web1,web[3:1],a b,é[,x:99999".into())));
    assert_eq!(error_of(Source::List(" , ".into())), "` , ` names no host");
}

#[test]
fn a_single_name_is_no_file() {
    insta::assert_snapshot!(error_of(Source::Argument("web1".into())), @r"
    no such file: `web1`
      hint: for a single host write `web1,`
    ");
}

#[test]
fn secrets_are_not_shown() {
    let shown = error("web1 ansible_password=hunter2 loose\n");
    assert!(
        !shown.contains("hunter2") && shown.contains("hosts.ini:1:31"),
        "{shown}"
    );
}

#[test]
fn files() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("writable");
        error_of(Source::Argument(path.display().to_string()))
            .replace(&directory.path().display().to_string(), "DIR")
    };
    let shown = [
        file("empty", b"\n# nothing\n"),
        file("binary", b"web1\nweb\0"),
        file("latin1", b"web1\n# caf\xe9\n"),
        file("hosts.yml", b"all:\n"),
        file("hosts.json", b"{}"),
        file("script", b"#!/bin/sh\n"),
        file("vault", b"$ANSIBLE_VAULT;1.1;AES256\n"),
        error_of(Source::Argument(directory.path().display().to_string()))
            .replace(&directory.path().display().to_string(), "DIR"),
    ];
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn a_huge_file_is_refused_unread() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(1 << 30).expect("sparse");
    let error = Inventory::load(&[Source::File(file.path().to_owned())]).expect_err("too large");
    assert!(matches!(
        error,
        InventoryError::TooLarge {
            bound: MAX_FILE_BYTES,
            ..
        }
    ));
    let error = Inventory::load(&[Source::File("/dev/zero".into())]).expect_err("endless");
    assert!(matches!(error, InventoryError::TooLarge { .. }));
}
