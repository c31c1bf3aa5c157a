//! Threads that answer. Each has a runtime of its own and keeps its connections, so that a request never moves between
//! processors and takes no lock.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::listen::{Listener, Stream};
use super::service;
use super::shared::{Shared, stop_requested};
use super::tls::Tls;
use super::write_timeout::WriteTimeout;

/// A client's connection is closed after this time without a request, without the rest of a request, or if the client
/// does not read its answers.
const SILENCE: Duration = Duration::from_secs(30);

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a thread may take to cut off its connections.
const CUTTING: Duration = Duration::from_secs(1);

/// Longest head of a request. Clients may fill it on all connections without ever finishing.
const HEAD: usize = 16 << 10;

/// Most headers of a request.
const HEADERS: usize = 64;

/// The threads.
#[derive(Debug)]
pub(super) struct Workers {
    sender: Sender,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Gives connections to workers in turn.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    queues: Arc<[mpsc::UnboundedSender<Accepted>]>,
    next: Arc<AtomicUsize>,
}

/// A connection, and its place among the allowed ones.
#[derive(Debug)]
struct Accepted {
    stream: Stream,
    place: OwnedSemaphorePermit,
}

// === impl Workers ===

impl Workers {
    pub(super) fn start(
        number: NonZeroUsize,
        shared: &Arc<Shared>,
        tls: Option<&Arc<Tls>>,
        grace: Duration,
        stopped: &watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for worker in 0..number.get() {
            // It is never longer than the number of allowed connections.
            let (queue, accepted) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (shared, tls, stopped) = (Arc::clone(shared), tls.cloned(), stopped.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{worker}"))
                .spawn(move || runtime.block_on(work(accepted, shared, tls, grace, stopped)))?;
            queues.push(queue);
            threads.push(thread);
        }
        let sender = Sender {
            queues: queues.into(),
            next: Arc::default(),
        };
        Ok(Self { sender, threads })
    }

    pub(super) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Waits for the threads, which cut off requests in progress after the grace.
    pub(super) async fn end(self, grace: Duration) {
        drop(self.sender);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // The panic hook has reported a panic.
                let _ = thread.join();
            }
        });
        // A thread that does not do that ends with the process.
        let _ = tokio::time::timeout(grace + CUTTING, joined).await;
    }
}

// === impl Sender ===

impl Sender {
    /// Accepts connections until the server stops.
    pub(super) async fn accept(
        self,
        listener: Listener,
        places: Arc<Semaphore>,
        shared: Arc<Shared>,
        mut stopped: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop_requested(&mut stopped) => return,
                accepted = listener.next(&places) => accepted,
            };
            let Some((place, stream)) = accepted else { return };
            shared.metrics.connection();
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
            // Workers end only together.
            let _ = self.queues[turn].send(Accepted { stream, place });
        }
    }
}

async fn work(
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
    grace: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            connection = accepted.recv() => {
                let Some(connection) = connection else { break };
                connections.spawn(connect(connection, Arc::clone(&shared), tls.clone(), stopped.clone()));
            }
            Some(_) = connections.join_next() => {}
            () = stop_requested(&mut stopped) => break,
        }
    }
    // The limit for a client that does not read its answer.
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(grace, ended).await;
}

async fn connect(
    accepted: Accepted,
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
    stopped: watch::Receiver<bool>,
) {
    let Accepted { stream, place } = accepted;
    let peer = stream.peer();
    let served = async {
        match stream {
            Stream::Tcp(stream, _) => {
                stream.set_nodelay(true)?;
                // A client may send requests and never read.
                rustix::net::sockopt::set_tcp_user_timeout(&stream, millis(SILENCE))?;
                let stream = tokio::net::TcpStream::from_std(stream)?;
                match tls {
                    None => serve(stream, peer, shared, stopped).await,
                    Some(tls) => {
                        let stream = tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await??;
                        serve(stream, peer, shared, stopped).await;
                    }
                }
            }
            Stream::Unix(stream) => {
                let stream = tokio::net::UnixStream::from_std(stream)?;
                let stream = WriteTimeout::new(stream, SILENCE);
                serve(stream, peer, shared, stopped).await;
            }
        }
        io::Result::Ok(())
    };
    if let Err(error) = served.await {
        tracing::debug!("connection from {peer}: {error}");
    }
    drop(place);
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: std::net::IpAddr,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(|request| {
        let response = service::respond(&request, peer, &shared);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop_requested(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection from {peer}: {error}");
    }
}
