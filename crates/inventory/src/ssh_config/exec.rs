//! Commands of `Match exec`: run by the shell, bounded in time, each once.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, mpsc};
use std::thread;

use super::{EXEC_LIMIT, MAX_ANSWERS, SshConfig};
use crate::script::Group;

/// Whether the command ends with exit status 0. A command that was run before is not run again.
pub(super) fn succeeds(config: &SshConfig, command: &str) -> Result<bool, String> {
    let known = config
        .answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(command)
        .copied();
    if let Some(answer) = known {
        return Ok(answer);
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
    let group = Group::of(&child);
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more if the time is over.
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
            group.kill();
            return Err(format!(
                "the command of `Match exec` took longer than {} s and was killed",
                EXEC_LIMIT.as_secs()
            ));
        }
    };
    let mut answers = config.answers.lock().unwrap_or_else(PoisonError::into_inner);
    if answers.len() < MAX_ANSWERS {
        answers.insert(command.to_owned(), answer);
    }
    Ok(answer)
}
