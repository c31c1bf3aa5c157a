//! An authenticated connection, or what stands for one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reveille_account::{Class, Phase};

use crate::error::{ConnectError, ExecError};
use crate::escalate::{self, Become};
use crate::exec::Exec;
use crate::local::Local;
use crate::native::{Duplex, Native};
use crate::openssh::Master;
use crate::quote::login_line;

/// An authenticated connection to one host. Dropping it cuts the connection.
pub struct Session {
    link: Link,
    deadline: Duration,
    /// The host's sudo insists on a terminal.
    needs_terminal: AtomicBool,
    /// Bytes that its commands took and gave, and signs of work for them on this machine.
    moved: Arc<AtomicU64>,
}

/// How often work on this machine shows in what has moved.
const SIGN: Duration = Duration::from_secs(1);

/// What carries the session.
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

    /// Whether no password is offered on it, not even to become another user: the host's key is seen for the first time by
    /// this process, and nobody said that passwords may go to new hosts.
    pub(crate) fn keeps_passwords_back(&self) -> bool {
        match &self.link {
            Link::Native(native) => native.keeps_passwords_back(),
            // `ssh` judges keys itself, and says nothing of it.
            Link::OpenSsh(_) | Link::Local(_) => false,
            #[cfg(feature = "memory")]
            Link::Memory(_) => false,
        }
    }

    /// Why the connection ended, in words.
    pub fn why_closed(&self) -> String {
        match &self.link {
            Link::Native(native) => native.why_closed(),
            Link::OpenSsh(master) => master.why_closed(),
            Link::Local(_) => "the shell on this machine ended".to_owned(),
            #[cfg(feature = "memory")]
            Link::Memory(held) => held.0.why_closed(),
        }
    }

    /// Gives `line` to the user's login shell and returns once the host has accepted it.
    pub async fn exec(&self, line: impl Into<Vec<u8>>) -> Result<Exec, ExecError> {
        self.start(line.into(), false).await
    }

    /// Runs `command` in `sh`, as another user if that is wanted, and returns once it runs. A host that refuses to
    /// change the user answers with [`ExecError::Refused`] of class `become_failed` or `become_missing`; then nothing
    /// ran.
    pub async fn run(&self, escalate: Option<&Become>, command: &str) -> Result<Exec, ExecError> {
        match escalate {
            None => self.exec(login_line(command)).await,
            // On the heap: what is over before the long wait must not be held with it.
            Some(other) => Box::pin(escalate::start(self, other, command, false)).await,
        }
    }

    /// The same on a terminal, which is the command's standard input and makes one stream of its outputs. It goes with
    /// the connection.
    pub async fn run_on_terminal(&self, escalate: Option<&Become>, command: &str) -> Result<Exec, ExecError> {
        match escalate {
            None => self.start(login_line(command).into_bytes(), true).await,
            Some(other) => Box::pin(escalate::start(self, other, command, true)).await,
        }
    }

    pub(crate) async fn start(&self, line: Vec<u8>, terminal: bool) -> Result<Exec, ExecError> {
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

    /// A number that grows with each byte that its commands take or give, and while a copy works on files of this machine.
    /// As long as it stays the same nothing moves, in no direction.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Waits for work on this machine that belongs to a copy; meanwhile the copy counts as moving.
    pub async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(SIGN, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.moved.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    /// The processes that were started on this machine and run now; nothing for another machine, which knows them by
    /// their connection.
    pub(crate) fn running_here(&self) -> Option<Vec<i32>> {
        match &self.link {
            Link::Local(local) => Some(local.running()),
            Link::Native(_) | Link::OpenSsh(_) => None,
            #[cfg(feature = "memory")]
            Link::Memory(_) => None,
        }
    }

    /// Whether a refusal of sudo has told that it insists on a terminal.
    pub fn needs_terminal(&self) -> bool {
        self.needs_terminal.load(Ordering::Relaxed)
    }

    pub(crate) fn note_needs_terminal(&self) {
        self.needs_terminal.store(true, Ordering::Relaxed);
    }

    /// A byte stream from the host on to another address.
    pub(crate) async fn forward(
        &self,
        address: &str,
        port: u16,
        deadline: Duration,
    ) -> Result<Box<dyn Duplex>, ConnectError> {
        match &self.link {
            Link::Native(native) => native.forward(address, port, deadline).await,
            // A network in memory knows its jump hosts itself.
            _ => Err(ConnectError::new(
                Phase::Tcp,
                Class::ChannelRefused,
                "a jump host has to be reached by native SSH; name it in ssh's own configuration instead",
            )),
        }
    }

    /// Says goodbye, so that the host logs an orderly end, and cuts the connection.
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
