//! The real shell: commands run in this machine's `sh`, in one directory per host.
//!
//! A command gets the environment that sshd would set, its host's directory as home and working directory, and its own
//! process group. It runs as the invoking user, with all of that user's rights. As with sshd, a command continues when
//! its client leaves. Every process has a mark in its environment, by which [`end_marked`] finds the remaining ones at
//! the end, in any group or session.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use russh::{ChannelMsg, ChannelReadHalf};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::listening::{Heard, Listening};
use crate::{Call, ChannelIo, FaultKind, Gone, Host, Script, ScriptFuture};

/// The variable that marks every process of a practice fleet; its value is the directory of its hosts.
const MARK: &str = "REVEILLE_DRILL";
/// How many bytes of output to read at a time.
const PIECE: usize = 32 << 10;
/// How many bytes of input may wait for a command. Blocking on them would block the whole connection, including the
/// window updates for the command's output.
const MOST_WAITING: usize = 16 << 20;
/// The time for output to arrive before its connection breaks.
const BEFORE_CUT: Duration = Duration::from_millis(30);
/// How often to search for marked processes at the end; each round kills another generation of forks.
const ROUNDS: usize = 1000;

/// The script of hosts whose commands run for real.
#[derive(Debug)]
pub struct RealShell {
    /// Contains one directory per host.
    directory: PathBuf,
    /// Limits how many hosts may run commands at once.
    slots: Arc<Semaphore>,
    /// Active hosts by index: the number of commands that use the host's slot.
    at_work: Mutex<HashMap<u32, (usize, OwnedSemaphorePermit)>>,
    /// Nothing may start any more.
    closed: AtomicBool,
    path: OsString,
    user: OsString,
}

/// A command's share in its host's slot.
struct Slot<'a> {
    shell: &'a RealShell,
    host: u32,
}

// === impl RealShell ===

impl RealShell {
    /// Keeps the hosts' directories in `directory`, and lets `at_once` hosts run commands; others wait.
    pub fn new(directory: impl Into<PathBuf>, at_once: usize) -> io::Result<Self> {
        let directory = directory.into();
        make(&directory)?;
        let variable = |name, otherwise: &str| std::env::var_os(name).unwrap_or_else(|| otherwise.into());
        Ok(Self {
            directory: fs::canonicalize(directory)?,
            slots: Arc::new(Semaphore::new(at_once)),
            at_work: Mutex::default(),
            closed: AtomicBool::new(false),
            path: variable("PATH", "/usr/local/bin:/usr/bin:/bin"),
            user: variable("USER", "drill"),
        })
    }

    /// Kills everything that the hosts' commands left running, and returns how many processes that were. Nothing can
    /// start afterwards.
    pub fn end(&self) -> usize {
        self.closed.store(true, Ordering::SeqCst);
        end_marked(&self.directory)
    }

    /// Waits for a slot. An active host does not wait for another one: a kill must not be queued.
    async fn slot(&self, host: u32) -> Slot<'_> {
        if let Some((commands, _)) = self.at_work().get_mut(&host) {
            *commands += 1;
            return Slot { shell: self, host };
        }
        // The semaphore is never closed.
        if let Ok(permit) = Arc::clone(&self.slots).acquire_owned().await {
            self.at_work().entry(host).or_insert((0, permit)).0 += 1;
        }
        Slot { shell: self, host }
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<u32, (usize, OwnedSemaphorePermit)>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, host: &Host, command: &[u8]) -> io::Result<Child> {
        let closed = || {
            let is = self.closed.load(Ordering::SeqCst);
            is.then(|| io::Error::other("the drill is at its end"))
        };
        if let Some(error) = closed() {
            return Err(error);
        }
        let mut child = self.start(host, command)?;
        // The final search may have just ended.
        match closed() {
            None => Ok(child),
            Some(error) => {
                child.start_kill()?;
                Err(error)
            }
        }
    }

    fn start(&self, host: &Host, command: &[u8]) -> io::Result<Child> {
        let home = self.directory.join(host.name().as_str());
        make(&home)?;
        Command::new("sh")
            .arg("-c")
            .arg(std::ffi::OsStr::from_bytes(command))
            .current_dir(&home)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .env("USER", &self.user)
            .env("LOGNAME", &self.user)
            .env("SHELL", "/bin/sh")
            .env(MARK, &self.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    async fn perform(&self, call: Call) -> Result<(), Gone> {
        let Call { host, command, io } = call;
        if let Some(FaultKind::Latency(milliseconds)) = host.fault() {
            host.exercise();
            tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
        }
        let _slot = self.slot(host.index).await;
        match self.spawn(&host, &command) {
            Ok(child) => converse(io, child, &host, Listening::to(&command)).await,
            Err(error) => {
                io.stderr(format!("drill: can't run a command: {error}\n"))
                    .await?;
                io.exit(126).await
            }
        }
    }
}

impl Script for RealShell {
    fn run(&self, call: Call) -> ScriptFuture<'_> {
        Box::pin(async move {
            // If the client leaves, its commands continue.
            let _ = self.perform(call).await;
        })
    }

    fn makes_terminals(&self) -> bool {
        false
    }
}

impl Drop for RealShell {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut at_work = self.shell.at_work();
        if let Some((commands, _)) = at_work.get_mut(&self.host) {
            *commands -= 1;
            if *commands == 0 {
                at_work.remove(&self.host);
            }
        }
    }
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Connects a command to its client, until the command and its output have ended.
async fn converse(
    mut io: ChannelIo,
    mut child: Child,
    host: &Host,
    listening: Listening,
) -> Result<(), Gone> {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let (Some(stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return io.exit(126).await;
    };
    let listening = Mutex::new(listening);
    // This gets only channels of SSH.
    let Some((read, write)) = io.halves() else {
        return Err(Gone);
    };
    let outputs = async {
        let out = async {
            let mut buffer = vec![0; PIECE];
            while let Some(bytes) = piece(&mut stdout, &mut buffer).await {
                write.data_bytes(bytes.to_vec()).await.map_err(|_| Gone)?;
                let heard = lock(&listening).output(bytes);
                if breaks(host, heard) {
                    return Err(Gone);
                }
            }
            Ok(())
        };
        let err = async {
            let mut buffer = vec![0; PIECE];
            while let Some(bytes) = piece(&mut stderr, &mut buffer).await {
                write
                    .extended_data_bytes(1, bytes.to_vec())
                    .await
                    .map_err(|_| Gone)?;
            }
            Ok(())
        };
        tokio::try_join!(out, err)?;
        write.eof().await.map_err(|_| Gone)?;
        let status = child.wait().await.map_err(|_| Gone)?;
        let heard = lock(&listening).end();
        if breaks(host, heard) {
            return Err(Gone);
        }
        Ok::<ExitStatus, Gone>(status)
    };
    let ended = tokio::select! {
        // Handle the command's remaining output before the client's leaving.
        biased;
        ended = outputs => Some(ended),
        () = hand_over(read, stdin, group, &listening) => None,
    };
    if let Some(token) = lock(&listening).started() {
        host.count_token(&token);
    }
    match ended {
        None => Err(Gone),
        Some(Err(Gone)) => {
            tokio::time::sleep(BEFORE_CUT).await;
            io.cut();
            Err(Gone)
        }
        Some(Ok(status)) => {
            io.output_ended();
            match (status.code(), status.signal().and_then(name_of)) {
                (Some(code), _) => io.exit(u32::try_from(code).unwrap_or(255)).await,
                (None, Some(name)) => io.signal(name).await,
                (None, None) => io.vanish().await,
            }
        }
    }
}

/// Whether to break the connection at this point.
fn breaks(host: &Host, heard: Heard) -> bool {
    match heard {
        Heard::Nothing => false,
        Heard::Begins => host.begin(),
        Heard::Attaches => host.breaks_again(),
    }
}

/// The next bytes; none at the end.
async fn piece<'a>(from: &mut (impl AsyncRead + Unpin), buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let count = from.read(buffer).await.ok().filter(|count| *count > 0)?;
    Some(&buffer[..count])
}

/// Passes the client's input and signals to the command, until the client leaves.
async fn hand_over(
    read: &mut ChannelReadHalf,
    stdin: ChildStdin,
    group: Option<Pid>,
    listening: &Mutex<Listening>,
) {
    let mut stdin = Some(stdin);
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut size = 0;
    let mut ended = false;
    loop {
        let message = tokio::select! {
            message = read.wait(), if size < MOST_WAITING => message,
            written = write_first(&mut stdin, &waiting), if !waiting.is_empty() => {
                if let Some(count) = written {
                    size -= count;
                    if let Some(first) = waiting.front_mut() {
                        first.advance(count);
                    }
                    if waiting.front().is_some_and(Bytes::is_empty) {
                        waiting.pop_front();
                    }
                } else {
                    // The command reads no more input, but may continue.
                    stdin = None;
                    waiting.clear();
                    size = 0;
                }
                if ended && waiting.is_empty() {
                    stdin = None;
                }
                continue;
            }
        };
        match message {
            Some(ChannelMsg::Data { data }) => {
                lock(listening).input(&data);
                if stdin.is_some() && !data.is_empty() {
                    size += data.len();
                    waiting.push_back(data);
                }
            }
            Some(ChannelMsg::Eof) => {
                ended = true;
                if waiting.is_empty() {
                    stdin = None;
                }
            }
            Some(ChannelMsg::Signal { signal }) => {
                if let (Some(group), Some(signal)) = (group, number_of(&signal)) {
                    // It may have ended.
                    let _ = kill_process_group(group, signal);
                }
            }
            None | Some(ChannelMsg::Close) => return,
            Some(_) => {}
        }
    }
}

/// Writes a part of the first piece; none if nobody reads.
async fn write_first(stdin: &mut Option<ChildStdin>, waiting: &VecDeque<Bytes>) -> Option<usize> {
    let (stdin, first) = (stdin.as_mut()?, waiting.front()?);
    stdin.write(first).await.ok().filter(|count| *count > 0)
}

fn lock(listening: &Mutex<Listening>) -> MutexGuard<'_, Listening> {
    listening.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a signal in the protocol.
fn name_of(number: i32) -> Option<&'static str> {
    Some(match Signal::from_named_raw(number)? {
        Signal::ABORT => "ABRT",
        Signal::ALARM => "ALRM",
        Signal::FPE => "FPE",
        Signal::HUP => "HUP",
        Signal::ILL => "ILL",
        Signal::INT => "INT",
        Signal::KILL => "KILL",
        Signal::PIPE => "PIPE",
        Signal::QUIT => "QUIT",
        Signal::SEGV => "SEGV",
        Signal::TERM => "TERM",
        Signal::USR1 => "USR1",
        _ => return None,
    })
}

fn number_of(signal: &russh::Sig) -> Option<Signal> {
    Some(match signal {
        russh::Sig::HUP => Signal::HUP,
        russh::Sig::INT => Signal::INT,
        russh::Sig::KILL => Signal::KILL,
        russh::Sig::QUIT => Signal::QUIT,
        russh::Sig::TERM => Signal::TERM,
        russh::Sig::USR1 => Signal::USR1,
        _ => return None,
    })
}

/// Kills every process that was started with its hosts' directories in `directory`, and returns their number.
pub fn end_marked(directory: &Path) -> usize {
    let mut mark = format!("{MARK}=").into_bytes();
    mark.extend_from_slice(directory.as_os_str().as_bytes());
    let mut ended = std::collections::HashSet::new();
    for _ in 0..ROUNDS {
        let marked = marked(&mark);
        if marked.is_empty() {
            break;
        }
        ended.extend(marked);
        // Give killed processes a moment to exit; the next round finds their forks.
        std::thread::yield_now();
    }
    ended.len()
}

/// Kills the processes that are marked at this moment.
fn marked(mark: &[u8]) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|number| {
            // The handle is opened before the check, so that a reused pid is not killed.
            let Some(handle) =
                Pid::from_raw(*number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            else {
                return false;
            };
            let Ok(environment) = fs::read(format!("/proc/{number}/environ")) else {
                return false;
            };
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark)
                && pidfd_send_signal(handle, Signal::KILL).is_ok()
        })
        .collect()
}
