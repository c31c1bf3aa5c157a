//! YAML inventories: mistakes with their places, and warnings.

use reveille_inventory::{Inventory, Source};

fn load(text: &str) -> Result<reveille_inventory::Loaded, String> {
    let source = Source::Text {
        name: "hosts.yml".into(),
        text: text.into(),
    };
    Inventory::load(&[source]).map_err(|error| error.to_string())
}

#[test]
fn mistakes_are_placed() {
    let shown: Vec<String> = [
        "all:\n  hosts:\n    - web1\n",
        "all:\n  hosts:\n    web1: up\n",
        "all:\n  hosts:\n    web[5:1]:\n",
        "all:\n  hosts:\n    web1:\n      ansible_port: 99999\n      ansible_become: maybe\n",
        "all:\n  hosts:\n    1: {}\n  children:\n    yes: {}\n",
        "all:\n  children:\n    web: text\n",
        "all:\n  hosts:\n    web1:\n      a: [1\n",
        "all:\n  hosts:\n\tweb1:\n",
        "all:\n  vars:\n    a: {{ b }}\n",
        "all:\n  vars:\n    a: x: y\n",
        "all:\n  vars:\n    a: *none\n",
        "all:\n  vars:\n    a: !frob 1\n",
        "all:\n  vars:\n    <<: text\n",
        "all:\n  hosts: {a: }\n---\nall:\n",
        "---\nplugin: amazon.aws.aws_ec2\nregions: [eu-west-1]\n",
        "---\n- hosts: all\n",
        "a: {children: {b: }}\nb: {children: {a: }}\nc: {hosts: {h: }}\n",
        "all:\n  vars:\n    x: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      6161\n",
    ]
    .iter()
    .map(|text| load(text).expect_err(text))
    .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn secrets_are_not_shown() {
    let shown = load("all:\n  hosts:\n    h: {ansible_password: [hunter2]}\n").expect_err("a list");
    assert!(
        shown.contains("hosts.yml:3") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("all: {{vars: {{a: {}}}}}", "[".repeat(5_000));
    assert!(load(&text).is_err());
    let text = format!("all:\n  vars:\n    a: {}1{}\n", "[".repeat(70), "]".repeat(70));
    assert!(
        load(&text)
            .expect_err("deep")
            .contains("nested more than 64 deep")
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"(all|hosts|vars|children|web1|: |:\n|\n|  |    |- |\{|\}|\[|\]|, |"|'|yes|~|&a |\*a|<<|!vault \||ansible_port|2[0-9]|é|#){0,60}"#) {
        for text in [text.clone(), format!("---\n{text}"), format!("all:\n  {text}")] {
            if let Ok(loaded) = load(&text) {
                for host in loaded.inventory.hosts() {
                    let _ = loaded.inventory.vars(host.as_str());
                    let _ = loaded.inventory.connection(host.as_str());
                }
            }
        }
    }
}
