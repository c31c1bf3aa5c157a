//! A local process that runs a command: a local shell, or the system's `ssh`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::heard::Heard;
use crate::passage::Passage;
use crate::signal;
use crate::terminal::Terminal;

/// How many bytes to read from a pipe at a time. A child that writes more waits until we have processed them.
const CHUNK: usize = 32 * 1024;

/// A process, its outputs, and the process group that it leads.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Option<Stdout>,
    stderr: Option<ChildStderr>,
    stage: Stage,
    group: Group,
    /// Removes what an `ssh` process adds to the command's output.
    passage: Option<Passage>,
}

#[derive(Debug)]
enum Stdout {
    Pipe(ChildStdout),
    Terminal(Receiver),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Output,
    Waiting,
    Ended,
}

/// A process group that is killed when this is dropped, unless it has ended or was released.
#[derive(Debug)]
struct Group {
    leader: Option<Pid>,
    /// The leader has ended, so its id may belong to another process.
    over: Arc<AtomicBool>,
}

/// A process that was started, and whether its id is still valid.
#[derive(Debug)]
pub(crate) struct Started {
    pid: Pid,
    over: Arc<AtomicBool>,
}

/// The standard input of a process.
#[derive(Debug)]
pub(crate) struct ChildInput(Mutex<Option<Stdin>>);

#[derive(Debug)]
enum Stdin {
    Pipe(ChildStdin),
    Terminal(Sender),
}

// === impl Running ===

impl Running {
    /// Starts `command` in its own process group.
    pub(crate) fn start(
        mut command: Command,
        passage: Option<Passage>,
    ) -> std::io::Result<(Self, ChildInput)> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // We handle Ctrl-C in our terminal.
            .process_group(0);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().map(Stdin::Pipe);
        let stdout = child.stdout.take().map(Stdout::Pipe);
        Ok(Self::new(child, stdin, stdout, passage))
    }

    /// Starts `command`, which must become a session leader itself, on a terminal.
    pub(crate) fn start_on_terminal(mut command: Command) -> std::io::Result<(Self, ChildInput)> {
        let terminal = Terminal::open()?;
        command
            .stdin(terminal.stdio()?)
            .stdout(terminal.stdio()?)
            .stderr(terminal.stdio()?);
        let child = command.spawn()?;
        let stdin = Some(Stdin::Terminal(terminal.input));
        let stdout = Some(Stdout::Terminal(terminal.output));
        Ok(Self::new(child, stdin, stdout, None))
    }

    fn new(
        mut child: Child,
        stdin: Option<Stdin>,
        stdout: Option<Stdout>,
        passage: Option<Passage>,
    ) -> (Self, ChildInput) {
        let leader = leader(&child);
        let running = Self {
            stdout,
            stderr: child.stderr.take(),
            child,
            stage: Stage::Output,
            group: Group {
                leader,
                over: Arc::default(),
            },
            passage,
        };
        (running, ChildInput(Mutex::new(stdin)))
    }

    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.passage.as_mut().and_then(Passage::pop) {
                return heard;
            }
            match self.stage {
                Stage::Output => {
                    let Some(heard) = self.read().await else {
                        self.stage = Stage::Waiting;
                        return Heard::Eof;
                    };
                    match &mut self.passage {
                        None => return heard,
                        Some(passage) => passage.push(heard),
                    }
                }
                Stage::Waiting => {
                    let status = self.child.wait().await;
                    self.group.over.store(true, Ordering::Relaxed);
                    self.stage = Stage::Ended;
                    let Ok(status) = status else { return Heard::Lost };
                    return match &mut self.passage {
                        None => ended(status),
                        Some(passage) => passage.ended(status),
                    };
                }
                Stage::Ended => {
                    return match &self.passage {
                        Some(passage) if passage.is_broken() => Heard::Lost,
                        _ => Heard::Closed,
                    };
                }
            }
        }
    }

    pub(crate) fn kill(&self) {
        self.group.kill();
    }

    /// The id of the process, for as long as it runs.
    pub(crate) fn started(&self) -> Option<Started> {
        self.group.leader.map(|pid| Started {
            pid,
            over: Arc::clone(&self.group.over),
        })
    }

    /// Waits until the command has begun. If the process exited first, returns its output.
    pub(crate) async fn begin(&mut self) -> Option<String> {
        loop {
            let passage = self.passage.as_ref()?;
            if passage.has_begun() || passage.said_much() {
                return None;
            }
            let Some(heard) = self.read().await else {
                let said = self.passage.as_ref()?.said();
                // Its master may have ended too; the caller checks that next.
                let _ = self.child.wait().await;
                return Some(said);
            };
            self.passage.as_mut()?.push(heard);
        }
    }

    /// Lets the group outlive this value. An `ssh` process ends in any case, because its command runs elsewhere.
    pub(crate) fn leave(&mut self) {
        if self.passage.is_none() {
            self.group.leader = None;
        }
    }

    /// The next bytes of either output; none at the end of both.
    async fn read(&mut self) -> Option<Heard> {
        loop {
            tokio::select! {
                bytes = chunk_of(&mut self.stdout), if self.stdout.is_some() => match bytes {
                    Some(bytes) => return Some(Heard::Stdout(bytes)),
                    None => self.stdout = None,
                },
                bytes = chunk(&mut self.stderr), if self.stderr.is_some() => match bytes {
                    Some(bytes) => return Some(Heard::Stderr(bytes)),
                    None => self.stderr = None,
                },
                else => return None,
            }
        }
    }
}

/// The process id of a child that still runs, which is also the id of the group that it leads.
pub(crate) fn leader(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

async fn chunk_of(stdout: &mut Option<Stdout>) -> Option<Bytes> {
    match stdout.as_mut()? {
        Stdout::Pipe(pipe) => chunk(&mut Some(pipe)).await,
        Stdout::Terminal(terminal) => chunk(&mut Some(terminal)).await,
    }
}

async fn chunk(pipe: &mut Option<impl tokio::io::AsyncRead + Unpin>) -> Option<Bytes> {
    let mut bytes = BytesMut::with_capacity(CHUNK);
    match pipe.as_mut()?.read_buf(&mut bytes).await {
        // A terminal reports a hang-up as an error.
        Ok(0) | Err(_) => None,
        Ok(_) => Some(Bytes::copy_from_slice(&bytes)),
    }
}

fn ended(status: ExitStatus) -> Heard {
    match (status.code(), status.signal()) {
        (Some(code), _) => Heard::ExitStatus(u32::from_ne_bytes(code.to_ne_bytes())),
        (None, signal) => {
            Heard::ExitSignal(signal.map_or_else(|| "unknown".to_owned(), signal::name_or_number))
        }
    }
}

// === impl Group ===

impl Group {
    fn kill(&self) {
        if let Some(leader) = self.leader
            && !self.over.load(Ordering::Relaxed)
        {
            // The group may already be gone.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        self.over.store(true, Ordering::Relaxed);
    }
}

// === impl Started ===

impl Started {
    /// The id of the process, unless it has ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        let over = self.over.load(Ordering::Relaxed);
        (!over).then(|| self.pid.as_raw_nonzero().get())
    }
}

// === impl ChildInput ===

impl ChildInput {
    pub(crate) async fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        match self.0.lock().await.as_mut() {
            Some(Stdin::Pipe(pipe)) => pipe.write_all(bytes).await,
            Some(Stdin::Terminal(terminal)) => terminal.write_all(bytes).await,
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    pub(crate) async fn end(&self) {
        self.0.lock().await.take();
    }
}
