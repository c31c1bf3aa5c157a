//! The peers: the packages that they need, and their versions.

use std::path::Path;
use std::process::{Command, Stdio};

use xtask::failure::{Failure, Result};
use xtask::packages::Package;

use super::contestant::Contestant;
use crate::bench::{Bench, first_line, package};
use crate::python;

/// What every measurement needs.
const SERVERS: [Package; 2] = [
    package("openssh-server", &["sshd"], "the servers"),
    package(
        "openssh-client",
        &["ssh", "ssh-keygen"],
        "keys; pssh, clush and ansible run it",
    ),
];
const PSSH: Package = package("pssh", &["parallel-ssh"], "a peer");
const CLUSH: Package = package("clustershell", &["clush"], "a peer");
const PYTHON: Package = package("python3-venv", &["python3"], "peers that are written in Python");
/// For copies.
pub(super) const RSYNC: Package = package("rsync", &["rsync"], "a peer");

/// Python packages of the peers.
const MODULES: &[&str] = &["asyncssh", "parallel-ssh", "paramiko", "ansible-core"];

/// Makes sure that the packages for `contestants` are installed, or names those that are missing.
pub(super) fn prepare(bench: &Bench, contestants: &[Contestant]) -> Result {
    let mut needed = SERVERS.to_vec();
    let needs_python = contestants.iter().any(|contestant| contestant.module().is_some());
    needed.extend(contestants.contains(&Contestant::Pssh).then_some(PSSH));
    needed.extend(contestants.contains(&Contestant::Clush).then_some(CLUSH));
    needed.extend(needs_python.then_some(PYTHON));
    bench.provide(&needed)?;
    let environment = python::environment(&bench.workspace);
    if !needs_python || has_modules(&environment) {
        return Ok(());
    }
    if bench.install {
        return python::install(&bench.workspace, MODULES);
    }
    Err(Failure::Missing(format!(
        "{} has no {}; nothing was installed. To install them there, add `--install`",
        environment.display(),
        MODULES.join(", ")
    )))
}

/// A contestant's version; none for those that are built from this workspace.
pub(super) fn version(contestant: Contestant, python: &Path) -> Option<String> {
    let version = match contestant {
        Contestant::Pssh => {
            first_line(Command::new("parallel-ssh").arg("--version")).replace("parallel-ssh", "pssh")
        }
        Contestant::Clush => first_line(Command::new("clush").arg("--version")),
        _ => {
            let module = contestant.module()?;
            let script =
                format!("from importlib.metadata import version; print('{module}', version('{module}'))");
            first_line(Command::new(python).args(["-c", &script]))
        }
    };
    Some(version)
}

fn has_modules(environment: &Path) -> bool {
    Command::new(environment.join("bin/python"))
        .args(["-c", "import asyncssh, pssh.clients, paramiko, ansible"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}
