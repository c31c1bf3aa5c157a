//! The crate's modules form no cycle, among the children of each module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Needs = BTreeMap<String, BTreeSet<String>>;

/// The Rust files of a module: its file, and those below its directory.
fn files(directory: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = vec![directory.join(format!("{module}.rs"))];
    files.retain(|file| file.is_file());
    let mut directories = vec![directory.join(module)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// Which children of the module in `directory` name which others. `path` is the module's own path in the crate.
fn needs(directory: &Path, path: &str) -> Needs {
    let entries = std::fs::read_dir(directory).expect("readable");
    let names: BTreeSet<String> = entries
        .map(|entry| entry.expect("readable").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .filter(|name| !["mod", "lib", "main", "snapshots", "report.html"].contains(&name.as_str()))
        .collect();
    let needed_by = |name: &String| {
        let mut needed = BTreeSet::new();
        for file in files(directory, name) {
            let depth = file.strip_prefix(directory).expect("below").components().count();
            let depth = depth - usize::from(file.ends_with("mod.rs"));
            let text = std::fs::read_to_string(&file).expect("readable");
            // Tests may name anything.
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            // From a child `super` is the module, from a grandchild `super::super`.
            let relative = "super::".repeat(depth);
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for start in [format!("crate::{path}"), relative.clone()] {
                    let words = line.match_indices(&start).filter(|(at, _)| {
                        // This excludes the end of a longer row of `super`.
                        !line[..*at].ends_with("super::")
                    });
                    let rests = words.map(|(at, _)| &line[at + start.len()..]);
                    for rest in rests.filter(|rest| !rest.starts_with("super")) {
                        let most = if rest.starts_with('{') { usize::MAX } else { 1 };
                        let names = rest
                            .trim_start_matches('{')
                            .split(|c: char| !(c.is_alphanumeric() || c == '_'));
                        needed.extend(names.take(most).map(str::to_owned));
                    }
                }
            }
        }
        needed.remove(name);
        needed.retain(|needed| names.contains(needed));
        (name.clone(), needed)
    };
    names.iter().map(needed_by).collect()
}

/// The modules that are in cycles, or lead into them.
fn cycle(mut needs: Needs) -> Vec<String> {
    // A module that needs no remaining one is in no cycle.
    while let Some(free) = needs
        .iter()
        .find(|(_, needed)| needed.iter().all(|name| !needs.contains_key(name)))
        .map(|(name, _)| name.clone())
    {
        needs.remove(&free);
    }
    needs.into_keys().collect()
}

#[test]
fn modules_form_no_cycle() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = needs(&source, "");
    assert!(
        all["engine"].contains("scenario") && all["program"].contains("engine"),
        "{all:?}"
    );
    assert_eq!(cycle(all), Vec::<String>::new());
    for module in [
        "engine",
        "engine/http1",
        "import",
        "program",
        "report",
        "scenario",
        "scenario/parse",
        "stats",
    ] {
        let path = format!("{}::", module.replace('/', "::"));
        let all = needs(&source.join(module), &path);
        assert!(all.values().any(|needed| !needed.is_empty()), "{module}: {all:?}");
        assert_eq!(cycle(all), Vec::<String>::new(), "{module}");
    }
}

#[test]
fn a_cycle_of_modules_is_found() {
    let needs = |pairs: &[(&str, &str)]| -> Needs {
        let of = |(from, to): &(&str, &str)| ((*from).to_owned(), BTreeSet::from([(*to).to_owned()]));
        pairs.iter().map(of).collect()
    };
    assert!(cycle(needs(&[("a", "b"), ("b", "c")])).is_empty());
    assert_eq!(cycle(needs(&[("a", "b"), ("b", "a")])), ["a", "b"]);
}
