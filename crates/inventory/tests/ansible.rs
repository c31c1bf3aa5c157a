//! Reads the inventories in `corpus/` with this crate and with `ansible-inventory`: hosts, groups and vars must be the
//! same.
//!
//! A folder has its inventory in `hosts`, `hosts.yml`, `hosts.yaml`, `hosts.json` or `inventory/`, or lists its sources
//! in a file `sources`. Vault passwords are in `vault-password`, or with ids in `vault-ids`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use reveille_inventory::{Inventory, LoadOptions, Secret, Source, VaultPasswords, no_runs};
use serde_json::{Map, Value, json};

/// Intended differences: folder, host, var, our value, and the reason.
type Difference = (
    &'static str,
    &'static str,
    &'static str,
    Option<Value>,
    &'static str,
);

fn differences() -> Vec<Difference> {
    vec![]
}

/// The parts of an inventory that are compared.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    /// Names of groups and all their hosts.
    groups: BTreeMap<String, BTreeSet<String>>,
    /// Names of groups and their direct children.
    children: BTreeMap<String, BTreeSet<String>>,
    vars: BTreeMap<String, Map<String, Value>>,
}

/// An inventory of the corpus.
struct Case {
    name: String,
    folder: PathBuf,
    sources: Vec<String>,
    /// Pairs of an id, possibly empty, and a file name.
    passwords: Vec<(String, String)>,
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let lines = |name: &str| -> Option<Vec<String>> {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            Some(text.lines().map(str::to_owned).collect())
        };
        let default = || {
            ["hosts", "hosts.yml", "hosts.yaml", "hosts.json", "inventory"]
                .into_iter()
                .find(|name| folder.join(name).exists())
                .map(str::to_owned)
                .expect("an inventory in each folder")
        };
        let sources = lines("sources").unwrap_or_else(|| vec![default()]);
        let mut passwords: Vec<(String, String)> = lines("vault-ids")
            .unwrap_or_default()
            .iter()
            .filter_map(|line| line.split_once('@'))
            .map(|(id, file)| (id.to_owned(), file.to_owned()))
            .collect();
        if folder.join("vault-password").exists() {
            passwords.push((String::new(), "vault-password".to_owned()));
        }
        Self {
            name: folder.file_name().expect("a name").to_string_lossy().into_owned(),
            folder,
            sources,
            passwords,
        }
    }

    fn arguments(&self) -> Vec<String> {
        self.passwords
            .iter()
            .flat_map(|(id, file)| {
                let path = self.folder.join(file).display().to_string();
                if id.is_empty() {
                    ["--vault-password-file".to_owned(), path]
                } else {
                    ["--vault-id".to_owned(), format!("{id}@{path}")]
                }
            })
            .collect()
    }

    fn ours(&self) -> Result<(Picture, Vec<String>), String> {
        let mut vault = VaultPasswords::default();
        for (id, file) in &self.passwords {
            let password = fs::read_to_string(self.folder.join(file)).expect("a password");
            vault.add(
                Some(id.as_str()).filter(|id| !id.is_empty()),
                Secret::new(password.trim()),
            );
        }
        let sources: Vec<Source> = self
            .sources
            .iter()
            .map(|source| {
                let path = self.folder.join(source);
                if path.exists() {
                    Source::Argument(path.display().to_string())
                } else {
                    Source::Argument(source.clone())
                }
            })
            .collect();
        let options = LoadOptions {
            vault,
            ..LoadOptions::default()
        };
        let loaded =
            Inventory::load_with(&sources, options).map_err(|error| format!("{}: {error}", self.name))?;
        let inventory = &loaded.inventory;
        let groups = inventory.groups();
        let picture = Picture {
            children: groups
                .iter()
                .map(|(name, _)| {
                    let children = inventory.children(name).into_iter().map(str::to_owned);
                    ((*name).to_owned(), children.collect())
                })
                .collect(),
            groups: groups
                .into_iter()
                .map(|(name, hosts)| (name.to_owned(), hosts.iter().map(ToString::to_string).collect()))
                .collect(),
            vars: inventory
                .hosts()
                .map(|host| (host.to_string(), inventory.vars(host.as_str())))
                .collect(),
        };
        Ok((picture, loaded.warnings.iter().map(ToString::to_string).collect()))
    }

    fn theirs(&self, elsewhere: &Path) -> Picture {
        let mut command = Command::new("ansible-inventory");
        for source in &self.sources {
            let path = self.folder.join(source);
            let shown = if path.exists() {
                path.display().to_string()
            } else {
                source.clone()
            };
            command.args(["-i", &shown]);
        }
        command.args(self.arguments()).arg("--list");
        let printed = output(command, elsewhere, "");
        let mut listed: Map<String, Value> = serde_json::from_str(&printed)
            .unwrap_or_else(|error| panic!("{}: ansible-inventory printed no JSON: {error}", self.name));
        let mut meta = listed.remove("_meta").expect("vars of hosts");
        let Value::Object(vars) = meta["hostvars"].take() else {
            panic!("{}: no vars of hosts", self.name)
        };
        let mut vars: BTreeMap<String, Map<String, Value>> = vars
            .into_iter()
            .map(|(host, vars)| match vars {
                Value::Object(vars) => (host, vars),
                _ => panic!("{}: vars are no object", self.name),
            })
            .collect();
        for value in vars.values_mut().flat_map(|vars| vars.values_mut()) {
            self.decrypt(value, elsewhere);
        }
        let names = |group: &str, what: &str| -> BTreeSet<String> {
            let listed = listed.get(group).and_then(|group| group.get(what));
            let names = listed.and_then(Value::as_array).into_iter().flatten();
            names
                .map(|name| name.as_str().expect("a name").to_owned())
                .collect()
        };
        let mut all: BTreeSet<String> = listed.keys().cloned().collect();
        // Only its parent names an empty group.
        for group in all.clone() {
            all.extend(names(&group, "children"));
        }
        let mut groups = BTreeMap::new();
        for group in &all {
            let mut hosts = BTreeSet::new();
            let mut waiting = vec![group.clone()];
            let mut seen = BTreeSet::new();
            while let Some(next) = waiting.pop() {
                if seen.insert(next.clone()) {
                    hosts.extend(names(&next, "hosts"));
                    waiting.extend(names(&next, "children"));
                }
            }
            groups.insert(group.clone(), hosts);
        }
        for host in groups.values().flatten() {
            vars.entry(host.clone()).or_default();
        }
        let mut children: BTreeMap<String, BTreeSet<String>> = all
            .iter()
            .map(|group| (group.clone(), names(group, "children")))
            .collect();
        // The children of `all` are only the groups without another parent.
        let below: BTreeSet<String> = all
            .iter()
            .filter(|group| *group != "all")
            .flat_map(|group| names(group, "children"))
            .collect();
        if let Some(top) = children.get_mut("all") {
            top.retain(|group| !below.contains(group));
        }
        Picture {
            groups,
            children,
            vars,
        }
    }

    /// `ansible-inventory` prints single encrypted values as they are.
    fn decrypt(&self, value: &mut Value, elsewhere: &Path) {
        if let Some(text) = value.get("__ansible_vault").and_then(Value::as_str) {
            let mut command = Command::new("ansible-vault");
            command
                .arg("decrypt")
                .args(self.arguments())
                .args(["--output", "-"]);
            *value = Value::String(output(command, elsewhere, text));
            return;
        }
        // This marks values with the tag `!unsafe`.
        if let Some(text) = value.get_mut("__ansible_unsafe") {
            *value = text.take();
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.decrypt(item, elsewhere)),
            Value::Object(map) => map.values_mut().for_each(|item| self.decrypt(item, elsewhere)),
            _ => {}
        }
    }
}

/// Runs one of Ansible's programs without any configuration.
fn output(mut command: Command, elsewhere: &Path, input: &str) -> String {
    let mut child = command
        .current_dir(elsewhere)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", elsewhere)
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_LOCAL_TEMP", elsewhere.join("tmp"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "failed to run one of Ansible's programs: {error}; install the Debian package ansible-core, or run `cargo xtask test \
                 --install`"
            )
        });
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes())
        .expect("readable");
    let output = child.wait_with_output().expect("ends");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn cases() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut folders: Vec<PathBuf> = fs::read_dir(corpus)
        .expect("a corpus")
        .map(|entry| entry.expect("readable").path())
        .collect();
    folders.sort();
    folders.into_iter().map(Case::read).collect()
}

#[test]
fn the_corpus_reads_as_ansible_reads_it() {
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let waiting = Mutex::new(cases());
    let count = waiting.lock().expect("whole").len();
    assert!(count >= 40, "{count} inventories");
    let found: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let expected = differences();
    let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(case) = waiting.lock().expect("whole").pop() else {
                        break;
                    };
                    let (mut ours, _) = match case.ours() {
                        Ok(ours) => ours,
                        Err(error) => {
                            found.lock().expect("whole").push(error);
                            continue;
                        }
                    };
                    let theirs = case.theirs(elsewhere.path());
                    for (folder, host, var, value, why) in &expected {
                        if case.name == *folder {
                            let vars = ours.vars.get_mut(*host).expect("a host");
                            assert_eq!(vars.get(*var), value.as_ref(), "{folder} {host} {var}: {why}");
                            match theirs.vars[*host].get(*var) {
                                Some(theirs) => _ = vars.insert((*var).to_owned(), theirs.clone()),
                                None => _ = vars.shift_remove(*var),
                            }
                        }
                    }
                    found
                        .lock()
                        .expect("whole")
                        .extend(compare(&case.name, &ours, &theirs));
                }
            });
        }
    });
    let mut found = found.into_inner().expect("whole");
    found.sort();
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

fn compare(case: &str, ours: &Picture, theirs: &Picture) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
        found.push(format!(
            "{case}: {what}\n    here    {ours:?}\n    Ansible {theirs:?}"
        ));
    };
    let empty = BTreeSet::new();
    for (what, ours, theirs) in [
        ("hosts of", &ours.groups, &theirs.groups),
        ("children of", &ours.children, &theirs.children),
    ] {
        // Ansible does not list empty groups that nothing names.
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for name in names {
            let (ours, theirs) = (
                ours.get(name).unwrap_or(&empty),
                theirs.get(name).unwrap_or(&empty),
            );
            if ours != theirs {
                differ(&format!("{what} {name}"), ours, theirs);
            }
        }
    }
    let hosts: BTreeSet<&String> = ours.vars.keys().chain(theirs.vars.keys()).collect();
    for host in hosts {
        let none = Map::new();
        let (ours, theirs) = (
            ours.vars.get(host).unwrap_or(&none),
            theirs.vars.get(host).unwrap_or(&none),
        );
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for name in names {
            if !same(ours.get(name), theirs.get(name)) {
                differ(&format!("{name} of {host}"), &ours.get(name), &theirs.get(name));
            }
        }
    }
    found
}

/// Compares values; numbers by value and kind, not by how they are written.
fn same(ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    match (ours, theirs) {
        (Some(Value::Number(ours)), Some(Value::Number(theirs))) => {
            ours.is_f64() == theirs.is_f64() && (ours == theirs || ours.as_f64() == theirs.as_f64())
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| same(Some(ours), Some(theirs)))
        }
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            ours.len() == theirs.len() && ours.iter().all(|(key, value)| same(Some(value), theirs.get(key)))
        }
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn patterns_match_as_in_ansible() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("hosts");
    let text = "lone\nfe80::1\n[web]\nweb[1:5]\n[db]\ndb[1:3].example.org\nweb4\n[site:children]\nweb\ndb\n[old]\nweb2\n";
    fs::write(&path, text).expect("writable");
    let inventory = Inventory::load(&[Source::File(path.clone())])
        .expect("good")
        .inventory;
    let patterns = [
        "web:&db",
        "web,db,!old",
        "web[1:2]",
        "web[-1]",
        "~web[12]$",
        "!site",
        "&old",
        "fe80::1",
        "site:&web:!old",
        "web[0:1],db[-1],all[0]",
        "*.example.org",
    ];
    let waiting = Mutex::new(patterns.to_vec());
    let found: Mutex<Vec<String>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) {
            scope.spawn(|| {
                loop {
                    let Some(pattern) = waiting.lock().expect("whole").pop() else {
                        break;
                    };
                    let mut command = Command::new("ansible");
                    command.arg("-i").arg(&path).args([pattern, "--list-hosts"]);
                    let theirs: BTreeSet<String> = output(command, folder.path(), "")
                        .lines()
                        .skip(1)
                        .map(|line| line.trim().to_owned())
                        .collect();
                    let ours: BTreeSet<String> = inventory
                        .select(&[pattern], &no_runs)
                        .map(|hosts| hosts.iter().map(ToString::to_string).collect())
                        .unwrap_or_default();
                    if ours != theirs {
                        let difference = format!("{pattern}: here {ours:?}, Ansible {theirs:?}");
                        found.lock().expect("whole").push(difference);
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("whole");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_corpus_warns() {
    let warnings: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            let (_, warnings) = case.ours().unwrap_or_else(|error| panic!("{error}"));
            let folder = format!("{}/", case.folder.display());
            let text = warnings.join("\n\n").replace(&folder, "");
            (!text.is_empty()).then(|| format!("== {}\n{text}", case.name))
        })
        .collect();
    insta::assert_snapshot!(warnings.join("\n\n"));
}

#[test]
fn differences_are_stated() {
    let names: BTreeSet<String> = cases().into_iter().map(|case| case.name).collect();
    for (folder, ..) in differences() {
        assert!(names.contains(folder), "{folder}");
    }
    assert_eq!(json!(1), json!(1));
}
