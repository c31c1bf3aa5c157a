//! Runs commands in a shell on this machine, without a network.

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
    /// Processes that were started and not seen to end.
    started: Mutex<Vec<Started>>,
}

// === impl Local ===

impl Local {
    /// Runs `line` in its own process group, which is killed if the command is dropped before its end.
    pub(crate) fn exec(&self, line: &[u8], terminal: bool) -> Result<Exec, ExecError> {
        let refused = |message: String| ExecError::refused(Class::ExecRefused, message);
        let line = str::from_utf8(line).map_err(|_| refused("a local command must be UTF-8".to_owned()))?;
        let mut command = if terminal {
            // A session leader with this terminal as its controlling terminal: doas asks nowhere else.
            let mut command = Command::new("setsid");
            command.args(["--ctty", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.arg("-c").arg(line);
        // Start in the home directory, as a login does.
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

    /// The processes that run now; unlike with sshd, there are no processes in between.
    pub(crate) fn running(&self) -> Vec<i32> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.iter().filter_map(Started::pid).collect()
    }
}
