//! Commands of `Match exec`: run by the shell, with a time limit, each once.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use reveille_text::duration;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::SshConfig;

/// How long a command of `Match exec` may take.
const EXEC_LIMIT: Duration = Duration::from_secs(10);
/// How many results of `Match exec` are kept.
const MAX_ANSWERS: usize = 4_096;

/// Whether the command exits with 0. Each command is run only once.
pub(crate) fn succeeds(config: &SshConfig, command: &str) -> Result<bool, String> {
    let answers = || config.answers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = answers().get(command) {
        return Ok(*answer);
    }
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let child = Command::new(shell.as_deref().unwrap_or("/bin/sh".as_ref()))
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = child.map_err(|error| format!("the command of `Match exec` can't be run: {error}"))?;
    let group = Pid::from_child(&child);
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        // After the time limit nobody receives this.
        let _ = sender.send(child.wait());
    });
    let answer = match ended.recv_timeout(EXEC_LIMIT) {
        Ok(Ok(status)) => status.success(),
        Ok(Err(error)) => {
            return Err(format!(
                "the command of `Match exec` can't be waited for: {error}"
            ));
        }
        Err(_) => {
            // The group may already be gone.
            let _ = kill_process_group(group, Signal::KILL);
            return Err(format!(
                "the command of `Match exec` took longer than {} and was killed",
                duration::shown(EXEC_LIMIT)
            ));
        }
    };
    let mut answers = answers();
    if answers.len() < MAX_ANSWERS {
        answers.insert(command.to_owned(), answer);
    }
    Ok(answer)
}
