//! A user's connections, and one exchange on them.
//!
//! A connection of HTTP/1.1 has no task of its own: whoever waits for an answer drives it. That saves a task, two wake-ups
//! a request, and while a user waits its connection costs a socket and hyper's buffer alone.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::net::{Failure, Net, Stream};
use super::target::Origin;
use crate::stats::{Kind, Phases};

/// The most of an answer that is kept for checks and captures.
pub(crate) const KEPT: usize = 1 << 20;

/// Origins that a user keeps connections to.
const MOST_ORIGINS: usize = 8;

/// The body of a request.
pub(crate) type Outgoing = Full<Bytes>;

/// One user's connections.
#[derive(Default)]
pub(crate) struct Client {
    connections: Vec<(Rc<Origin>, Connection)>,
}

enum Connection {
    One {
        sender: http1::SendRequest<Outgoing>,
        driver: Driver,
        used: bool,
    },
    Two {
        sender: http2::SendRequest<Outgoing>,
        used: bool,
    },
}

/// The connection proper; gone once it has ended.
struct Driver(Option<Pin<Box<One>>>);

type One = http1::Connection<TokioIo<Stream>, Outgoing>;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What was kept of the body.
    pub(crate) body: Vec<u8>,
    /// Bytes of the body, as they came.
    pub(crate) bytes: u64,
    /// Whether `body` is all of it.
    pub(crate) whole: bool,
}

/// How far an exchange has come, for the kind of a time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    Waiting,
    Reading,
}

/// What an exchange tells while it goes on.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    pub(crate) phases: Phases,
    pub(crate) connected: Option<Phases>,
    pub(crate) resent: bool,
    pub(crate) bytes: u64,
}

// === impl Driver ===

impl Driver {
    /// Moves the connection on.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(context).is_ready()
        {
            // Its error, if any, reaches the request that waits.
            self.0 = None;
        }
    }
}

// === impl Client ===

impl Client {
    /// Closes everything.
    pub(crate) fn close(&mut self) {
        self.connections.clear();
    }

    /// Sends a request and reads its answer; `keep` says whether the body is needed, `idempotent`
    /// whether it may be sent again although the server may have seen it.
    pub(crate) async fn exchange(
        &mut self,
        net: &Net,
        origin: &Rc<Origin>,
        make: &dyn Fn(bool) -> Request<Outgoing>,
        keep: bool,
        idempotent: bool,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        loop {
            let connection = self.connection(net, origin, progress).await?;
            let used = connection.used();
            progress.stage = Stage::Waiting;
            let sent = Instant::now();
            let request = make(connection.is_two());
            let answered = match connection {
                Connection::One { sender, driver, .. } => one(sender, driver, request).await,
                Connection::Two { sender, .. } => sender.send_request(request).await,
            };
            match answered {
                Ok(response) => {
                    progress.phases.first_byte = Some(sent.elapsed());
                    progress.stage = Stage::Reading;
                    let read = self.read(net, origin, response, keep, progress).await;
                    if read.is_err() || !net.http.keep_alive {
                        self.forget(origin);
                    }
                    return read;
                }
                Err(error) => {
                    let canceled = error.is_canceled();
                    let failure = Failure::of(&error, Kind::Closed);
                    self.forget(origin);
                    // A kept connection that the server closed before it saw the request: what browsers do as well.
                    let gone = matches!(failure.kind, Kind::Closed | Kind::Reset);
                    if !(used && gone && (idempotent || canceled)) || progress.resent {
                        return Err(failure);
                    }
                }
            }
            progress.resent = true;
        }
    }

    /// A connection that is open and ready, an old or a new one.
    async fn connection(
        &mut self,
        net: &Net,
        origin: &Rc<Origin>,
        progress: &mut Progress,
    ) -> Result<&mut Connection, Failure> {
        let found = self
            .connections
            .iter()
            .position(|(of, _)| Rc::ptr_eq(of, origin) || of == origin);
        if let Some(at) = found {
            if self.connections[at].1.ready().await {
                return Ok(&mut self.connections[at].1);
            }
            self.connections.swap_remove(at);
        }
        progress.stage = Stage::Connecting;
        // Boxed: a request on a connection that is there does not need the room.
        let (connection, phases) = Box::pin(Connection::open(net, origin)).await?;
        progress.connected = Some(phases);
        if self.connections.len() == MOST_ORIGINS {
            self.connections.remove(0);
        }
        self.connections.push((Rc::clone(origin), connection));
        let last = self.connections.len() - 1;
        Ok(&mut self.connections[last].1)
    }

    fn forget(&mut self, origin: &Rc<Origin>) {
        self.connections.retain(|(of, _)| of != origin);
    }

    async fn read(
        &mut self,
        net: &Net,
        origin: &Rc<Origin>,
        response: Response<Incoming>,
        keep: bool,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let (head, mut body) = response.into_parts();
        let mut kept = Vec::new();
        let mut whole = true;
        let connection = self.connections.iter_mut().find(|(of, _)| of == origin);
        let mut driver = match connection {
            Some((_, connection)) => {
                connection.set_used();
                connection.driver()
            }
            None => None,
        };
        let mut bytes = 0u64;
        while !body.is_end_stream() {
            let frame = poll_fn(|context| {
                if let Some(driver) = driver.as_deref_mut() {
                    driver.drive(context);
                }
                Pin::new(&mut body).poll_frame(context)
            });
            let Some(frame) = frame.await else { break };
            let frame = frame.map_err(|error| Failure::of(&error, Kind::Incomplete))?;
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len() as u64;
            progress.bytes = bytes;
            if bytes > net.http.max_body {
                return Err(Failure::new(
                    Kind::TooLarge,
                    format!("more than {} bytes came", net.http.max_body),
                ));
            }
            if keep {
                let room = KEPT - kept.len();
                whole &= data.len() <= room;
                kept.extend_from_slice(&data[..data.len().min(room)]);
            }
            if let Some(bandwidth) = net.http.network.bandwidth {
                let due = Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64);
                tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
            }
        }
        progress.phases.body = Some(started.elapsed());
        if keep {
            kept = opened(&head.headers, kept)?;
        }
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: kept,
            bytes,
            whole,
        })
    }
}

/// One request on a connection that nobody else drives.
async fn one(
    sender: &mut http1::SendRequest<Outgoing>,
    driver: &mut Driver,
    request: Request<Outgoing>,
) -> hyper::Result<Response<Incoming>> {
    let mut response = pin!(sender.send_request(request));
    poll_fn(|context| {
        driver.drive(context);
        response.as_mut().poll(context)
    })
    .await
}

/// A body as it was before it was compressed.
fn opened(headers: &HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map(hyper::header::HeaderValue::as_bytes);
    let mut opened = Vec::new();
    let limit = KEPT as u64;
    let read = match encoding {
        Some(b"gzip") => flate2::read::MultiGzDecoder::new(&*body)
            .take(limit)
            .read_to_end(&mut opened),
        Some(b"deflate") => flate2::read::ZlibDecoder::new(&*body)
            .take(limit)
            .read_to_end(&mut opened),
        _ => return Ok(body),
    };
    read.map_err(|error| {
        Failure::new(
            Kind::Protocol,
            format!("the compressed body can't be opened: {error}"),
        )
    })?;
    Ok(opened)
}

// === impl Connection ===

impl Connection {
    async fn open(net: &Net, origin: &Origin) -> Result<(Self, Phases), Failure> {
        let mut phases = Phases::default();
        let (stream, two) = net.connect(origin, &mut phases).await?;
        let failed = |error: hyper::Error| Failure::of(&error, Kind::Closed);
        let io = TokioIo::new(stream);
        if two {
            let (sender, connection) = http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
                .await
                .map_err(failed)?;
            tokio::task::spawn_local(connection);
            Ok((Connection::Two { sender, used: false }, phases))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
            let connection = Connection::One {
                sender,
                driver: Driver(Some(Box::pin(connection))),
                used: false,
            };
            Ok((connection, phases))
        }
    }

    /// Whether a request can be sent on it.
    async fn ready(&mut self) -> bool {
        match self {
            Connection::One { sender, driver, .. } => {
                poll_fn(|context| {
                    driver.drive(context);
                    if driver.0.is_none() {
                        return Poll::Ready(false);
                    }
                    sender.poll_ready(context).map(|ready| ready.is_ok())
                })
                .await
            }
            Connection::Two { sender, .. } => sender.ready().await.is_ok(),
        }
    }

    fn is_two(&self) -> bool {
        matches!(self, Connection::Two { .. })
    }

    fn used(&self) -> bool {
        let (Connection::One { used, .. } | Connection::Two { used, .. }) = self;
        *used
    }

    fn set_used(&mut self) {
        let (Connection::One { used, .. } | Connection::Two { used, .. }) = self;
        *used = true;
    }

    fn driver(&mut self) -> Option<&mut Driver> {
        match self {
            Connection::One { driver, .. } => Some(driver),
            Connection::Two { .. } => None,
        }
    }
}

// === impl Progress ===

impl Default for Progress {
    fn default() -> Self {
        Self {
            stage: Stage::Connecting,
            phases: Phases::default(),
            connected: None,
            resent: false,
            bytes: 0,
        }
    }
}
