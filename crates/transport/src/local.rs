//! No network: commands run in a shell on this machine.

use std::path::PathBuf;

use reveille_account::Class;
use tokio::process::Command;

use crate::child::Running;
use crate::error::ExecError;
use crate::exec::Exec;

/// A shell on this machine.
#[derive(Debug, Default)]
pub(crate) struct Local(());

// === impl Local ===

impl Local {
    /// Runs `line` in a process group of its own, which is killed when the command is dropped before its end.
    pub(crate) fn exec(&self, line: &[u8], terminal: bool) -> Result<Exec, ExecError> {
        let refused = |message: String| ExecError::Refused {
            class: Class::ExecRefused,
            message,
        };
        let Self(()) = self;
        if terminal {
            return Err(refused(
                "there is no terminal for a local command; become another user by sudo, or reach this machine by SSH"
                    .to_owned(),
            ));
        }
        let line = String::from_utf8(line.to_vec())
            .map_err(|_| refused("a local command has to be UTF-8".to_owned()))?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(line);
        // Where a login would begin.
        if let Some(home) = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_dir())
        {
            command.current_dir(home);
        }
        let (running, input) =
            Running::start(command, None).map_err(|error| refused(format!("can't start sh: {error}")))?;
        Ok(Exec::on_child(running, input, false))
    }
}
