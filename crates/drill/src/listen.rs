//! The listening socket, and faults of connections before SSH starts.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{Config, run_stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cut::Cut;
use crate::host;
use crate::keys::{Whose, host_key};
use crate::session::Answers;
use crate::wire::Wire;
use crate::{FaultKind, Host, Script};

/// The identification that a host sends.
pub(crate) const IDENTIFICATION: &str = "SSH-2.0-OpenSSH_9.6p1";

/// The pause after a failure to accept a connection, usually for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How many lines of an endless greeting to send at once: more than a client accepts, so it need not wait.
const LINES: usize = 256;

/// The pause after these lines.
const LINE_PAUSE: Duration = Duration::from_millis(50);

/// The backlog of a host with its own listener.
pub(crate) const BACKLOG_ALONE: u32 = 64;

/// The state that all connections share.
pub(crate) struct Service {
    pub(crate) hosts: Vec<Arc<Host>>,
    pub(crate) seed: u64,
    pub(crate) key_per_host: bool,
    pub(crate) config: Arc<Config>,
    pub(crate) changed: Arc<Config>,
    /// Creates the configuration of a host with its own key.
    pub(crate) make_config: fn(russh::keys::PrivateKey) -> Config,
    pub(crate) client_key: Arc<PublicKey>,
    pub(crate) script: Arc<dyn Script>,
    pub(crate) stop: watch::Receiver<bool>,
}

// === impl Service ===

impl Service {
    /// Accepts connections until the fleet stops.
    pub(crate) async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(host) = self.host_of(&stream, peer) {
                        tokio::spawn(Arc::clone(&self).serve(stream, host));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the drill can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The host of a connection; none if one end is not on the loopback network.
    fn host_of(&self, stream: &TcpStream, peer: SocketAddr) -> Option<Arc<Host>> {
        match (stream.local_addr().ok()?.ip(), peer.ip()) {
            (IpAddr::V4(local), IpAddr::V4(peer)) if local.is_loopback() && peer.is_loopback() => {
                let index = usize::try_from(host::index(local)?).ok()?;
                self.hosts.get(index).cloned()
            }
            _ => None,
        }
    }

    /// Accepts the connections of one host at its own address, which refuses them while the host is down.
    pub(crate) async fn listen_alone(
        self: Arc<Self>,
        mut listener: TcpListener,
        host: Arc<Host>,
    ) -> io::Result<()> {
        let address = listener.local_addr()?;
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => Some(accepted),
                () = host.went_down.notified() => None,
                _ = stop.wait_for(|stopped| *stopped) => return Ok(()),
            };
            let Some(accepted) = accepted else {
                drop(listener);
                // Bound, so that no other process can take it, but not listening.
                let socket = bind(address)?;
                let back = host.away().unwrap_or_else(Instant::now);
                tokio::select! {
                    () = tokio::time::sleep_until(back) => {}
                    _ = stop.wait_for(|stopped| *stopped) => return Ok(()),
                }
                listener = socket.listen(BACKLOG_ALONE)?;
                continue;
            };
            match accepted {
                Ok((stream, peer)) if peer.ip().is_loopback() => {
                    tokio::spawn(Arc::clone(&self).serve(stream, Arc::clone(&host)));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the drill can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, host: Arc<Host>) {
        let mut stop = self.stop.clone();
        let cut = Cut::default();
        let connection = host.connected(&cut);
        tokio::select! {
            result = self.answer(stream, &host, connection, cut.clone()) => {
                if let Err(error) = result {
                    tracing::debug!(host = %host.name, %error, "a connection of the drill ended");
                }
            }
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        cut.cut();
        host.disconnected(&cut);
    }

    async fn answer(
        &self,
        mut stream: TcpStream,
        host: &Arc<Host>,
        connection: u32,
        cut: Cut,
    ) -> Result<(), russh::Error> {
        stream.set_nodelay(true)?;
        match before_ssh(&mut stream, host, connection).await? {
            Next::Ssh => {}
            Next::Close => return Ok(()),
            Next::Reset => {
                // Reset the connection instead of closing it.
                stream.set_zero_linger()?;
                return Ok(());
            }
        }
        let config = match host.fault {
            Some(FaultKind::HostKeyChanged) => {
                host.exercise();
                Arc::clone(&self.changed)
            }
            Some(FaultKind::Replaced(from)) if connection + 1 >= from => {
                host.exercise();
                host.replace();
                Arc::clone(&self.changed)
            }
            _ if self.key_per_host => {
                let key = host_key(self.seed, Whose::Host(host.index));
                Arc::new((self.make_config)(key))
            }
            _ => Arc::clone(&self.config),
        };
        let answers = Answers {
            host: Arc::clone(host),
            client_key: Arc::clone(&self.client_key),
            script: Arc::clone(&self.script),
            cut: cut.clone(),
            connection,
            stop: self.stop.clone(),
            waiting: HashMap::new(),
            channels: Arc::default(),
        };
        run_stream(config, Wire::new(stream, cut, Arc::clone(host)), answers)
            .await?
            .await
    }
}

/// The next step of a connection.
enum Next {
    Ssh,
    Close,
    Reset,
}

/// What a host plays before SSH starts.
enum Play<'a> {
    Reset,
    /// Sends these bytes and closes the connection.
    Refuse(&'static [u8]),
    /// Sends these bytes and waits until the client gives up.
    Stall(&'a [u8]),
    /// Closes the connection after both identifications.
    Leave,
    Greet(u32),
    GreetForever,
}

/// Plays faults before SSH starts.
async fn before_ssh(stream: &mut TcpStream, host: &Host, connection: u32) -> io::Result<Next> {
    if host.away().is_some() {
        return Ok(Next::Reset);
    }
    let Some(fault) = host.fault else {
        return Ok(Next::Ssh);
    };
    let identification = format!("{IDENTIFICATION}\r\n").into_bytes();
    let play = match fault {
        FaultKind::ResetOnAccept => Play::Reset,
        FaultKind::ExceededStartups(times) if connection < times => Play::Refuse(b"Exceeded MaxStartups\r\n"),
        FaultKind::Penalties(seconds) if connection == 0 => {
            host.penalise(Duration::from_secs(seconds.into()));
            Play::Leave
        }
        // Since version 9.8, sshd sends this for every reason to turn a connection away.
        FaultKind::Penalties(_) if host.penalises() => Play::Refuse(b"Not allowed at this time\r\n"),
        FaultKind::BannerStall => Play::Stall(b""),
        FaultKind::PrebannerLines(lines) => Play::Greet(lines),
        FaultKind::PrebannerEndless => Play::GreetForever,
        FaultKind::GarbageBanner => Play::Refuse(
            b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n\
              Connection: close\r\n\r\n<html><h1>400 Bad Request</h1></html>\r\n",
        ),
        FaultKind::KexStall => Play::Stall(&identification),
        FaultKind::StallOnce(times) if connection < times => Play::Stall(&identification),
        FaultKind::Flap(times) if connection < times && connection.is_multiple_of(3) => Play::Reset,
        FaultKind::Flap(times) if connection < times && connection % 3 == 1 => Play::Leave,
        FaultKind::Latency(milliseconds) => {
            tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
            return Ok(Next::Ssh);
        }
        _ => return Ok(Next::Ssh),
    };
    host.exercise();
    match play {
        Play::Reset => return Ok(Next::Reset),
        Play::Refuse(words) => {
            stream.write_all(words).await?;
            stream.shutdown().await?;
            // Unlike sshd, a web server reads what the client sends.
            if fault == FaultKind::GarbageBanner {
                until_closed(stream).await?;
            }
        }
        Play::Stall(words) => {
            stream.write_all(words).await?;
            until_closed(stream).await?;
        }
        Play::Leave => {
            stream.write_all(&identification).await?;
            // Read the client's identification, so that the connection closes orderly.
            let _ = stream.read(&mut [0; 256]).await?;
        }
        Play::Greet(lines) => {
            for line in 1..=lines {
                let greeting = format!("Welcome to {}, notice {line} of {lines}\r\n", host.name);
                stream.write_all(greeting.as_bytes()).await?;
            }
            return Ok(Next::Ssh);
        }
        Play::GreetForever => {
            let lines = b"Please stand by\r\n".repeat(LINES);
            loop {
                stream.write_all(&lines).await?;
                tokio::time::sleep(LINE_PAUSE).await;
            }
        }
    }
    Ok(Next::Close)
}

/// A socket for a host with its own listener.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the previous boot may still use the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Reads without answering until the client gives up.
async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
