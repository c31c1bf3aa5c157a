//! The workspace that this program belongs to, and cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::tell;

/// The environment variable that names the binary under test.
pub(crate) const BINARY: &str = "REVEILLE_BIN";

/// Where things are.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

// === impl Workspace ===

impl Workspace {
    /// Asks cargo, which knows every way to say where the target directory is.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .unwrap_or(Path::new("."))
            .to_owned();
        let output = cargo(&root)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure::failed(format!("can't run cargo: {error}")))?;
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| Failure::failed(format!("cargo metadata said what can't be read: {error}")))?;
        let target = metadata["target_directory"]
            .as_str()
            .ok_or_else(|| Failure::failed("cargo metadata named no target directory"))?;
        Ok(Self {
            target: target.into(),
            root,
        })
    }

    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo(&self.root);
        command.stdin(Stdio::null());
        command
    }

    /// Builds the release binary and returns its path; a binary that the environment names is taken as it is.
    pub(crate) fn build_reveille(&self) -> Result<PathBuf> {
        if let Some(binary) = std::env::var_os(BINARY) {
            tell::line(&format!("{BINARY} is set: using {}", binary.display()));
            return Ok(binary.into());
        }
        let mut build = self.cargo();
        build.args(["build", "--release", "--package", "reveille", "--locked"]);
        run(&mut build)?;
        Ok(self.target.join("release/reveille"))
    }

    /// Where the bare client is, once it is built.
    pub(crate) fn bare(&self) -> PathBuf {
        self.target.join("release/examples/bare")
    }

    /// Builds the bare client, which shows what russh alone costs.
    pub(crate) fn build_bare(&self) -> Result {
        let mut build = self.cargo();
        build.args([
            "build",
            "--release",
            "--package",
            "reveille-transport",
            "--example",
            "bare",
            "--locked",
        ]);
        run(&mut build)
    }
}

/// Runs a command to its end; anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Result {
    tell::command(command);
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::failed(format!("{program} failed ({status})"))),
        Err(error) => Err(Failure::failed(format!("can't start {program}: {error}"))),
    }
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Cargo told these to this program about itself; build scripts of others would see them as changes.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
