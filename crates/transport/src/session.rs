//! An authenticated connection, or its substitute.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Class, Phase};

use crate::error::{ConnectError, ExecError};
use crate::escalate::{self, Become};
use crate::exec::Exec;
use crate::local::Local;
use crate::native::{Duplex, Native};
use crate::openssh::Master;
use crate::quote::{READS_ITSELF, login_line, self_contained};

/// An authenticated connection to one host. Dropping it cuts the connection.
pub struct Session {
    link: Link,
    deadline: Duration,
    /// The host's sudo requires a terminal.
    needs_terminal: AtomicBool,
    /// Counts the bytes that its commands send and receive, and signs of local work for them.
    moved: Arc<AtomicU64>,
}

/// How often local work counts as movement.
const SIGN: Duration = Duration::from_secs(1);
/// The longest plain command that is a part of the request to run it, in bytes. A longer one is sent over standard input:
/// dropbear accepts 9,000 bytes, Linux 128 KiB for an argument, and OpenSSH 256 KiB.
const SHORT: usize = 4 * 1024;
/// How many bytes of a longer command to send at a time.
const PIECE: usize = 32 * 1024;
/// The longest request to run a command, in bytes: Linux takes no longer argument. Only commands on a terminal can come
/// near it, because others are sent on standard input.
const LINE_LIMIT: usize = 128 * 1024 - 1;

/// The transport of the session.
pub(crate) enum Link {
    Native(Native),
    OpenSsh(Master),
    Local(Local),
    #[cfg(feature = "memory")]
    Memory(crate::memory::Held),
}

// === impl Session ===

impl Session {
    pub(crate) fn new(link: Link, deadline: Duration) -> Self {
        Self {
            link,
            deadline,
            needs_terminal: AtomicBool::new(false),
            moved: Arc::default(),
        }
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        match &self.link {
            Link::Native(native) => native.is_closed(),
            Link::OpenSsh(master) => master.is_closed(),
            Link::Local(_) => false,
            #[cfg(feature = "memory")]
            Link::Memory(held) => held.0.is_closed(),
        }
    }

    /// Whether the password was needed to log in.
    pub fn took_password(&self) -> bool {
        match &self.link {
            Link::Native(native) => native.took_password(),
            Link::OpenSsh(_) | Link::Local(_) => false,
            #[cfg(feature = "memory")]
            Link::Memory(held) => held.0.took_password(),
        }
    }

    /// Whether not to offer any password on it, not even for becoming another user: this process sees the host's key
    /// for the first time, and the policy forbids passwords for new hosts.
    pub(crate) fn keeps_passwords_back(&self) -> bool {
        // `ssh` checks keys itself, and does not report the result.
        matches!(&self.link, Link::Native(native) if native.keeps_passwords_back())
    }

    /// Why the connection ended, as a sentence.
    pub fn why_closed(&self) -> String {
        match &self.link {
            Link::Native(native) => native.why_closed(),
            Link::OpenSsh(master) => master.why_closed(),
            Link::Local(_) => "the shell on this machine ended".to_owned(),
            #[cfg(feature = "memory")]
            Link::Memory(held) => held.0.why_closed(),
        }
    }

    /// Passes `line` to the user's login shell and returns once the host has accepted it.
    pub async fn exec(&self, line: impl Into<Vec<u8>>) -> Result<Exec, ExecError> {
        self.start(line.into(), false).await
    }

    /// Runs `command` in `sh`, as another user if set, and returns once it runs. If the host refuses to change the
    /// user, fails with [`ExecError::Refused`] of class `become_failed` or `become_missing`; then nothing ran.
    pub async fn run(&self, escalate: Option<&Become>, command: &str) -> Result<Exec, ExecError> {
        if command.len() <= SHORT {
            return self.run_line(escalate, command).await;
        }
        let exec = self.run_line(escalate, READS_ITSELF).await?;
        let input = exec.input();
        for piece in self_contained(command).into_bytes().chunks(PIECE) {
            // A host that runs something else may close its input; its output shows what happened.
            if input.send(Bytes::copy_from_slice(piece)).await.is_err() {
                break;
            }
        }
        Ok(exec)
    }

    async fn run_line(&self, escalate: Option<&Become>, command: &str) -> Result<Exec, ExecError> {
        match escalate {
            None => self.exec(login_line(command)).await,
            // Boxed, so that its memory is freed before the long wait.
            Some(other) => Box::pin(escalate::start(self, other, command, false)).await,
        }
    }

    /// Like [`run`](Self::run), on a terminal, which is the command's standard input and merges its outputs. The
    /// terminal ends with the connection.
    pub async fn run_on_terminal(&self, escalate: Option<&Become>, command: &str) -> Result<Exec, ExecError> {
        match escalate {
            None => self.start(login_line(command).into_bytes(), true).await,
            Some(other) => Box::pin(escalate::start(self, other, command, true)).await,
        }
    }

    pub(crate) async fn start(&self, line: Vec<u8>, terminal: bool) -> Result<Exec, ExecError> {
        if line.len() > LINE_LIMIT {
            let message = format!(
                "the command is too long for a terminal: with quotes it has {} bytes, at most {LINE_LIMIT} are possible; \
                 put it into a script, or run it without a terminal",
                line.len()
            );
            return Err(ExecError::refused(Class::ExecRefused, message));
        }
        let exec = match &self.link {
            Link::Native(native) => native.exec(line, terminal, self.deadline).await,
            Link::OpenSsh(master) => master.exec(&line, terminal, self.deadline).await,
            Link::Local(local) => local.exec(&line, terminal),
            #[cfg(feature = "memory")]
            Link::Memory(held) => Exec::in_memory(&*held.0, line, terminal, self.deadline).await,
        }?;
        exec.count_in(&self.moved);
        Ok(exec)
    }

    /// A number that grows with each byte that its commands send or receive, and while a copy works on local files.
    /// While it stays the same, nothing moves in either direction.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Waits for a copy's local work; meanwhile the copy counts as moving.
    pub async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(SIGN, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.moved.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    /// The processes that were started on this machine and still run; none for other machines, which identify them by
    /// their connection.
    pub(crate) fn running_here(&self) -> Option<Vec<i32>> {
        let Link::Local(local) = &self.link else {
            return None;
        };
        Some(local.running())
    }

    /// Whether sudo has refused a command without a terminal.
    pub fn needs_terminal(&self) -> bool {
        self.needs_terminal.load(Ordering::Relaxed)
    }

    pub(crate) fn note_needs_terminal(&self) {
        self.needs_terminal.store(true, Ordering::Relaxed);
    }

    /// Opens a byte stream from the host to another address.
    pub(crate) async fn forward(
        &self,
        address: &str,
        port: u16,
        deadline: Duration,
    ) -> Result<Box<dyn Duplex>, ConnectError> {
        match &self.link {
            Link::Native(native) => native.forward(address, port, deadline).await,
            // A network in memory handles jump hosts itself.
            _ => Err(ConnectError::new(
                Phase::Tcp,
                Class::ChannelRefused,
                "a jump host must be reached by native SSH; set it in ssh's own configuration instead",
            )),
        }
    }

    /// Disconnects, so that the host logs an orderly end, and cuts the connection.
    pub async fn close(self) {
        match self.link {
            Link::Native(native) => native.close().await,
            Link::OpenSsh(master) => master.close().await,
            Link::Local(_) => {}
            #[cfg(feature = "memory")]
            Link::Memory(held) => drop(held),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
