//! Debian packages that chores need: found by their programs, installed only on request.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::{tell, workspace};

/// Directories of servers and administrators' tools.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A Debian package, the programs that show it is there, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name in Debian.
    pub name: &'static str,
    /// Programs that are there if it is installed.
    pub programs: &'static [&'static str],
    /// What the chore needs it for.
    pub reason: &'static str,
}

// === impl Package ===

impl Package {
    fn is_there(&self) -> bool {
        self.programs.iter().all(|program| is_there(program))
    }
}

/// Which of `packages` are missing.
pub fn missing(packages: &[Package]) -> Vec<Package> {
    packages
        .iter()
        .copied()
        .filter(|package| !package.is_there())
        .collect()
}

/// The command that installs `packages`, as a person would type it.
pub fn command_line(packages: &[Package]) -> String {
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    let sudo = if is_root() { "" } else { "sudo " };
    format!(
        "{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {}",
        names.join(" ")
    )
}

/// Prints each missing package with the reason why it is needed.
pub fn name_all(packages: &[Package]) {
    for package in packages {
        tell::line(&format!(
            "missing: {} (Debian package {}): {}",
            package.programs.join(", "),
            package.name,
            package.reason
        ));
    }
}

/// Installs packages, as root or by sudo.
pub fn install(packages: &[Package]) -> Result {
    if !is_there("apt-get") {
        return Err(Failure::Missing(format!(
            "there is no apt-get to install packages with; install the packages named above by hand ({})",
            packages
                .iter()
                .flat_map(|package| package.programs)
                .copied()
                .collect::<Vec<_>>()
                .join(", ")
        )));
    }
    if !is_root() && !is_there("sudo") {
        return Err(Failure::Missing(format!(
            "installing packages needs root, and there is no sudo; as root:\n    {}",
            command_line(packages)
        )));
    }
    workspace::run(apt_get().args(["update", "-q"]))?;
    let names = packages.iter().map(|package| package.name);
    workspace::run(
        apt_get()
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(names),
    )?;
    let still = missing(packages);
    if still.is_empty() {
        return Ok(());
    }
    name_all(&still);
    Err(Failure::failed(
        "apt-get succeeded, but packages are still missing",
    ))
}

/// Makes sure that the packages for `what` are there: installs missing ones if it may, or else fails and names them.
pub fn provide(packages: &[Package], what: &str, may_install: bool) -> Result {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    name_all(&missing);
    if may_install {
        return install(&missing);
    }
    Err(Failure::Missing(format!(
        "{what} needs the packages named above; nothing was installed. To install them, add `--install`, or run:\n    {}",
        command_line(&missing)
    )))
}

/// Whether a program is on PATH, or where only root's PATH looks.
pub fn is_there(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|directory| is_executable(&directory.join(program)))
}

/// PATH, and where only root's PATH looks: for commands that start programs found there.
pub fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SBIN.map(Into::into));
    // Directories split off PATH can always be joined again.
    std::env::join_paths(directories).unwrap_or(path)
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn apt_get() -> Command {
    // `env` because sudo would drop the variable.
    let words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let mut command = if is_root() {
        Command::new(words[0])
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(words[0]);
        sudo
    };
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_named() {
        let there = Package {
            name: "dash",
            programs: &["sh"],
            reason: "",
        };
        let not = Package {
            name: "none",
            programs: &["sh", "no-such-program"],
            reason: "",
        };
        let found = missing(&[there, not]);
        assert_eq!(found.len(), 1);
        assert!(command_line(&found).ends_with("apt-get install -y --no-install-recommends none"));
    }
}
