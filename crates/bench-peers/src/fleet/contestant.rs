//! What is measured: two commands of Reveille, the library below it, and its peers, each as its manual recommends for
//! many hosts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::failure::Result;

use super::lab::{COMMAND, Lab, OUTPUT};
use crate::measure::Measured;
use crate::proc;

const ASYNCSSH: &str = include_str!("clients/asyncssh_client.py");
const PARALLEL_SSH: &str = include_str!("clients/parallel_ssh_client.py");
const PARAMIKO: &str = include_str!("clients/paramiko_processes.py");

/// Memory that one process of paramiko may need, in KiB; only as many as fit are started at once.
const PARAMIKO_KIB: u64 = 20 << 10;

/// A way to run one command on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Contestant {
    /// `reveille exec`.
    Exec,
    /// `reveille run` with one durable step.
    Durable,
    /// russh alone: the least that a client on it costs.
    Bare,
    Asyncssh,
    ParallelSsh,
    Pssh,
    Clush,
    Ansible,
    Paramiko,
}

/// A contestant that is about to be measured.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) command: Command,
    /// Reveille's state directory.
    state: Option<PathBuf>,
}

// === impl Contestant ===

impl Contestant {
    /// Whether it starts processes for each host, and is slow.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Pssh | Self::Clush | Self::Ansible | Self::Paramiko)
    }

    /// Whether its sessions are OpenSSH's own processes.
    pub(super) fn runs_ssh(self) -> bool {
        matches!(self, Self::Pssh | Self::Clush | Self::Ansible)
    }

    /// Its Python package, if it comes from the virtual environment.
    pub(super) fn module(self) -> Option<&'static str> {
        match self {
            Self::Asyncssh => Some("asyncssh"),
            Self::ParallelSsh => Some("parallel-ssh"),
            Self::Ansible => Some("ansible-core"),
            Self::Paramiko => Some("paramiko"),
            _ => None,
        }
    }

    /// Its name in a table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Exec => "**Reveille `exec`**",
            Self::Durable => "**Reveille `run`, one durable step**",
            Self::Bare => "a bare russh client",
            Self::Asyncssh => "asyncssh",
            Self::ParallelSsh => "parallel-ssh (libssh2)",
            Self::Pssh => "pssh",
            Self::Clush => "clush",
            Self::Ansible => "ansible `raw`",
            Self::Paramiko => "paramiko, one process a host",
        }
    }

    /// Prepares to run `shell` on the first `hosts` of the fleet.
    pub(super) fn start(self, lab: &Lab, shell: &str, hosts: usize) -> Result<Start> {
        let addresses = lab.addresses(hosts)?;
        let mut state = None;
        let mut reveille = |words: &[&OsStr]| -> Result<Command> {
            let directory = state.insert(lab.fresh("state")?);
            let mut command = lab.reveille(directory);
            command.args(words).arg("-i").arg(lab.inventory(hosts)?);
            command.arg("--events").arg(directory.join("events"));
            Ok(command)
        };
        // These clients all take: user, key, port, file of addresses, command.
        let client = |program: &Path, words: &[&OsStr]| {
            let mut command = Command::new(program);
            command.args(words).arg(user()).arg(lab.testbed.key());
            command.arg(lab.testbed.port().to_string());
            command.arg(&addresses).arg(shell);
            command
        };
        let script = |name: &str, text: &str, word: Option<usize>| -> Result<Command> {
            let (script, word) = (lab.write(name, text)?, word.map(|word| word.to_string()));
            let words = [Some(script.as_os_str()), word.as_deref().map(OsStr::new)];
            let words: Vec<&OsStr> = words.into_iter().flatten().collect();
            Ok(client(&lab.python.join("python"), &words))
        };
        let command = match self {
            Self::Exec => {
                let mut command = reveille(&["exec".as_ref()])?;
                command.args(["--", shell]);
                command
            }
            Self::Durable => {
                let job = format!(
                    "name: bench\nhosts: all\nsteps:\n  - name: echo\n    run: {shell}\n    durable: true\n"
                );
                reveille(&["run".as_ref(), lab.write("durable.yaml", &job)?.as_ref()])?
            }
            Self::Bare => client(&lab.bare, &[]),
            Self::Asyncssh => script("asyncssh_client.py", ASYNCSSH, None)?,
            Self::ParallelSsh => script("parallel_ssh_client.py", PARALLEL_SSH, None)?,
            Self::Paramiko => script("paramiko_processes.py", PARAMIKO, Some(paramiko_processes(hosts)))?,
            Self::Pssh => {
                let mut command = Command::new("parallel-ssh");
                command.args(["-p", &hosts.to_string(), "-t", "280", "-l", &user()]);
                command.args(["-x", &ssh_options(lab), "-h"]).arg(&addresses);
                command.args(["-i", shell]);
                command
            }
            Self::Clush => {
                let mut command = Command::new("clush");
                command.args(["-f", &hosts.to_string(), "-l", &user(), "-t", "120", "-u", "280"]);
                command.args(["-o", &ssh_options(lab), "--hostfile"]);
                command.arg(&addresses).arg(shell);
                command
            }
            Self::Ansible => {
                let mut command = lab.ansible(hosts)?;
                command.args(["-T", "120", "-m", "raw", "-a", shell]);
                command
            }
        };
        Ok(Start { command, state })
    }

    /// How it is called, for those who want to repeat it.
    pub(super) fn manner(self, lab: &Lab) -> String {
        let hosts = lab.hosts;
        match self {
            Self::Exec => format!("`reveille exec -i INV --events FILE -- '{COMMAND}'`"),
            Self::Durable => "`reveille run JOB -i INV --events FILE`, the step `durable: true`".to_owned(),
            Self::Bare => "`crates/transport/examples/bare.rs`: russh alone, with Reveille's algorithms; one thread, all \
                           hosts at once, one `exec` request each, no host key check, no records"
                .to_owned(),
            Self::Asyncssh => "one process, `asyncio.gather` over all hosts, no host key check".to_owned(),
            Self::ParallelSsh => format!("one process, `pool_size={hosts}`, no host key check"),
            Self::Pssh => format!("`parallel-ssh -p {hosts} -i`, no host key check"),
            Self::Clush => format!("`clush -f {hosts}`, no host key check"),
            Self::Ansible => format!("`ansible all -f {hosts} -m raw`, no host key check, otherwise with its defaults"),
            Self::Paramiko => {
                let processes = paramiko_processes(hosts);
                let capped = if processes < hosts {
                    " (as many as fit into memory)"
                } else {
                    ""
                };
                format!(
                    "`multiprocessing.Pool({processes}, maxtasksperchild=1)`{capped}, new host keys accepted"
                )
            }
        }
    }
}

// === impl Start ===

impl Start {
    /// How many hosts succeeded.
    pub(super) fn successes(&self, lab: &Lab, measured: &Measured) -> Result<usize> {
        let Some(state) = &self.state else {
            let text = measured.text();
            return Ok(text.lines().filter(|line| line.ends_with(OUTPUT)).count());
        };
        let summary = lab.summary(state)?;
        Ok(if summary.balanced() {
            summary.count("success")
        } else {
            0
        })
    }
}

fn paramiko_processes(hosts: usize) -> usize {
    let fit = proc::available() * 3 / 4 / PARAMIKO_KIB;
    hosts.min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1)
}

/// Options for OpenSSH's programs, without the user's own configuration.
pub(super) fn ssh_options(lab: &Lab) -> String {
    format!(
        "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes \
         -o IdentityAgent=none -i {} -p {}",
        lab.testbed.key().display(),
        lab.testbed.port()
    )
}

/// The user who runs this, who is the only user of the testbed's servers.
pub(super) fn user() -> String {
    let output = Command::new("id").arg("-un").output();
    output.map_or_else(
        |_| "root".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
