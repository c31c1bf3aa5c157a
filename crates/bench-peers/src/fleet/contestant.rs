//! Who is measured: Reveille in its two ways, the library below it, and its peers, each in the way its manual recommends
//! for many hosts.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use xtask::failure::Result;

use super::lab::{COMMAND, Lab, SAYS};
use crate::measure::Measured;
use crate::proc;

const ASYNCSSH: &str = include_str!("clients/asyncssh_client.py");
const PARALLEL_SSH: &str = include_str!("clients/parallel_ssh_client.py");
const PARAMIKO: &str = include_str!("clients/paramiko_processes.py");

/// What one process of paramiko may need, in KiB; more of them than fit are not started at once.
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
    /// Whether it starts processes for each host, and takes its time.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Pssh | Self::Clush | Self::Ansible | Self::Paramiko)
    }

    /// Whether its sessions are OpenSSH's own processes.
    pub(super) fn runs_ssh(self) -> bool {
        matches!(self, Self::Pssh | Self::Clush | Self::Ansible)
    }

    /// Whether it comes from the virtual environment.
    pub(super) fn is_python(self) -> bool {
        matches!(
            self,
            Self::Asyncssh | Self::ParallelSsh | Self::Ansible | Self::Paramiko
        )
    }

    /// As it stands in a table.
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

    /// Gets ready to run `say` on the first `hosts` of the fleet.
    pub(super) fn start(self, lab: &Lab, say: &str, hosts: usize) -> Result<Start> {
        let addresses = lab.addresses(hosts)?;
        let inventory = lab.inventory(hosts)?;
        let arguments = [addresses.as_os_str(), say.as_ref()];
        let mut state = None;
        let command = match self {
            Self::Exec => {
                let directory = state.insert(lab.fresh("state")?);
                let mut command = lab.reveille(directory);
                command
                    .args(["exec", "-i"])
                    .arg(&inventory)
                    .arg("--events")
                    .arg(directory.join("events"));
                command.args(["--", say]);
                command
            }
            Self::Durable => {
                let job = format!(
                    "name: bench\nhosts: all\nsteps:\n  - name: echo\n    run: {say}\n    durable: true\n"
                );
                let job = lab.write("durable.yaml", &job)?;
                let directory = state.insert(lab.fresh("state")?);
                let mut command = lab.reveille(directory);
                command.arg("run").arg(job).arg("-i").arg(&inventory);
                command.arg("--events").arg(directory.join("events"));
                command
            }
            Self::Bare => {
                let mut command = Command::new(&lab.bare);
                command.args(common_arguments(lab)).args(arguments);
                command
            }
            Self::Asyncssh => script(lab, "asyncssh_client.py", ASYNCSSH, None, &arguments)?,
            Self::ParallelSsh => script(lab, "parallel_ssh_client.py", PARALLEL_SSH, None, &arguments)?,
            Self::Paramiko => script(
                lab,
                "paramiko_processes.py",
                PARAMIKO,
                Some(paramiko_processes(hosts)),
                &arguments,
            )?,
            Self::Pssh => {
                let mut command = Command::new("parallel-ssh");
                command
                    .arg("-h")
                    .arg(&addresses)
                    .args(["-p", &hosts.to_string(), "-t", "280"]);
                command.args(["-l", &user(), "-x", &ssh_options(lab), "-i", say]);
                command
            }
            Self::Clush => {
                let mut command = Command::new("clush");
                command.args(["-f", &hosts.to_string(), "-l", &user(), "-t", "120", "-u", "280"]);
                command
                    .args(["-o", &ssh_options(lab)])
                    .arg("--hostfile")
                    .arg(&addresses)
                    .arg(say);
                command
            }
            Self::Ansible => {
                let mut command = Command::new(lab.python.join("bin/ansible"));
                command
                    .args(["all", "-i"])
                    .arg(&inventory)
                    .args(["-f", &hosts.to_string()]);
                command.args(["-T", "120", "-m", "raw", "-a", say]);
                command
                    .env("ANSIBLE_HOST_KEY_CHECKING", "False")
                    .env("ANSIBLE_CONFIG", lab.write("ansible.cfg", "")?);
                command
                    .env("ANSIBLE_HOME", lab.fresh("ansible")?)
                    .env("LC_ALL", "C.UTF-8");
                command
            }
        };
        Ok(Start { command, state })
    }

    /// What its command is like, for those who want to repeat it.
    pub(super) fn manner(self, lab: &Lab) -> String {
        let hosts = lab.hosts;
        match self {
            Self::Exec => format!("`reveille exec -i INV --events FILE -- '{COMMAND}'`"),
            Self::Durable => "`reveille run JOB -i INV --events FILE`, the step `durable: true`".to_owned(),
            Self::Bare => "`crates/transport/examples/bare.rs`: russh and nothing else, with the algorithms that Reveille \
                           asks for; one thread, all hosts at once, one `exec` request each, no host key check, nothing \
                           recorded"
                .to_owned(),
            Self::Asyncssh => "one process, `asyncio.gather` over all hosts, no host key check".to_owned(),
            Self::ParallelSsh => format!("one process, `pool_size={hosts}`, no host key check"),
            Self::Pssh => format!("`parallel-ssh -p {hosts} -i`, no host key check"),
            Self::Clush => format!("`clush -f {hosts}`, no host key check"),
            Self::Ansible => format!("`ansible all -f {hosts} -m raw`, no host key check, else as it comes"),
            Self::Paramiko => {
                let processes = paramiko_processes(hosts);
                let capped = if processes < hosts {
                    " (as many as fit into memory)"
                } else {
                    ""
                };
                format!(
                    "`multiprocessing.Pool({processes}, maxtasksperchild=1)`{capped}, keys added as they come"
                )
            }
        }
    }
}

// === impl Start ===

impl Start {
    /// How many hosts succeeded.
    pub(super) fn successes(&self, lab: &Lab, measured: &Measured) -> Result<usize> {
        match &self.state {
            Some(state) => {
                let summary = lab.summary(state)?;
                Ok(if summary.balanced() {
                    summary.count("success")
                } else {
                    0
                })
            }
            None => Ok(measured
                .text()
                .lines()
                .filter(|line| line.ends_with(SAYS))
                .count()),
        }
    }
}

fn script(
    lab: &Lab,
    name: &str,
    text: &str,
    processes: Option<usize>,
    arguments: &[&OsStr],
) -> Result<Command> {
    let mut command = Command::new(lab.python.join("bin/python"));
    command
        .arg(lab.write(name, text)?)
        .args(processes.map(|number| number.to_string()));
    command.args(common_arguments(lab)).args(arguments);
    Ok(command)
}

/// The user, the key and the port.
fn common_arguments(lab: &Lab) -> [OsString; 3] {
    let port = lab.testbed.port().to_string();
    [user().into(), lab.testbed.key().into(), port.into()]
}

fn paramiko_processes(hosts: usize) -> usize {
    let fit = proc::available() * 3 / 4 / PARAMIKO_KIB;
    hosts.min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1)
}

/// Options for OpenSSH's programs that leave the user's own configuration out of it.
pub(super) fn ssh_options(lab: &Lab) -> String {
    format!(
        "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes \
         -o IdentityAgent=none -i {} -p {}",
        lab.testbed.key().display(),
        lab.testbed.port()
    )
}

/// The user who runs this: servers of the testbed know no other.
pub(super) fn user() -> String {
    let output = Command::new("id").arg("-un").output();
    output.map_or_else(
        |_| "root".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
