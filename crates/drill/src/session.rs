//! The SSH side of a connection: authentication, channels, commands, and their faults.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::watch;

use crate::cut::Cut;
use crate::{Call, ChannelIo, FaultKind, Host, Script};

/// When to release a stalled authentication, because the session does not notice that its client has left.
const LONGEST_STALL: Duration = Duration::from_mins(10);

/// How long a session still counts after its command has ended, if the number of sessions is limited: the time for the
/// end to be confirmed.
const CLOSING: Duration = Duration::from_millis(80);

/// Answers the requests of one connection.
pub(crate) struct Answers {
    pub(crate) host: Arc<Host>,
    pub(crate) client_key: Arc<PublicKey>,
    pub(crate) script: Arc<dyn Script>,
    pub(crate) cut: Cut,
    /// The number of this connection to the host, from 0.
    pub(crate) connection: u32,
    pub(crate) stop: watch::Receiver<bool>,
    /// Channels without a command yet.
    pub(crate) waiting: HashMap<ChannelId, Channel<Msg>>,
    /// Open channels: until their command has ended, or the client closes them.
    pub(crate) channels: Arc<Mutex<HashSet<ChannelId>>>,
}

// === impl Answers ===

impl Answers {
    fn open(&self) -> MutexGuard<'_, HashSet<ChannelId>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Option<FaultKind> {
        self.host.fault
    }

    fn judge(&self, key: &PublicKey) -> Auth {
        if key.key_data() == self.client_key.key_data() && self.fault() != Some(FaultKind::AuthFail) {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    async fn stall(&mut self) {
        self.host.exercise();
        tokio::select! {
            () = tokio::time::sleep(LONGEST_STALL) => {}
            _ = self.stop.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Whether this connection is one that breaks after authentication.
    fn breaks_here(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::Flap(times)) if self.connection < times && self.connection % 3 == 2)
    }
}

impl Handler for Answers {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        match self.fault() {
            Some(FaultKind::AuthStall) => self.stall().await,
            Some(FaultKind::AuthFail) => {
                self.host.exercise();
                return Ok(Auth::reject());
            }
            Some(FaultKind::Latency(milliseconds)) => {
                tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
            }
            _ => {}
        }
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), russh::Error> {
        if self.breaks_here() {
            self.host.exercise();
            self.cut.cut();
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let refused = match self.fault() {
            Some(FaultKind::ChannelRefused) => true,
            Some(FaultKind::MaxSessions(sessions)) => self.open().len() >= sessions as usize,
            _ => false,
        };
        if refused {
            self.host.exercise();
            // As sshd does, for any reason.
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        } else {
            self.open().insert(channel.id());
            self.waiting.insert(channel.id(), channel);
            reply.accept().await;
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.waiting.remove(&channel);
        self.open().remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        // As sshd does with variables that AcceptEnv does not list.
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.script.makes_terminals() {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.fault() == Some(FaultKind::ExecStall) {
            self.host.exercise();
            return Ok(());
        }
        let Some(open) = self.waiting.remove(&channel) else {
            return session.channel_failure(channel);
        };
        if self.fault() == Some(FaultKind::ExecRefused) {
            self.host.exercise();
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        let (read, write) = open.split();
        let call = Call {
            host: Arc::clone(&self.host),
            command: command.to_vec(),
            io: ChannelIo::new(read, write, session.handle(), self.cut.clone()),
        };
        let script = Arc::clone(&self.script);
        let fault = self.fault();
        let channels = Arc::clone(&self.channels);
        tokio::spawn(async move {
            match fault {
                Some(FaultKind::ForceCommand) => {
                    call.host.exercise();
                    // If the client has gone, there is nobody to answer.
                    let _ = force_command(call.io).await;
                }
                Some(FaultKind::LateExec(seconds)) => {
                    call.host.exercise();
                    // The client may have left by then; a real host starts the command anyway.
                    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                    script.run(call).await;
                }
                _ => script.run(call).await,
            }
            if let Some(FaultKind::MaxSessions(_)) = fault {
                tokio::time::sleep(CLOSING).await;
            }
            channels
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&channel);
        });
        Ok(())
    }
}

async fn force_command(io: ChannelIo) -> Result<(), crate::Gone> {
    io.stdout("This account is only for backups.\n").await?;
    io.exit(0).await
}
