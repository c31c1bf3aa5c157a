//! Addresses, and the sockets on them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::start_error::StartError;

/// Where to listen: `ADDRESS:PORT`, or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Who may connect to a socket in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everybody on this machine, because the web server in front runs as another user.
    Clients,
    /// The owner and the group, because whoever connects may start a reload.
    Administrators,
}

/// The text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address to listen on; write 127.0.0.1:3000, [::]:3000 or unix:/run/mirrorlist.sock")]
pub struct AddressError;

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
    /// A Unix socket of our own, which is removed at the end.
    Made(tokio::net::UnixListener, PathBuf),
}

/// An accepted connection, without a runtime.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Pause after an error of `accept`, such as too many open files.
const AGAIN: Duration = Duration::from_millis(50);

/// Connections that wait to be accepted, because thousands of clients may come in the same second.
const BACKLOG: u32 = 4096;

// === impl Address ===

impl Address {
    pub(super) fn listen(&self, audience: Audience) -> Result<Listener, StartError> {
        let listener = match self {
            Self::Ip(address) => tcp(*address).map(Listener::Tcp),
            Self::Unix(path) => unix(path, audience).map(|listener| Listener::Made(listener, path.clone())),
        };
        listener.map_err(|error| StartError::Listen {
            address: self.to_string(),
            hint: self.hint(error.kind()),
            error,
        })
    }

    fn hint(&self, error: io::ErrorKind) -> &'static str {
        match (self, error) {
            (Self::Ip(_), io::ErrorKind::AddrInUse) => {
                "; is another server running there? `ss -ltnp` shows it"
            }
            (Self::Ip(_), io::ErrorKind::PermissionDenied) => {
                "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
            }
            (Self::Unix(_), io::ErrorKind::AddrInUse) => {
                "; another server listens there (`ss -lxp` shows it), or the file is not a socket"
            }
            (Self::Unix(_), io::ErrorKind::PermissionDenied) => {
                "; this user must be able to write to the directory"
            }
            (Self::Unix(_), io::ErrorKind::NotFound) => "; its directory must exist",
            _ => "",
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AddressError),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Ip).map_err(|_| AddressError),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

// === impl Listener ===

impl Listener {
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) | Self::Made(..) => None,
        }
    }

    /// The path of a Unix socket.
    pub(super) fn local_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) | Self::Made(listener, _) => {
                Some(listener.local_addr().ok()?.as_pathname()?.to_owned())
            }
        }
    }

    /// The next connection, once there is a place for it. None if there are no places any more.
    pub(super) async fn next(&self, places: &Arc<Semaphore>) -> Option<(OwnedSemaphorePermit, Stream)> {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match self.accept().await {
                Ok(stream) => return Some((place, stream)),
                Err(error) => {
                    tracing::warn!("can't accept a connection: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::Tcp(stream.into_std()?, peer))
            }
            Self::Unix(listener) | Self::Made(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream::Unix(stream.into_std()?))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Made(_, path) = self {
            // It may have been removed already.
            let _ = std::fs::remove_file(path);
        }
    }
}

// === impl Stream ===

impl Stream {
    /// The address of the other end. Who connects to a Unix socket is on this machine.
    pub(super) fn peer(&self) -> IpAddr {
        match self {
            Self::Tcp(_, peer) => peer.ip().to_canonical(),
            Self::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// The sockets that systemd passed, of either kind.
pub(super) fn inherited() -> Result<Vec<Listener>, StartError> {
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for place in 0..descriptors.len() {
        let listener = match descriptors.take_tcp_listener(place) {
            Ok(Some(listener)) => {
                listener.set_nonblocking(true)?;
                Listener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Ok(None) => continue,
            Err(_) => match descriptors.take_unix_listener(place)? {
                Some(listener) => {
                    listener.set_nonblocking(true)?;
                    Listener::Unix(tokio::net::UnixListener::from_std(listener)?)
                }
                None => continue,
            },
        };
        listeners.push(listener);
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()
    } else {
        tokio::net::TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn unix(path: &Path, audience: Audience) -> io::Result<tokio::net::UnixListener> {
    // Remove a socket that an earlier server left behind, but nothing else.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    let mode = match audience {
        Audience::Clients => 0o666,
        Audience::Administrators => 0o660,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file gets the mode of the socket, so that it is never open to others, not even for a moment.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // The umask may have removed permissions.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    net::listen(&socket, BACKLOG.cast_signed())?;
    tokio::net::UnixListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in ["127.0.0.1:3000", "[::]:3000", "unix:/run/mirrorlist.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "3000", "localhost:3000", "unix:"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}
