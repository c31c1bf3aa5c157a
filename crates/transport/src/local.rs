//! No network: commands run in a shell on this machine.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use reveille_account::Class;
use tokio::process::Command;

use crate::child::{Running, Started};
use crate::error::ExecError;
use crate::exec::Exec;

/// A shell on this machine.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// What was started and not seen to end.
    started: Mutex<Vec<Started>>,
}

// === impl Local ===

impl Local {
    /// Runs `line` in a process group of its own, which is killed when the command is dropped before its end.
    pub(crate) fn exec(&self, line: &[u8], terminal: bool) -> Result<Exec, ExecError> {
        let refused = |message: String| ExecError::Refused {
            class: Class::ExecRefused,
            message,
        };
        let line = String::from_utf8(line.to_vec())
            .map_err(|_| refused("a local command has to be UTF-8".to_owned()))?;
        let mut command = if terminal {
            // The leader of a session, with this terminal as its own: doas asks nobody else.
            let mut command = Command::new("setsid");
            command.args(["--ctty", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.arg("-c").arg(line);
        // Where a login would begin.
        if let Some(home) = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_dir())
        {
            command.current_dir(home);
        }
        let started = if terminal {
            Running::start_on_terminal(command)
        } else {
            Running::start(command, None)
        };
        let (running, input) = started.map_err(|error| refused(format!("can't start a shell: {error}")))?;
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|earlier| earlier.pid().is_some());
        started.extend(running.started());
        Ok(Exec::on_child(running, input, terminal))
    }

    /// The processes that run now: what stands between them and this program, as sshd does elsewhere, is nothing.
    pub(crate) fn running(&self) -> Vec<i32> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.iter().filter_map(Started::pid).collect()
    }
}
