//! The jobs in `docs/examples`, run as they are: once, again, with `--check`, interrupted, and on hosts that fail.
//!
//! The hosts are addresses of real `sshd` servers. What an example finds on a real host (package tools, services, a
//! balancer) are small programs of the test, each working in a directory of its host.

mod data;
mod deploy;
mod machines;
mod nodes;
mod services;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille, binary};

/// A copy of an example, and hosts to run it on.
struct Example {
    reveille: Reveille,
    testbed: Testbed,
    directory: PathBuf,
}

/// Every stand-in begins so: it works in the directory of its host, or of the controller.
const IN_ITS_HOST: &str = r#"#!/bin/sh
address=${SSH_CONNECTION:+$(echo "$SSH_CONNECTION" | cut -d ' ' -f 3)}
cd "$STANDIN/${address:-controller}" || exit 99
"#;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples")
}

// === impl Example ===

impl Example {
    /// `programs` are the names and shell scripts of the stand-ins.
    fn new(name: &str, hosts: &[&str], programs: &[(&str, &str)]) -> Self {
        let reveille = Reveille::new();
        let root = reveille.path();
        let directory = root.join(name);
        let copied = Command::new("cp")
            .arg("-r")
            .args([&examples().join(name), root])
            .status();
        assert!(copied.unwrap().success());
        let bin = root.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(root.join("controller")).unwrap();
        std::fs::create_dir_all(root.join("home")).unwrap();
        for (program, script) in programs {
            let path = bin.join(program);
            std::fs::write(&path, format!("{IN_ITS_HOST}{script}")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let home = root.join("home").display().to_string();
        let environment = format!(
            "SetEnv HOME={home} PATH={} STANDIN={}\n",
            path(root),
            root.display()
        );
        let testbed = Testbed::start(hosts.len(), &environment).unwrap();
        let mut inventory = String::new();
        for (index, host) in hosts.iter().enumerate() {
            let address = testbed.address(index);
            let _ = writeln!(inventory, "{host} ansible_host={address}");
            std::fs::create_dir_all(root.join(address.to_string())).unwrap();
            std::os::unix::fs::symlink(address.to_string(), root.join(host)).unwrap();
        }
        let _ = write!(
            inventory,
            "[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\nansible_become=false\n",
            testbed.port(),
            testbed.key().display()
        );
        reveille.file("addresses.ini", inventory);
        Self {
            reveille,
            testbed,
            directory,
        }
    }

    fn root(&self) -> &Path {
        self.reveille.path()
    }

    /// A file of a host, or of the `controller`.
    fn on(&self, host: &str, file: &str) -> PathBuf {
        self.root().join(host).join(file)
    }

    fn write(&self, host: &str, file: &str, text: &str) {
        let path = self.on(host, file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, host: &str, file: &str) -> String {
        std::fs::read_to_string(self.on(host, file)).unwrap_or_default()
    }

    /// The value of `-e` that puts a variable into the directories of the hosts.
    fn inside(&self, variable: &str, path: &str) -> String {
        format!(
            "{variable}={}/{{{{ ansible_host }}}}/{path}",
            self.root().display()
        )
    }

    /// The program in the directory of the example, with the stand-ins.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.reveille.command(arguments);
        command
            .current_dir(&self.directory)
            .env("PWD", &self.directory)
            .env("PATH", path(self.root()))
            .env("STANDIN", self.root());
        command
    }

    /// `run` with the example's own inventory, in which hosts that the test does not have are left out.
    fn arguments<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["run", "job.yaml", "-i", "hosts.ini", "-i", "../addresses.ini"];
        if !more.contains(&"-l") {
            arguments.extend(["-l", "@../limit"]);
        }
        let hosts: Vec<String> = std::fs::read_to_string(self.root().join("addresses.ini"))
            .unwrap()
            .lines()
            .take_while(|line| !line.starts_with('['))
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        self.reveille.file("limit", hosts.join("\n") + "\n");
        arguments.extend(more);
        arguments
    }

    fn run(&self, more: &[&str]) -> Ended {
        let arguments = self.arguments(&[more, &["--format", "json"]].concat());
        Ended::of(&self.command(&arguments).output().unwrap())
    }

    /// Another command of the program.
    fn then(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    /// Starts the run and kills the controller when a command of this step runs.
    fn killed_in(&self, step: &str, more: &[&str]) {
        let arguments = self.arguments(&[more, &["--events", "-", "-q"]].concat());
        let mut child = self
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut here = false;
        let began = lines.find(|line| {
            let line = line.as_ref().unwrap();
            here |= line.contains("step_started") && line.contains(&format!("\"name\":\"{step}\""));
            here && line.contains("step_began")
        });
        assert!(began.is_some(), "{step} never began");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Example {
    /// Ends the servers that stand-ins have left.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.root()).into_iter().flatten().flatten() {
            if let Ok(pid) = std::fs::read_to_string(entry.path().join("pid")) {
                let _ = Command::new("kill")
                    .arg(pid.trim())
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
}

fn path(root: &Path) -> String {
    let program = binary().parent().unwrap().display().to_string();
    format!(
        "{}/bin:{program}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        root.display()
    )
}

/// The steps that changed something, with their hosts.
fn changes(summary: &Ended) -> BTreeSet<String> {
    let summary = summary.json();
    let mut changes = BTreeSet::new();
    for host in summary["hosts"].as_array().unwrap() {
        for step in host["steps"].as_array().unwrap() {
            if step["changed"] == true {
                let (host, step) = (host["host"].as_str().unwrap(), step["name"].as_str().unwrap());
                changes.insert(format!("{host} {step}"));
            }
        }
    }
    changes
}

/// The message of a host's outcome.
fn message(summary: &Ended, host: &str) -> String {
    let summary = summary.json();
    let hosts = summary["hosts"].as_array().unwrap();
    let host = hosts.iter().find(|entry| entry["host"] == host).unwrap();
    host["message"].as_str().unwrap().to_owned()
}

#[test]
fn every_example_is_linted_planned_and_listed() {
    let list = std::fs::read_to_string(examples().join("README.md")).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        seen += 1;
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("]({name}/job.yaml)")), "{name}");
        let reveille = Reveille::new();
        let inside = |arguments: &[&str]| {
            Ended::of(
                &reveille
                    .command(arguments)
                    .current_dir(&directory)
                    .output()
                    .unwrap(),
            )
        };
        let linted = inside(&["lint", "job.yaml"]).expect(0);
        assert!(linted.stdout.contains("no mistakes"), "{}", linted.stdout);
        assert!(!linted.stderr.contains("warning"), "{}", linted.stderr);
        inside(&["lint", "hosts.ini"]).expect(0);
        let plan = inside(&["run", "job.yaml", "-i", "hosts.ini", "--plan"]).expect(0);
        assert!(!plan.stderr.contains("warning"), "{}", plan.stderr);
        let job = std::fs::read_to_string(directory.join("job.yaml")).unwrap();
        assert!(job.contains(&format!("\nname: {name}\n")), "{name}");
    }
    assert_eq!(seen, 10);
}
