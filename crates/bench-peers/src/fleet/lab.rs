//! What all tables of this folder use: real servers, the programs under test, and a directory for their files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use reveille_testbed::Testbed;
use xtask::failure::{Failure, Result};
use xtask::workspace::{self, Workspace};

use super::contestant::Contestant;
use super::peers;
use crate::bench::{Bench, first_line};
use crate::measure::{self, Measured};
use crate::python;

/// The command that every host runs. Its shell computes the output, so that an echoed command is not taken for it.
pub(super) const COMMAND: &str = "echo reveille-$((6*7))";
pub(super) const OUTPUT: &str = "reveille-42";

/// Servers on loopback, the release binary, and a directory for everything a measurement writes.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) testbed: Testbed,
    pub(super) hosts: usize,
    pub(super) reveille: PathBuf,
    /// The bare russh client; only built when it takes part.
    pub(super) bare: PathBuf,
    /// The programs of peers written in Python.
    pub(super) python: PathBuf,
    files: tempfile::TempDir,
}

// === impl Lab ===

impl Lab {
    pub(super) fn open(bench: &Bench, hosts: usize) -> Result<Self> {
        let workspace = &bench.workspace;
        Ok(Self {
            reveille: workspace.build_reveille("dist")?,
            testbed: Testbed::start(hosts, "Subsystem sftp internal-sftp")?,
            hosts,
            bare: workspace.target.join("dist/examples/bare"),
            python: python::environment(workspace).join("bin"),
            files: bench.scratch()?,
        })
    }

    /// Versions of Reveille, OpenSSH, and those who take part.
    pub(super) fn versions(&self, contestants: &[Contestant]) -> Vec<String> {
        let python = self.python.join("python");
        let mut versions = vec![
            first_line(Command::new(&self.reveille).arg("--version")),
            first_line(Command::new("ssh").arg("-V")),
        ];
        if contestants.iter().any(|contestant| contestant.module().is_some()) {
            versions.push(first_line(Command::new(&python).arg("--version")));
        }
        versions.extend(contestants.iter().filter_map(|one| peers::version(*one, &python)));
        versions
    }

    /// An INI inventory of the first `hosts`.
    pub(super) fn inventory(&self, hosts: usize) -> Result<PathBuf> {
        let all = self.testbed.inventory();
        let (names, vars) = all.split_once("\n\n").unwrap_or((&all, ""));
        let names: Vec<&str> = names.lines().take(hosts).collect();
        self.write("inventory.ini", &format!("{}\n\n{vars}", names.join("\n")))
    }

    /// The addresses of the first `hosts`, one a line.
    pub(super) fn addresses(&self, hosts: usize) -> Result<PathBuf> {
        let list: Vec<String> = (0..hosts)
            .map(|index| self.testbed.address(index).to_string())
            .collect();
        self.write("addresses", &(list.join("\n") + "\n"))
    }

    /// Measures a command.
    pub(super) fn measure(&self, command: &Command) -> Result<Measured> {
        measure::measure(command, self.files.path())
    }

    /// A new, empty directory: for a ledger without earlier runs, or an empty known_hosts.
    ///
    /// Earlier ones stay until the end: for some seconds after a removal ext4 looks for inodes that were not just
    /// freed, and the next contestant would pay for that.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf> {
        for number in 1.. {
            let path = self.files.path().join(format!("{name}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("numbers do not end")
    }

    /// The path of a file for a measurement.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A file for a measurement.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Ansible on the first `hosts`, without the user's own configuration.
    pub(super) fn ansible(&self, hosts: usize) -> Result<Command> {
        let mut command = self.of_ansible("ansible", hosts)?;
        command.arg("all");
        Ok(command)
    }

    /// A playbook on all hosts, in the same way; Python is where the controller has it.
    pub(super) fn playbook(&self, playbook: &Path) -> Result<Command> {
        let mut command = self.of_ansible("ansible-playbook", self.hosts)?;
        command
            .arg(playbook)
            .env("ANSIBLE_PYTHON_INTERPRETER", self.python.join("python"));
        Ok(command)
    }

    fn of_ansible(&self, program: &str, hosts: usize) -> Result<Command> {
        let mut command = Command::new(self.python.join(program));
        command
            .args(["-f", &hosts.to_string(), "-i"])
            .arg(self.inventory(hosts)?)
            .env("ANSIBLE_HOST_KEY_CHECKING", "False")
            .env("ANSIBLE_CONFIG", self.write("ansible.cfg", "")?)
            .env("ANSIBLE_HOME", self.fresh("ansible")?)
            .env("LC_ALL", "C.UTF-8");
        Ok(command)
    }

    /// Reveille with a state directory and a home of its own: the user's known hosts play no part.
    pub(super) fn reveille(&self, state: &Path) -> Command {
        let mut command = Command::new(&self.reveille);
        command.arg("--state-dir").arg(state);
        command.env("HOME", self.files.path());
        command
    }

    /// The result of the last run in a state directory.
    pub(super) fn summary(&self, state: &Path) -> Result<Summary> {
        let output = self.reveille(state).args(["show", "--format", "json"]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::failed(format!("reveille show failed: {said}")));
        }
        serde_json::from_slice(&output.stdout)
            .map(Summary)
            .map_err(|error| Failure::failed(format!("can't read what reveille show printed: {error}")))
    }
}

/// A run, as `reveille show --format json` prints it.
#[derive(Debug)]
pub(super) struct Summary(serde_json::Value);

// === impl Summary ===

impl Summary {
    pub(super) fn count(&self, status: &str) -> usize {
        let count = self.0["account"][status].as_u64();
        count.and_then(|count| count.try_into().ok()).unwrap_or(0)
    }

    pub(super) fn balanced(&self) -> bool {
        self.0["account"]["balanced"].as_bool() == Some(true)
    }

    /// The most attempts that a host took.
    pub(super) fn highest_attempt(&self) -> u64 {
        let hosts = self.0["hosts"].as_array().map_or(&[][..], Vec::as_slice);
        hosts
            .iter()
            .filter_map(|host| host["attempts"].as_u64())
            .max()
            .unwrap_or(0)
    }
}

/// Builds the bare client, which shows what russh alone costs.
pub(super) fn build_bare(workspace: &Workspace) -> Result {
    let mut build = workspace.cargo();
    build.args(["build", "--profile", "dist", "--locked"]);
    build.args(["--package", "reveille-transport", "--example", "bare"]);
    workspace::run(&mut build)
}
