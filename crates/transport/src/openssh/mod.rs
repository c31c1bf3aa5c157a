//! The system's `ssh`, for what native SSH can't do: proxies, hardware tokens, Kerberos, its own configuration.
//!
//! One process holds the connection (a control master with its socket in a directory of its own, closed to others); each
//! command is one more process that goes through it. When the master is gone a command fails: it never makes a
//! connection of its own. `ssh` can't be given a password: it runs in batch mode.

mod arguments;
mod passage;
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
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::child::Running;
use crate::error::{ConnectError, ExecError};
use crate::exec::Exec;
use crate::known_hosts::KnownHosts;
use crate::nonce::nonce;
use crate::quote::{login_line, sh_quote};
use crate::target::{Deadlines, OpenSsh, Target};

pub(crate) use self::passage::Passage;

/// Bytes of what `ssh` says that are kept.
const SAID_LIMIT: usize = 16 * 1024;
/// Runs what follows, and ends it when our end of its standard input is gone: a controller that is killed leaves no
/// connection behind.
const BOUND: &str = r#"exec 3<&0;(cat <&3 >/dev/null;kill "$$")& exec "$@" </dev/null 3<&-"#;
/// What the master prints once it is connected.
const READY: &str = "reveille-ready";
/// How long the master is given to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The process that holds the connection.
pub(crate) struct Master {
    state: Arc<State>,
    /// Dropped to end it.
    end: Option<oneshot::Sender<()>>,
    how: Arc<OpenSsh>,
    arguments: Vec<OsString>,
    // Removed when the master is gone.
    _directory: Directory,
}

#[derive(Debug, Default)]
struct State {
    said: Mutex<String>,
    closed: AtomicBool,
}

/// A directory that goes away by itself.
struct Directory(PathBuf);

// === impl Master ===

impl Master {
    /// Connects, and returns once the connection is authenticated. How long the phases took is not known apart: all of
    /// it counts as authentication.
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
            // Nothing but our own word is expected, and it is short.
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

    /// One more process that goes through the master. Returns once the command runs, or shows that it won't.
    pub(crate) async fn exec(
        &self,
        line: &[u8],
        terminal: bool,
        deadline: Duration,
    ) -> Result<Exec, ExecError> {
        if self.is_closed() {
            return Err(ExecError::NotSent(self.why_closed()));
        }
        let refused = |message: String| ExecError::Refused {
            class: Class::ExecRefused,
            message,
        };
        let text = std::str::from_utf8(line)
            .map_err(|_| refused("a command that goes through ssh has to be UTF-8".to_owned()))?;
        let word = nonce();
        let mut command = command(&self.how);
        // Never a connection of its own. Of what is said twice, `ssh` believes the first.
        command.args(["-o", "ControlMaster=no", "-o", "ProxyCommand=false"]);
        command.arg(if terminal { "-tt" } else { "-T" });
        command.args(&self.arguments).arg(noted(text, &word, terminal));
        let passage = Passage::new(&word, terminal);
        let (running, input) = Running::start(command, Some(passage))
            .map_err(|error| refused(format!("can't run {}: {error}", self.how.program.display())))?;
        let mut exec = Exec::on_child(running, input, terminal);
        // A forced command never says our word, and may be silent: then it is taken as it comes.
        if let Ok(Some(said)) = timeout(deadline, exec.begin()).await {
            self.judge(&said)?;
        }
        Ok(exec)
    }

    /// A command that ended without having begun was refused, or was a forced one.
    fn judge(&self, said: &str) -> Result<(), ExecError> {
        if self.is_closed() {
            return Err(ExecError::Unanswered(self.why_closed()));
        }
        match said::refusal(said) {
            Some(message) => Err(ExecError::Refused {
                class: Class::ChannelRefused,
                message,
            }),
            None => Ok(()),
        }
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
            // One that does not go is killed below.
            let _ = timeout(GOODBYE, child.wait()).await;
        }
        self.end.take();
        let _ = timeout(GOODBYE, self.state.wait_closed()).await;
    }
}

/// `line` in a shell that says `word` when it begins and how it ended: `ssh` itself tells no signal, and its own failure
/// by a status that commands have, too.
fn noted(line: &str, word: &str, terminal: bool) -> String {
    let to = if terminal { "" } else { " >&2" };
    login_line(&format!(
        "printf '\\036{word} begun\\n'{to};sh -c {line};s=$?;printf '\\036{word} end %s\\n' $s{to};exit $s",
        line = sh_quote(line)
    ))
}

fn command(how: &OpenSsh) -> Command {
    let mut command = Command::new(&how.program);
    // Its messages are read.
    command.env("LC_ALL", "C");
    command
}

/// Keeps what the master says, and sees to its end.
///
/// It leads a process group with the one that waits for our end; that is killed while the group still holds its number.
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
    let group = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let mut read = false;
    loop {
        tokio::select! {
            () = &mut reading, if !read => read = true,
            _ = child.wait() => break,
            _ = &mut ending => {
                // Already ended is as good.
                let _ = child.kill().await;
                break;
            }
        }
    }
    if let Some(group) = group {
        // Gone is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(bound);
    if !read {
        // What it said last is in the pipe; a process of its own (a proxy) may hold that open.
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
        // Short: the name of a socket has 108 bytes at most.
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
        // Nobody is left to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
