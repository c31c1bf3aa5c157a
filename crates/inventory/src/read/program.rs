//! Runs programs that print an inventory or a password: in their own process group, with limits on time and output.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use reveille_text::{duration, harmless};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::InventoryError;

/// How long all calls of a program may take together by default.
pub(super) const TIME_LIMIT: Duration = Duration::from_mins(1);
/// The most standard output that a call may write, in bytes.
pub(super) const MAX_OUTPUT: u64 = 64 << 20;
/// How much of the end of standard error an error shows, in bytes.
pub(super) const STDERR_SHOWN: usize = 4 << 10;
/// The most standard error that a call may write, in bytes.
const MAX_STDERR: u64 = 1 << 20;
/// Runs a password program and returns its standard output.
pub(super) fn password(path: &Path) -> Result<Vec<u8>, InventoryError> {
    let name = path.display().to_string();
    Ok(Program::new(path, &name, TIME_LIMIT).output(&[])?.0)
}

/// A program to run.
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    path: PathBuf,
    deadline: Instant,
    limit: Duration,
}

// === impl Program ===

impl<'a> Program<'a> {
    pub(super) fn new(path: &Path, name: &'a str, limit: Duration) -> Self {
        // A name without a slash would be searched on PATH.
        let is_plain = path.components().count() == 1;
        let directory = Path::new(if is_plain { "." } else { "" });
        Self {
            name,
            path: directory.join(path),
            deadline: Instant::now() + limit,
            limit,
        }
    }

    pub(super) fn failed(&self, what: impl Into<String>, stderr: &[u8]) -> InventoryError {
        InventoryError::Program {
            program: self.name.to_owned(),
            what: what.into(),
            stderr: shown(stderr),
        }
    }

    fn too_slow(&self) -> String {
        format!("took longer than {} and was killed", duration::shown(self.limit))
    }

    /// Runs the program once; returns its standard output and standard error.
    pub(super) fn output(&self, arguments: &[&str]) -> Result<(Vec<u8>, Vec<u8>), InventoryError> {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|source| self.failed(format!("can't be started: {source}"), b""))?;
        let (status, stdout, stderr) = self.finish(child)?;
        if status.success() {
            return Ok((stdout, stderr));
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("failed with exit status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "failed".to_owned(),
        };
        Err(self.failed(how, &stderr))
    }

    /// Waits for the program and its output to end, within the limits.
    fn finish(&self, mut child: Child) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), InventoryError> {
        let group = Pid::from_child(&child);
        // The group may already be gone.
        let kill = move || _ = kill_process_group(group, Signal::KILL);
        let (sender, ends) = mpsc::channel();
        read(child.stdout.take(), MAX_OUTPUT, 0, sender.clone());
        read(child.stderr.take(), MAX_STDERR, 1, sender);
        let mut outputs: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
        let stop = |child: &mut Child, what: String, stderr: &[u8]| {
            kill();
            // The program was killed, so this wait is short.
            let _ = child.wait();
            self.failed(what, stderr)
        };
        for _ in 0..2 {
            match ends.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok((which, bytes, true)) => outputs[which] = bytes,
                Ok((which, bytes, false)) => {
                    let bound = if which == 0 { MAX_OUTPUT } else { MAX_STDERR };
                    let stream = ["standard output", "standard error"][which];
                    let what = format!("wrote more than {} MiB to its {stream}", bound >> 20);
                    let stderr = if which == 1 { &bytes } else { &outputs[1] };
                    return Err(stop(&mut child, what, stderr));
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(stop(&mut child, self.too_slow(), &outputs[1]));
                }
            }
        }
        // Both outputs are closed; the program itself may still be running.
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || {
            let _ = sender.send(child.wait());
        });
        let status = ended
            .recv_timeout(self.deadline.saturating_duration_since(Instant::now()))
            .map_err(|_| {
                kill();
                self.failed(self.too_slow(), &outputs[1])
            })?
            .map_err(|source| self.failed(format!("could not be waited for: {source}"), b""))?;
        let [stdout, stderr] = outputs;
        Ok((status, stdout, stderr))
    }
}

/// Sends what a pipe contains up to `bound` bytes, and whether that is all.
fn read<R: Read + Send + 'static>(
    pipe: Option<R>,
    bound: u64,
    which: usize,
    sender: Sender<(usize, Vec<u8>, bool)>,
) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let whole = pipe.is_none_or(|pipe| {
            pipe.take(bound + 1).read_to_end(&mut bytes).is_ok() && bytes.len() as u64 <= bound
        });
        // After the time limit nobody receives this.
        let _ = sender.send((which, bytes, whole));
    });
}

/// The end of a program's output, safe to show.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(STDERR_SHOWN);
    harmless::block_of_bytes(&bytes[start..]).trim().to_owned()
}
