//! The workspace that this program belongs to, and cargo.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::tell;

/// The environment variable that names the binary under test.
pub const BINARY: &str = "REVEILLE_BIN";

/// The workspace's directories.
#[derive(Debug)]
pub struct Workspace {
    /// Where its `Cargo.toml` is.
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

// === impl Workspace ===

impl Workspace {
    /// Finds the target directory by this program, which cargo put into a profile's directory below it.
    pub fn find() -> Result<Self> {
        let program = std::env::current_exe()?;
        let target = program
            .ancestors()
            .nth(2)
            .ok_or_else(|| Failure::failed(format!("{} is in no target directory", program.display())))?;
        Ok(Self {
            target: target.to_owned(),
            root: root().to_owned(),
        })
    }

    /// Cargo in the workspace's root, without input.
    pub fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Builds a package in a profile and returns the path of the binary with the package's name.
    pub fn build(&self, package: &str, profile: &str) -> Result<PathBuf> {
        let mut build = self.cargo();
        build.args(["build", "--profile", profile, "--package", package, "--locked"]);
        run(&mut build)?;
        let directory = if profile == "dev" { "debug" } else { profile };
        Ok(self.target.join(directory).join(package))
    }

    /// Returns the `reveille` that the environment names, or else builds it in a profile.
    pub fn build_reveille(&self, profile: &str) -> Result<PathBuf> {
        if let Some(binary) = std::env::var_os(BINARY) {
            tell::line(&format!("{BINARY} is set: using {}", binary.display()));
            return Ok(binary.into());
        }
        self.build("reveille", profile)
    }
}

/// Runs a command to its end; anything but success is a failure.
pub fn run(command: &mut Command) -> Result {
    tell::command(command);
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(format!("{program} failed ({status})"))),
        Err(error) => Err(Failure::failed(format!("can't start {program}: {error}"))),
    }
}

/// Cargo that builds another package of the workspace and runs its program, in the caller's directory: arguments may be
/// relative paths.
pub fn program(package: &str, profile: &str, arguments: &[String]) -> Command {
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        package,
        "--profile",
        profile,
    ]);
    command.arg("--manifest-path").arg(root().join("Cargo.toml"));
    command.arg("--").args(arguments);
    command
}

/// Replaces this process by a command, whose exit status is then the one that the caller sees.
pub fn become_command(command: &mut Command) -> Result {
    let error = command.exec();
    let program = command.get_program().display();
    Err(Failure::failed(format!("can't start {program}: {error}")))
}

fn root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).unwrap_or(Path::new("."))
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo set these for this program; build scripts of other packages would see them as changes.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
