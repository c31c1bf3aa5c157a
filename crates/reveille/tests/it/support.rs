//! Runs the real binary.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The binary with a state directory of its own.
pub(crate) struct Reveille {
    directory: tempfile::TempDir,
}

impl Reveille {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::Builder::new()
                .prefix("reveille-e2e-")
                .tempdir()
                .unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes a file into the test's directory.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.through(binary());
        command.args(arguments);
        command
    }

    /// Another program, in the same surroundings, which may start Reveille.
    pub(crate) fn through(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .env("REVEILLE_STATE_DIR", self.state())
            .env("HOME", self.directory.path())
            .env("LC_ALL", "C.UTF-8");
        for name in SURROUNDINGS {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }
}

/// The variables that the program reads and that differ from one machine to the next.
pub(crate) const SURROUNDINGS: &[&str] = &[
    "ACCESSIBLE",
    "ANSIBLE_INVENTORY",
    "ANSIBLE_VAULT_PASSWORD_FILE",
    "CI",
    "CLICOLOR_FORCE",
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
    "NO_COLOR",
    "REVEILLE_COMPLETE",
    "REVEILLE_LOG",
    "SSH_AUTH_SOCK",
    "TERM_PROGRAM",
    "WT_SESSION",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
];

/// The result of an invocation.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The release binary if the test command built one, otherwise the one built with the tests.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("REVEILLE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_reveille").into(), PathBuf::from)
}
