//! Tests patterns on a small inventory, and their algebra with sets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reveille_account::HostName;
use reveille_inventory::{Inventory, InventoryError, RunSelector, Source, no_runs};

fn inventory() -> Inventory {
    let text = "
lone
[web]
web[1:4]
[db]
db[1:2]
web4
[site:children]
web
db
[v6]
fe80::1
";
    Inventory::load(&[Source::Text {
        name: "hosts".into(),
        text: text.into(),
    }])
    .expect("good")
    .inventory
}

fn select(patterns: &[&str]) -> Result<Vec<String>, InventoryError> {
    let runs = |selector: &RunSelector| match selector.to_string().as_str() {
        "last:failed" => Ok(vec![HostName::from("web2"), HostName::from("db1")]),
        "last:success" => Ok(vec![HostName::from("lone")]),
        "r-20261121-101502-4f2a:dns" => Ok(vec![HostName::from("gone")]),
        other => Err(format!("there is no run `{other}`")),
    };
    let selected = inventory().select(patterns, &runs)?;
    Ok(selected.iter().map(ToString::to_string).collect())
}

#[test]
fn terms_match() {
    let web = ["web1", "web2", "web3", "web4"];
    for (pattern, expected) in [
        ("web", &web[..]),
        ("web*", &web),
        ("web?,!web[0]", &web[1..]),
        ("web:&db", &["web4"]),
        ("!web:site", &["db1", "db2"]),
        ("!site", &["lone", "fe80::1"]),
        ("db2,web1,db2", &["web1", "db2"]),
        ("web[0:1]", &web[..2]),
        ("web[-1]", &["web4"]),
        ("web[2:]", &web[2..]),
        // Names, although `web` is a group.
        ("web[01-02]", &[]),
        ("web[1-2]", &["web1", "web2"]),
        ("web[1-9]", &[]),
        ("site[1-2]", &["web2", "web3"]),
        ("x[1-2],web1", &[]),
        ("lone[0]", &["lone"]),
        ("db[1-2]", &["db1", "db2"]),
        ("db[1:2]", &["db2", "web4"]),
        ("", &[]),
        (" , ", &[]),
        (":", &[]),
        ("web[13]", &[]),
        ("~(web|db)[12]$", &["web1", "web2", "db1", "db2"]),
        ("~w.b[0-9]{1,2}:!web1", &web[1..]),
        ("fe80::1", &["fe80::1"]),
        ("ungrouped", &["lone"]),
        ("@last:failed", &["web2", "db1"]),
        ("@last:failed:!db", &["web2"]),
        ("web:!@last:failed", &["web1", "web3", "web4"]),
        ("@last:success", &["lone"]),
        ("@last", &["web2", "db1"]),
        ("[fe80::1]:lone", &["lone", "fe80::1"]),
        ("all:!lone:&web:&db", &["web4"]),
        ("web1,", &["web1"]),
    ] {
        match select(&[pattern]) {
            Ok(mut hosts) => {
                let mut expected = expected.to_vec();
                hosts.sort();
                expected.sort_unstable();
                assert_eq!(hosts, expected, "{pattern}");
            }
            Err(error) => assert!(expected.is_empty(), "{pattern}: {error}"),
        }
    }
    assert_eq!(select(&[]).expect("all").len(), 8);
    assert_eq!(select(&["web", "!web1"]).expect("three").len(), 3);
}

#[test]
fn names_that_look_like_parts_of_an_address_are_names() {
    let source = Source::List("[001:009],2001:db8::1".into());
    let inventory = Inventory::load(&[source]).expect("good").inventory;
    let count = |pattern: &str| inventory.select(&[pattern], &no_runs).map(|hosts| hosts.len());
    assert_eq!(count("001:002:003:004:005:006:007:008").expect("names"), 8);
    assert_eq!(count("001:002").expect("names"), 2);
    assert_eq!(count("2001:db8::1").expect("an address"), 1);
    assert_eq!(count("all:!2001:db8::1").expect("all but one"), 9);
}

#[test]
fn files_name_patterns() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "# retry\nweb1\n\ndb:!web4\n").expect("writable");
    let pattern = format!("@{}", file.path().display());
    assert_eq!(select(&[&pattern]).expect("three"), ["web1", "db1", "db2"]);
    assert_eq!(select(&[&format!("web:&{pattern}")]).expect("one"), ["web1"]);
    std::fs::write(file.path(), "web1\nwbe2\n").expect("writable");
    let error = select(&[&pattern]).expect_err("unknown").to_string();
    assert!(error.contains(":2:1"), "{error}");
    std::fs::write(file.path(), &pattern).expect("writable");
    assert!(select(&[&pattern]).is_err());
    let error = select(&["@/dev/zero"]).expect_err("endless").to_string();
    assert!(error.contains("larger than 16 MiB"), "{error}");
}

#[test]
fn mistakes_are_placed() {
    let shown: Vec<String> = [
        "wbe",
        "all:!wbe1",
        "web:&nothing*",
        "web[9]",
        "~web(",
        "~^x",
        "web1,,web2",
        "web:&lone",
        "@/no/such/file",
        "@last:frobnicated",
        "web1,@last:fialed",
        "@r-20261121-999999-4f2a",
        "@r-20261121-101502-4f2a:dns",
        "&",
        "",
        "web[1-9]",
    ]
    .iter()
    .map(|pattern| select(&[pattern]).expect_err(pattern).to_string())
    .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
    assert!(matches!(
        select(&["web:&lone"]),
        Err(InventoryError::NothingMatches { .. })
    ));
}

proptest! {
    #[test]
    fn the_algebra_is_that_of_sets(terms in prop::collection::vec((0..3usize, 0..7usize), 1..6)) {
        let atoms = ["web", "db", "site", "lone", "web1", "ungrouped", "*"];
        let inventory = inventory();
        let all: Vec<HostName> = inventory.hosts().cloned().collect();
        let set = |atom: &str| -> BTreeSet<HostName> {
            inventory.select(&[atom], &no_runs).expect("an atom").into_iter().collect()
        };
        let mut added: Option<BTreeSet<HostName>> = None;
        for (operation, atom) in &terms {
            if *operation == 0 {
                added.get_or_insert_default().extend(set(atoms[*atom]));
            }
        }
        let mut expected = added.unwrap_or_else(|| all.iter().cloned().collect());
        for (operation, atom) in &terms {
            match operation {
                1 => expected = expected.intersection(&set(atoms[*atom])).cloned().collect(),
                2 => expected = expected.difference(&set(atoms[*atom])).cloned().collect(),
                _ => {}
            }
        }
        let in_order: Vec<HostName> = all.into_iter().filter(|host| expected.contains(host)).collect();
        let pattern: Vec<String> =
            terms.iter().map(|(operation, atom)| format!("{}{}", ["", "&", "!"][*operation], atoms[*atom])).collect();
        match inventory.select(&[pattern.join(":")], &no_runs) {
            Ok(hosts) => prop_assert_eq!(hosts, in_order),
            Err(InventoryError::NothingMatches { .. }) => prop_assert!(in_order.is_empty()),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn no_pattern_panics(pattern in "[a-z*?!&@~:,\\[\\]\\\\(){}0-9 é^-]{0,24}") {
        let _ = select(&[&pattern]);
    }
}
