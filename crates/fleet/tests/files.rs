//! The crate's modules form no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Needs = BTreeMap<String, BTreeSet<String>>;

/// The crate's files, each with the files that it names.
fn files() -> Needs {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        // Tests may name anything.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let named = lines.flat_map(|line| {
            line.split("crate::").skip(1).map(|rest| {
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect::<String>()
            })
        });
        (name, named.collect())
    };
    std::fs::read_dir(directory).unwrap().map(read).collect()
}

/// A cycle of files, if there is one.
fn cycle(needs: &Needs) -> Option<Vec<String>> {
    let mut left: Needs = needs.clone();
    // A file that needs no remaining file is in no cycle.
    while let Some(free) = left
        .iter()
        .find(|(_, needed)| needed.iter().all(|name| !left.contains_key(name)))
        .map(|(name, _)| name.clone())
    {
        left.remove(&free);
    }
    (!left.is_empty()).then(|| left.into_keys().collect())
}

#[test]
fn files_do_not_form_a_cycle() {
    let files = files();
    assert!(files.contains_key("host") && files["host"].contains("engine"));
    assert_eq!(cycle(&files), None);
}

#[test]
fn a_cycle_is_found() {
    let needs = |pairs: &[(&str, &str)]| -> Needs {
        let of = |(from, to): &(&str, &str)| ((*from).to_owned(), BTreeSet::from([(*to).to_owned()]));
        pairs.iter().map(of).collect()
    };
    assert_eq!(cycle(&needs(&[("a", "b"), ("b", "c")])), None);
    assert_eq!(
        cycle(&needs(&[("a", "b"), ("b", "a")])),
        Some(vec!["a".into(), "b".into()])
    );
}
