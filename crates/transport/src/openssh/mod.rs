//! The system's `ssh`, for features that native SSH does not have: proxies, hardware tokens, Kerberos, its own
//! configuration.
//!
//! One process holds the connection (a control master with its socket in a private directory); each command is another
//! process that uses the connection. When the master has ended, commands fail rather than connect by themselves. `ssh`
//! runs in batch mode, so it can't be given a password.

mod arguments;
mod said;

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reveille_account::{Class, Phase, PhaseTimings};
use reveille_text::duration;
use rustix::process::{Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::child::{Running, leader};
use crate::error::{ConnectError, ExecError};
use crate::exec::Exec;
use crate::known_hosts::KnownHosts;
use crate::nonce::nonce;
use crate::passage::Passage;
use crate::quote::{login_line, sh_quote};
use crate::target::{Deadlines, OpenSsh, Target};

/// How much of `ssh`'s messages to keep, in bytes.
const SAID_LIMIT: usize = 16 * 1024;
/// Runs a command, and kills it when our end of its standard input is closed: a controller that is killed leaves no
/// connection behind.
const BOUND: &str = r#"exec 3<&0;(cat <&3 >/dev/null;kill "$$")& exec "$@" </dev/null 3<&-"#;
/// Printed by the master once it is connected.
const READY: &str = "reveille-ready";
/// How long the master may take to exit.
const GOODBYE: Duration = Duration::from_secs(1);

/// The process that holds the connection.
pub(crate) struct Master {
    state: Arc<State>,
    /// Dropped to end the master.
    end: Option<oneshot::Sender<()>>,
    how: Arc<OpenSsh>,
    arguments: Vec<OsString>,
    // Removed when the master has ended.
    _directory: Directory,
}

#[derive(Debug, Default)]
struct State {
    said: Mutex<String>,
    closed: AtomicBool,
}

/// A directory that is removed when dropped.
struct Directory(PathBuf);

// === impl Master ===

impl Master {
    /// Connects, and returns once the connection is authenticated. The phases can't be timed separately, so all of it
    /// counts as authentication.
    pub(crate) async fn start(
        how: &Arc<OpenSsh>,
        target: &Target,
        known_hosts: &Arc<KnownHosts>,
        deadlines: &Deadlines,
    ) -> Result<(Self, PhaseTimings), ConnectError> {
        let internal = |message: String| ConnectError::new(Phase::Tcp, Class::Internal, message);
        let started = Instant::now();
        let directory = Directory::new()
            .map_err(|error| internal(format!("can't make a directory for ssh's socket: {error}")))?;
        let arguments = arguments::of(how, target, known_hosts, deadlines, &directory.socket());
        let mut child = Command::new("sh")
            .env("LC_ALL", "C")
            .args(["-c", BOUND, "sh"])
            .arg(&how.program)
            .args(["-N", "-M", "-o", "PermitLocalCommand=yes", "-o"])
            .arg(format!("LocalCommand=echo {READY}"))
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(|error| internal(format!("can't run sh: {error}")))?;
        let state = Arc::new(State::default());
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let (end, ending) = oneshot::channel();
        tokio::spawn(watch(child, stderr, Arc::clone(&state), ending));
        let ready = async {
            let mut line = String::new();
            // Only our own short word is expected.
            let Some(stdout) = stdout else { return false };
            let mut stdout = BufReader::new(stdout.take(1024));
            stdout.read_line(&mut line).await.is_ok() && line.trim() == READY
        };
        let whole = deadlines.resolve
            + target.connect_within(deadlines)
            + deadlines.banner
            + deadlines.key_exchange
            + deadlines.authentication;
        let master = Self {
            state,
            end: Some(end),
            how: Arc::clone(how),
            arguments,
            _directory: directory,
        };
        match timeout(whole, ready).await {
            Ok(true) => {
                let phases = PhaseTimings {
                    authentication_ms: u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX),
                    ..PhaseTimings::default()
                };
                Ok((master, phases))
            }
            Ok(false) => {
                master.state.wait_closed().await;
                Err(said::failure(&master.state.said(), target))
            }
            Err(_) => Err(ConnectError::new(
                Phase::Authentication,
                Class::AuthStalled,
                format!("ssh did not connect within {}", duration::shown(whole)),
            )),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }

    pub(crate) fn why_closed(&self) -> String {
        said::last_words(&self.state.said()).unwrap_or_else(|| "the connection was closed".to_owned())
    }

    /// Starts a process that uses the master's connection. Returns once the command runs or has failed.
    pub(crate) async fn exec(
        &self,
        line: &[u8],
        terminal: bool,
        deadline: Duration,
    ) -> Result<Exec, ExecError> {
        if self.is_closed() {
            return Err(ExecError::NotSent(self.why_closed()));
        }
        let refused = |message: String| ExecError::refused(Class::ExecRefused, message);
        let text =
            std::str::from_utf8(line).map_err(|_| refused("a command for ssh must be UTF-8".to_owned()))?;
        let word = nonce();
        let mut command = command(&self.how);
        // Never connect independently. If an option is repeated, `ssh` uses the first value.
        command.args(["-o", "ControlMaster=no", "-o", "ProxyCommand=false"]);
        command.arg(if terminal { "-tt" } else { "-T" });
        command.args(&self.arguments).arg(noted(text, &word, terminal));
        let passage = Passage::new(&word, terminal);
        let (running, input) = Running::start(command, Some(passage))
            .map_err(|error| refused(format!("can't run {}: {error}", self.how.program.display())))?;
        let mut exec = Exec::on_child(running, input, terminal);
        // A forced command never prints our word, and may be silent, so it is accepted after the deadline.
        if let Ok(Some(said)) = timeout(deadline, exec.begin()).await {
            self.judge(&said)?;
        }
        Ok(exec)
    }

    /// A command that exited before it began was either refused or replaced by a forced command.
    fn judge(&self, said: &str) -> Result<(), ExecError> {
        if self.is_closed() {
            return Err(ExecError::Unanswered(self.why_closed()));
        }
        said::refusal(said).map_or(Ok(()), |message| {
            Err(ExecError::refused(Class::ChannelRefused, message))
        })
    }

    /// Ends the connection in order.
    pub(crate) async fn close(mut self) {
        let mut command = command(&self.how);
        command
            .args(["-O", "exit"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Ok(mut child) = command.spawn() {
            // If it does not exit, it is killed below.
            let _ = timeout(GOODBYE, child.wait()).await;
        }
        self.end.take();
        let _ = timeout(GOODBYE, self.state.wait_closed()).await;
    }
}

/// Runs `line` in a shell that prints `word` when it begins, and again with the status when it ends: `ssh` does not
/// report signals, and reports its own failure with a status that commands use, too.
fn noted(line: &str, word: &str, terminal: bool) -> String {
    let to = if terminal { "" } else { " >&2" };
    login_line(&format!(
        "printf '\\036{word} begun\\n'{to};sh -c {line};s=$?;printf '\\036{word} end %s\\n' $s{to};exit $s",
        line = sh_quote(line)
    ))
}

fn command(how: &OpenSsh) -> Command {
    let mut command = Command::new(&how.program);
    // We parse its messages.
    command.env("LC_ALL", "C");
    command
}

/// Collects the master's messages, and ends it.
///
/// The master leads a process group together with the process that waits for our end; the group is killed while its id
/// is still in use.
async fn watch(
    mut child: Child,
    stderr: Option<ChildStderr>,
    state: Arc<State>,
    mut ending: oneshot::Receiver<()>,
) {
    let reading = async {
        let Some(mut stderr) = stderr else { return };
        let mut buffer = [0; 2048];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            state.hear(&buffer[..read]);
        }
    };
    tokio::pin!(reading);
    let bound = child.stdin.take();
    let group = leader(&child);
    let mut read = false;
    loop {
        tokio::select! {
            () = &mut reading, if !read => read = true,
            _ = child.wait() => break,
            _ = &mut ending => {
                // It may have ended already.
                let _ = child.kill().await;
                break;
            }
        }
    }
    if let Some(group) = group {
        // The group may already be gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(bound);
    if !read {
        // Its last messages are still in the pipe, which another process (a proxy) may hold open.
        let _ = timeout(Duration::from_millis(200), reading).await;
    }
    state.closed.store(true, Ordering::Release);
}

// === impl State ===

impl State {
    fn hear(&self, bytes: &[u8]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&String::from_utf8_lossy(bytes));
        if said.len() > SAID_LIMIT {
            let mut cut = said.len() - SAID_LIMIT / 2;
            while !said.is_char_boundary(cut) {
                cut += 1;
            }
            said.drain(..cut);
        }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wait_closed(&self) {
        while !self.closed.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

// === impl Directory ===

impl Directory {
    fn new() -> io::Result<Self> {
        let parent = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_dir() && path.as_os_str().len() < 40)
            .unwrap_or_else(|| PathBuf::from("/tmp"));
        // The name of a socket can have at most 108 bytes.
        let path = parent.join(format!("reveille-{}", &nonce()[..16]));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nobody is left to report an error to.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
