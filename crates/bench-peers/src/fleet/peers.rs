//! The peers: what has to be installed for them, and which versions they are.

use std::path::Path;
use std::process::{Command, Stdio};

use xtask::failure::{Failure, Result};
use xtask::packages::{self, Package};
use xtask::tell;
use xtask::workspace::Workspace;

use super::contestant::Contestant;
use crate::benchmarks_page::first_line;
use crate::python;

/// What every measurement needs.
const SERVERS: &[Package] = &[
    Package {
        name: "openssh-server",
        programs: &["sshd"],
        reason: "the servers that are measured against",
    },
    Package {
        name: "openssh-client",
        programs: &["ssh", "ssh-keygen"],
        reason: "their keys; pssh, clush and ansible run it",
    },
];
const PSSH: Package = Package {
    name: "pssh",
    programs: &["parallel-ssh"],
    reason: "a peer",
};
const CLUSH: Package = Package {
    name: "clustershell",
    programs: &["clush"],
    reason: "a peer",
};
const PYTHON: Package = Package {
    name: "python3-venv",
    programs: &["python3"],
    reason: "the peers that are written in Python",
};

const RSYNC: Package = Package {
    name: "rsync",
    programs: &["rsync"],
    reason: "a peer of copies",
};

/// Python packages of the peers.
const MODULES: &[&str] = &["asyncssh", "parallel-ssh", "paramiko", "ansible-core"];

/// Sees to what `contestants` need, or names what is missing.
pub(super) fn prepare(workspace: &Workspace, contestants: &[Contestant], install: bool) -> Result {
    let mut needed = SERVERS.to_vec();
    let needs_python = contestants.iter().any(|contestant| contestant.is_python());
    needed.extend(contestants.contains(&Contestant::Pssh).then_some(PSSH));
    needed.extend(contestants.contains(&Contestant::Clush).then_some(CLUSH));
    needed.extend(needs_python.then_some(PYTHON));
    let missing = packages::missing(&needed);
    let environment = python::environment(workspace);
    let modules = needs_python && !has_modules(&environment);
    if missing.is_empty() && !modules {
        return Ok(());
    }
    packages::name_all(&missing);
    if modules {
        tell::line(&format!(
            "missing: {} in {}: peers",
            MODULES.join(", "),
            environment.display()
        ));
    }
    if !install {
        return Err(Failure::Missing(
            "the bench needs the packages named above; nothing was installed. `--install` installs them (Python packages \
             only below the target directory); `--only exec,durable` measures without peers"
                .to_owned(),
        ));
    }
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    if modules {
        python::install(workspace, MODULES)?;
    }
    Ok(())
}

/// Sees to rsync, or says that it is missing.
pub(super) fn prepare_rsync(install: bool) -> Result {
    packages::provide(&[RSYNC], "the comparison of copies", install)
}

/// Versions of what takes part.
pub(super) fn versions(workspace: &Workspace, reveille: &Path, contestants: &[Contestant]) -> Vec<String> {
    let sshd = first_line(Command::new("ssh").arg("-V"));
    let mut versions = vec![first_line(Command::new(reveille).arg("--version")), sshd];
    let python = python::environment(workspace).join("bin/python");
    let mut python_told = false;
    for contestant in contestants {
        let module = match contestant {
            Contestant::Exec | Contestant::Durable | Contestant::Bare => continue,
            Contestant::Pssh => {
                versions.push(
                    first_line(Command::new("parallel-ssh").arg("--version")).replace("parallel-ssh", "pssh"),
                );
                continue;
            }
            Contestant::Clush => {
                versions.push(first_line(Command::new("clush").arg("--version")));
                continue;
            }
            Contestant::Asyncssh => "asyncssh",
            Contestant::ParallelSsh => "parallel-ssh",
            Contestant::Ansible => "ansible-core",
            Contestant::Paramiko => "paramiko",
        };
        if !python_told {
            versions.push(first_line(Command::new(&python).arg("--version")));
            python_told = true;
        }
        let script =
            format!("from importlib.metadata import version; print('{module}', version('{module}'))");
        versions.push(first_line(Command::new(&python).args(["-c", &script])));
    }
    versions
}

fn has_modules(environment: &Path) -> bool {
    Command::new(environment.join("bin/python"))
        .args(["-c", "import asyncssh, pssh.clients, paramiko, ansible"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
