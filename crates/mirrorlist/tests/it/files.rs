//! The crate's files form no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The path of a module, below the crate.
type Module = Vec<String>;

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// The paths that follow a word such as `crate` in code, with those in braces one by one.
fn named(code: &str, word: &str) -> Vec<Module> {
    let words = |path: &str| -> Module { path.split("::").map(|word| word.trim().to_owned()).collect() };
    let mut found = Vec::new();
    for rest in code.split(&format!("{word}::")).skip(1) {
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .unwrap_or(rest.len());
        let inner = rest[end..]
            .strip_prefix('{')
            .and_then(|inner| inner.split('}').next());
        for last in inner.unwrap_or_default().split(',') {
            found.push(words(&format!("{}{}", &rest[..end], last.trim())));
        }
    }
    found
}

/// Each module with those that it names.
fn modules() -> BTreeMap<Module, BTreeSet<Module>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut code = BTreeMap::new();
    for path in files(&source) {
        let relative = path.strip_prefix(&source).unwrap().with_extension("");
        let mut module: Module = relative
            .iter()
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        let name = module.last().unwrap().as_str();
        // Tests may name anything, and the roots of library and program only name what is below them.
        let is_left_out = ["lib", "main", "tests"].contains(&name) || module[0] == "snapshots";
        if is_left_out || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        if name == "mod" {
            module.pop();
        }
        let text = fs::read_to_string(path).unwrap();
        let text = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default()
            .to_owned();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        code.insert(module, lines.join("\n"));
    }
    let needs = |(module, text): (&Module, &String)| {
        let parent = &module[..module.len().saturating_sub(1)];
        let mut needed = BTreeSet::new();
        for (word, base) in [("crate", &[][..]), ("super", parent), ("self", module)] {
            for path in named(text, word) {
                let full: Module = base.iter().cloned().chain(path).collect();
                let longest = (0..=full.len()).rev().map(|length| &full[..length]);
                needed.extend(
                    longest
                        .map(<[String]>::to_vec)
                        .find(|path| code.contains_key(path)),
                );
            }
        }
        // A file may name those below it without `self`.
        let below = |other: &&Module| {
            other
                .split_last()
                .is_some_and(|(_, above)| above == module.as_slice())
        };
        for other in code.keys().filter(below) {
            let prefix = format!(" {}::", other[other.len() - 1]);
            if text.contains(&prefix) {
                needed.insert(other.clone());
            }
        }
        needed.remove(module);
        (module.clone(), needed)
    };
    code.iter().map(needs).collect()
}

#[test]
fn files_do_not_form_a_cycle() {
    let mut left = modules();
    let module = |path: &str| -> Module { path.split('/').map(str::to_owned).collect() };
    assert!(left[&module("server/admin")].contains(&module("server/shared")));
    assert!(left[&module("catalog/files")].contains(&module("xml")));
    // A file that needs no remaining file is in no cycle.
    while let Some(free) = left
        .iter()
        .find(|(_, needed)| needed.iter().all(|name| !left.contains_key(name)))
        .map(|(name, _)| name.clone())
    {
        left.remove(&free);
    }
    assert!(
        left.is_empty(),
        "{:#?}",
        left.into_keys().map(|name| name.join("/")).collect::<Vec<_>>()
    );
}
