//! The virtual environment of peers that are written in Python.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use xtask::failure::Result;
use xtask::workspace::{self, Workspace};

/// Where it is.
pub(crate) fn environment(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bench-venv")
}

/// Installs packages into it, and makes it if there is none.
pub(crate) fn install(workspace: &Workspace, packages: &[&str]) -> Result {
    let environment = environment(workspace);
    workspace::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet"]).args(packages);
    workspace::run(pip.stdin(Stdio::null()))
}
