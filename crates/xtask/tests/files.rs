//! The files of a crate form no cycle.
//!
//! A file may use the files above and below it in its own directory tree: `a.rs`, or `a/mod.rs`, and `a/b.rs` are one
//! module. Everything else that files name through `crate::` or `super::` must not lead back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each file of a crate by its module path, with the files that it names.
type Needs = BTreeMap<String, BTreeSet<String>>;

/// Files that are still in a cycle. A file that leaves one must leave this list.
const LEFT: &[(&str, &[&str])] = &[
    ("account", &["event", "outcome"]),
    (
        "bench-peers",
        &["fleet::contestant", "fleet::lab", "fleet::peers"],
    ),
    (
        "ledger",
        &[
            "handle", "ledger", "memory", "project", "read", "replay", "writer",
        ],
    ),
    (
        "simulate",
        &["bounds", "check", "life", "network", "plan", "scenario", "world"],
    ),
    ("ssh-config", &["config", "file", "query", "tokens"]),
    (
        "transport",
        &["native", "native::authenticate", "native::publickey", "session"],
    ),
    ("way", &["find", "routes"]),
];

/// The files below `directory`, without tests.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The module of a file: `a::b` for `a/b.rs` and `a/b/mod.rs`.
fn module(source: &Path, file: &Path) -> String {
    let path = file.strip_prefix(source).unwrap().with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    let parts: Vec<String> = parts.filter(|part| part != "mod").collect();
    parts.join("::")
}

/// The paths in `text` that begin at `crate` or `super`, from the root of the crate.
fn paths(text: &str, module: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let own: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    for (start, base) in [
        ("crate::", &[][..]),
        ("super::", &own[..own.len().saturating_sub(1)]),
    ] {
        for (at, _) in code.match_indices(start) {
            let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !is_whole {
                continue;
            }
            let mut prefix: Vec<String> = base.iter().map(|part| (*part).to_owned()).collect();
            let mut rest = &code[at + start.len()..];
            while let Some(further) = rest.strip_prefix("super::") {
                prefix.pop();
                rest = further;
            }
            let word = |text: &str| -> String {
                text.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect()
            };
            while !word(rest).is_empty() {
                let part = word(rest);
                rest = rest[part.len()..].strip_prefix("::").unwrap_or_default();
                prefix.push(part);
            }
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split('}').next().unwrap_or_default();
                paths.extend(group.split(',').map(|item| {
                    let item = word(item.trim_start());
                    prefix.iter().cloned().chain([item]).collect()
                }));
            }
            paths.push(prefix);
        }
    }
    paths
}

/// Where the names come from that the crate's root exports, such as `engine` for `crate::Engine`.
fn exports(source: &Path) -> BTreeMap<String, Vec<String>> {
    let root = ["lib.rs", "main.rs"].map(|root| std::fs::read_to_string(source.join(root)));
    let text = root.into_iter().flatten().collect::<String>();
    let uses = text
        .split("use ")
        .skip(1)
        .filter_map(|rest| rest.split(';').next());
    let mut exports = BTreeMap::new();
    for used in uses {
        let (path, names) = used.rsplit_once("::").unwrap_or(("", used));
        let (path, names) = used.split_once("::{").unwrap_or((path, names));
        let path = path.trim_start_matches("crate::").trim_start_matches("self::");
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        for name in names.trim_end_matches('}').split(',') {
            let name = name.split(" as ").last().unwrap_or_default().trim();
            exports.insert(name.to_owned(), path.clone());
        }
    }
    exports
}

/// What each file of the crate names.
fn needs(source: &Path) -> Needs {
    let mut found = Vec::new();
    files(source, &mut found);
    let exports = exports(source);
    let modules: BTreeSet<String> = found.iter().map(|file| module(source, file)).collect();
    let is_above = |one: &str, other: &str| other.starts_with(&format!("{one}::"));
    let named = |file: &PathBuf| {
        let own = module(source, file);
        let text = std::fs::read_to_string(file).unwrap();
        let named = paths(&text, &own).into_iter().filter_map(|mut path| {
            if let Some(from) = path.first().and_then(|name| exports.get(name)) {
                path.clone_from(from);
            }
            while !path.is_empty() && !modules.contains(&path.join("::")) {
                path.pop();
            }
            let other = path.join("::");
            let is_other =
                !other.is_empty() && other != own && !is_above(&own, &other) && !is_above(&other, &own);
            is_other.then_some(other)
        });
        let named = named.collect();
        (own, named)
    };
    found.iter().map(named).collect()
}

/// All files that lead back to themselves.
fn in_cycles(needs: &Needs) -> BTreeSet<String> {
    let reaches_itself = |start: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            for next in needs.get(file).into_iter().flatten() {
                if next == start {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    };
    needs
        .keys()
        .filter(|file| reaches_itself(file))
        .cloned()
        .collect()
}

#[test]
fn files_form_no_cycle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(crates).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let needs = needs(&path.join("src"));
        seen += needs.len();
        let left = LEFT
            .iter()
            .find(|(left, _)| *left == name)
            .map_or(&[][..], |(_, left)| left);
        let left: BTreeSet<String> = left.iter().map(|file| (*file).to_owned()).collect();
        let found = in_cycles(&needs);
        if found != left {
            wrong.push(format!("{name}: {found:?}"));
        }
        if name == "fleet" {
            assert!(needs["host"].contains("engine"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 300, "{seen} files");
}

#[test]
fn a_cycle_is_found() {
    let needs = |pairs: &[(&str, &str)]| -> Needs {
        let of = |(from, to): &(&str, &str)| ((*from).to_owned(), BTreeSet::from([(*to).to_owned()]));
        pairs.iter().map(of).collect()
    };
    let cycles = |pairs| in_cycles(&needs(pairs)).into_iter().collect::<Vec<_>>();
    assert_eq!(cycles(&[("a", "b"), ("b", "c")]), [""; 0]);
    assert_eq!(cycles(&[("x", "a"), ("a", "b"), ("b", "a")]), ["a", "b"]);
}
