//! SSH in this process. Everything about russh is here.

mod authenticate;
pub(crate) mod config;
pub(crate) mod dial;
mod handler;
pub(crate) mod handshake;
mod publickey;
mod signer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reveille_account::{Class, Phase};
use reveille_text::duration;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Pty};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use self::handler::{Handler, Report};
use crate::error::{ConnectError, ExecError};
use crate::exec::Exec;
use crate::session::Session;
use crate::wire::Switch;

/// How long to wait until a host accepts our disconnect message.
const GOODBYE: Duration = Duration::from_secs(1);

/// The waits before asking again for a session when `MaxSessions` is reached: a host needs a moment to release the
/// previous session.
const SLOT_WAITS: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
];

/// Terminal modes that pass all bytes through unchanged. Special characters are disabled (255).
const PLAIN_TERMINAL: [(Pty, u32); 17] = [
    (Pty::ECHO, 0),
    (Pty::ECHONL, 0),
    (Pty::ISIG, 0),
    (Pty::IEXTEN, 0),
    (Pty::ICRNL, 0),
    (Pty::INLCR, 0),
    (Pty::IXON, 0),
    (Pty::OPOST, 0),
    (Pty::ONLCR, 0),
    (Pty::VINTR, 255),
    (Pty::VQUIT, 255),
    (Pty::VERASE, 255),
    (Pty::VKILL, 255),
    (Pty::VEOF, 255),
    (Pty::VSUSP, 255),
    (Pty::VLNEXT, 255),
    (Pty::VWERASE, 255),
];

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Cuts a connection when dropped.
struct Guard(Switch);

/// An authenticated connection, which is cut when dropped.
pub(crate) struct Native {
    // Dropped first.
    _guard: Guard,
    handle: Handle<Handler>,
    report: Arc<Report>,
    // Dropped after the connection that runs through it.
    jump: Option<Box<Session>>,
    /// Whether a session channel was opened before.
    used: AtomicBool,
    /// Do not offer passwords: this process sees the host's key for the first time.
    keeps_back: bool,
}

// === impl Native ===

impl Native {
    pub(crate) fn keeps_passwords_back(&self) -> bool {
        self.keeps_back
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    pub(crate) fn took_password(&self) -> bool {
        self.report.password_was_sent()
    }

    pub(crate) fn why_closed(&self) -> String {
        if let Some(said) = self.report.said() {
            return said;
        }
        match &self.jump {
            Some(jump) if jump.is_closed() => {
                format!("the connection to its jump host was lost: {}", jump.why_closed())
            }
            _ => "the connection was closed".to_owned(),
        }
    }

    pub(crate) async fn exec(
        &self,
        command: Vec<u8>,
        terminal: bool,
        deadline: Duration,
    ) -> Result<Exec, ExecError> {
        let channel = self.open(deadline).await?;
        match timeout(deadline, start(channel, command, terminal)).await {
            Ok(result) => result.map_err(|error| match error {
                ExecError::Unanswered(_) => ExecError::Unanswered(self.why_closed()),
                other => other,
            }),
            Err(_) => Err(ExecError::Unanswered(format!(
                "no reply within {}",
                duration::shown(deadline)
            ))),
        }
    }

    /// Opens a session channel. If all sessions are in use, the host may just not have noticed the end of one.
    async fn open(&self, deadline: Duration) -> Result<Channel<Msg>, ExecError> {
        let refused = |message: String| Err(ExecError::refused(Class::ChannelRefused, message));
        let used = self.used.swap(true, Ordering::Relaxed);
        let mut waits = SLOT_WAITS.iter().filter(|_| used);
        loop {
            match timeout(deadline, self.handle.channel_open_session()).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                    let full = matches!(why, ChannelOpenFailure::ConnectFailed);
                    let Some(wait) = waits.next().filter(|_| full) else {
                        return refused(format!(
                            "the host refused to open a session: {}",
                            open_failure(&why)
                        ));
                    };
                    tokio::time::sleep(*wait).await;
                }
                Ok(Err(_)) => return Err(ExecError::NotSent(self.why_closed())),
                Err(_) => {
                    return refused(format!(
                        "the host did not open a session within {}",
                        duration::shown(deadline)
                    ));
                }
            }
        }
    }

    /// Opens a byte stream from the host to another address.
    pub(crate) async fn forward(
        &self,
        address: &str,
        port: u16,
        deadline: Duration,
    ) -> Result<Box<dyn Duplex>, ConnectError> {
        let failed = |class, message| ConnectError::new(Phase::Tcp, class, message);
        match timeout(
            deadline,
            self.handle
                .channel_open_direct_tcpip(address, port.into(), "127.0.0.1", 0),
        )
        .await
        {
            Ok(Ok(channel)) => Ok(Box::new(channel.into_stream())),
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => Err(failed(
                Class::ConnectRefused,
                format!("it can't connect to {address}:{port}"),
            )),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                let message = format!(
                    "it refused to forward to {address}:{port}: {}",
                    open_failure(&why)
                );
                Err(failed(Class::ChannelRefused, message))
            }
            Ok(Err(_)) => Err(failed(Class::SshInitiatedFailed, self.why_closed())),
            Err(_) => Err(failed(
                Class::ConnectTimeout,
                format!(
                    "no answer from {address}:{port} within {}",
                    duration::shown(deadline)
                ),
            )),
        }
    }

    /// Disconnects, so that the host logs an orderly end.
    pub(crate) async fn close(self) {
        let goodbye = self.handle.disconnect(russh::Disconnect::ByApplication, "", "");
        // The connection is cut even if the host does not accept this.
        let _ = timeout(GOODBYE, goodbye).await;
        tokio::task::yield_now().await;
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.cut();
    }
}

async fn start(channel: Channel<Msg>, command: Vec<u8>, terminal: bool) -> Result<Exec, ExecError> {
    if terminal {
        // Requests no reply: if the host refuses the terminal, the command will show it.
        let asking = channel.request_pty(false, "dumb", 80, 24, 0, 0, &PLAIN_TERMINAL);
        asking.await.map_err(|_| ExecError::Unanswered(String::new()))?;
    }
    Exec::on_channel(channel, command, terminal).await
}

fn open_failure(why: &ChannelOpenFailure) -> String {
    let words = match why {
        ChannelOpenFailure::AdministrativelyProhibited => "administratively prohibited",
        ChannelOpenFailure::ConnectFailed => "connect failed",
        ChannelOpenFailure::UnknownChannelType => "unknown channel type",
        ChannelOpenFailure::ResourceShortage => "resource shortage",
        ChannelOpenFailure::Other { code, .. } => return format!("code {code}"),
    };
    words.to_owned()
}
