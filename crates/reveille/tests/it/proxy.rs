//! A connection that can be cut and brought back: a TCP proxy in front of a server.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Passes connections on to a target until it is cut.
pub(crate) struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    open: Option<Open>,
}

struct Open {
    streams: Arc<Mutex<Vec<TcpStream>>>,
    listener: TcpListener,
    accepting: JoinHandle<()>,
}

// === impl Proxy ===

impl Proxy {
    pub(crate) fn to(target: SocketAddr) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, target)
    }

    /// Listens at an address of which no other test takes ports, so that a proxy that was cut can be restored.
    pub(crate) fn apart(target: SocketAddr) -> Self {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        Self::at(Ipv4Addr::new(127, 128 | high, middle, low), target)
    }

    fn at(address: Ipv4Addr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            target,
            open: Some(Open::new(listener, target)),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones are refused.
    pub(crate) fn cut(&mut self) {
        if let Some(open) = self.open.take() {
            open.close();
        }
    }

    pub(crate) fn restore(&mut self) {
        self.open = Some(Open::new(TcpListener::bind(self.address).unwrap(), self.target));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

// === impl Open ===

impl Open {
    fn new(listener: TcpListener, target: SocketAddr) -> Self {
        let streams = Arc::new(Mutex::new(Vec::new()));
        let accepting = std::thread::spawn({
            let (listener, streams) = (listener.try_clone().unwrap(), Arc::clone(&streams));
            move || {
                while let Ok((from, _)) = listener.accept() {
                    let Ok(to) = TcpStream::connect(target) else {
                        continue;
                    };
                    let clones =
                        |stream: &TcpStream| (stream.try_clone().unwrap(), stream.try_clone().unwrap());
                    let ((from_in, from_out), (to_in, to_out)) = (clones(&from), clones(&to));
                    streams
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend([from, to]);
                    std::thread::spawn(move || pass(from_in, to_out));
                    std::thread::spawn(move || pass(to_in, from_out));
                }
            }
        });
        Self {
            streams,
            listener,
            accepting,
        }
    }

    fn close(self) {
        // On Linux, `shutdown(2)` of a listening socket wakes the thread that accepts.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).unwrap();
        self.accepting.join().unwrap();
        for stream in self
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // In any case, the other direction is closed too.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
