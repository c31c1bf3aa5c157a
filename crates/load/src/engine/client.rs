//! A user's connections, and the exchange of a request and its answer on them.
//!
//! An HTTP/1.1 connection has no task of its own: the user that waits for the answer drives it. That saves a task and two
//! wake-ups for each request, and the connection of a waiting user takes no more than a socket.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use reveille_text::{Bytes, duration};

use super::net::Net;
use super::request::Prepared;
use super::stream::Failure;
use super::{http1, http2};
use crate::stats::{Kind, Phases};
use crate::target::Origin;

/// The bytes of an answer's body that are kept for checks and captures.
pub(crate) const KEPT: usize = 1 << 20;

/// The most origins that a user keeps connections to.
const MOST_ORIGINS: usize = 8;

/// One user's connections.
#[derive(Default)]
pub(crate) struct Client {
    connections: Vec<Open>,
}

/// A connection that has not ended, as far as is known.
struct Open {
    origin: Rc<Origin>,
    /// Whether it has brought an answer.
    used: bool,
    connection: Connection,
}

enum Connection {
    One(http1::Connection),
    Two(http2::Connection),
}

/// A request, and what depends on the user.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) request: &'a Prepared,
    pub(crate) cookie: Option<&'a str>,
    /// Whether the body is checked or captured from.
    pub(crate) keep: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The part of the body that was kept.
    pub(crate) body: Vec<u8>,
    /// Bytes of the body that were received.
    pub(crate) bytes: u64,
    /// Whether `body` is all of it.
    pub(crate) whole: bool,
}

/// What an exchange waits for; decides the kind of a time-out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Connecting,
    Waiting,
    Reading,
}

/// The state of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    pub(crate) phases: Phases,
    pub(crate) connected: Option<Phases>,
    pub(crate) resent: bool,
    pub(crate) bytes: u64,
}

/// Why there is no answer.
struct Lost {
    failure: Failure,
    /// Whether the service can have seen the request.
    seen: bool,
}

/// A body that is being received.
struct Content {
    keep: bool,
    kept: Vec<u8>,
    bytes: u64,
    whole: bool,
}

// === impl Client ===

impl Client {
    /// Closes everything.
    pub(crate) fn close(&mut self) {
        self.connections.clear();
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn exchange(
        &mut self,
        net: &Net,
        sent: Sent<'_>,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        let origin = &sent.request.target.origin;
        loop {
            let open = self.connection(net, origin, progress).await?;
            let used = open.used;
            progress.stage = Stage::Waiting;
            let answered = match &mut open.connection {
                Connection::One(connection) => one(connection, net, sent, progress).await,
                Connection::Two(connection) => two(connection, net, sent, progress).await,
            };
            match answered {
                Ok((answer, keeps)) => {
                    open.used = true;
                    if !keeps || !net.http.keep_alive {
                        self.forget(origin);
                    }
                    return answer.opened();
                }
                Err(Lost { failure, seen }) => {
                    self.forget(origin);
                    // The server closed a kept connection before it saw the request. Browsers send it again, too.
                    let gone = matches!(failure.kind, Kind::Closed | Kind::Reset);
                    if !(used && gone && (sent.request.is_idempotent() || !seen)) || progress.resent {
                        return Err(failure);
                    }
                }
            }
            progress.resent = true;
        }
    }

    /// A connection that is ready, kept or new.
    async fn connection(
        &mut self,
        net: &Net,
        origin: &Rc<Origin>,
        progress: &mut Progress,
    ) -> Result<&mut Open, Failure> {
        let found = self
            .connections
            .iter()
            .position(|open| Rc::ptr_eq(&open.origin, origin) || open.origin == *origin);
        if let Some(at) = found {
            let ready = match &mut self.connections[at].connection {
                Connection::One(connection) => connection.is_idle().await,
                Connection::Two(connection) => connection.is_ready().await,
            };
            if ready {
                return Ok(&mut self.connections[at]);
            }
            self.connections.swap_remove(at);
        }
        progress.stage = Stage::Connecting;
        // Boxed, because a request on a kept connection does not need the memory.
        let (connection, phases) = Box::pin(Connection::open(net, origin)).await?;
        progress.connected = Some(phases);
        if self.connections.len() == MOST_ORIGINS {
            self.connections.remove(0);
        }
        // Most users have one origin.
        self.connections.reserve_exact(1);
        self.connections.push(Open {
            origin: Rc::clone(origin),
            used: false,
            connection,
        });
        let last = self.connections.len() - 1;
        Ok(&mut self.connections[last])
    }

    fn forget(&mut self, origin: &Rc<Origin>) {
        self.connections.retain(|open| open.origin != *origin);
    }
}

/// An exchange in HTTP/1.1. Returns whether the connection can be used again.
async fn one(
    connection: &mut http1::Connection,
    net: &Net,
    sent: Sent<'_>,
    progress: &mut Progress,
) -> Result<(Answer, bool), Lost> {
    let request = sent.request.wire(net);
    let network = &net.http.network;
    let most = network.bandwidth.map(piece);
    let began = Instant::now();
    net.line(request.length()).await;
    let mut content = Content::new(sent.keep);
    let mut exchange = connection.begin(&net.buffers, request, sent.cookie, most);
    let mut headed = began;
    while !exchange.is_done() {
        let (from, limit) = match progress.stage {
            Stage::Reading => (headed, net.http.body_timeout),
            _ => (began, net.http.first_byte_timeout),
        };
        let mut sink = |bytes: &[u8]| content.add(bytes);
        let advanced = within(from, limit, progress.stage, exchange.advance(&mut sink)).await;
        if progress.stage == Stage::Waiting && exchange.head().is_some() {
            headed = Instant::now();
            progress.phases.first_byte = Some(headed - began);
            progress.stage = Stage::Reading;
        }
        progress.bytes = content.bytes;
        advanced
            .and_then(|()| content.check(net))
            .map_err(|failure| Lost {
                failure,
                seen: exchange.was_sent(),
            })?;
        net.shape(content.bytes, headed).await;
    }
    progress.phases.body = Some(headed.elapsed());
    let keeps = exchange.keeps();
    let Some(head) = exchange.into_head() else {
        return Err(Lost {
            failure: Failure::new(Kind::Protocol, "no answer came"),
            seen: true,
        });
    };
    Ok((content.answer(head.status, head.fields), keeps))
}

/// An exchange in HTTP/2.
async fn two(
    connection: &mut http2::Connection,
    net: &Net,
    sent: Sent<'_>,
    progress: &mut Progress,
) -> Result<(Answer, bool), Lost> {
    let lost = |failure| Lost { failure, seen: true };
    let began = Instant::now();
    net.line(sent.request.wire(net).length()).await;
    let request = sent.request.in_two(sent.cookie).map_err(lost)?;
    let sending = async {
        let sent = connection.send(request).await;
        Ok(sent.map_err(|(failure, seen)| Lost { failure, seen }))
    };
    let (head, mut body) = within(began, net.http.first_byte_timeout, Stage::Waiting, sending)
        .await
        .map_err(lost)??;
    let headed = Instant::now();
    progress.phases.first_byte = Some(headed - began);
    progress.stage = Stage::Reading;
    let mut content = Content::new(sent.keep);
    while !body.is_done() {
        let piece = within(headed, net.http.body_timeout, Stage::Reading, body.next());
        let Some(piece) = piece.await.map_err(lost)? else {
            break;
        };
        content.add(&piece);
        progress.bytes = content.bytes;
        content.check(net).map_err(lost)?;
        net.shape(content.bytes, headed).await;
    }
    progress.phases.body = Some(headed.elapsed());
    let (head, ()) = head.into_parts();
    Ok((content.answer(head.status.as_u16(), head.headers), true))
}

/// Fails when `limit` has passed since `from`.
async fn within<T>(
    from: Instant,
    limit: Option<Duration>,
    stage: Stage,
    what: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(limit) = limit else {
        return what.await;
    };
    let timed = tokio::time::timeout_at((from + limit).into(), what).await;
    timed.unwrap_or_else(|_| Err(stage.timed_out(limit)))
}

/// The bytes that are read at once from a simulated line: few enough for an even flow.
fn piece(bandwidth: u64) -> usize {
    usize::try_from(bandwidth / 50).unwrap_or(usize::MAX).max(512)
}

// === impl Connection ===

impl Connection {
    async fn open(net: &Net, origin: &Origin) -> Result<(Self, Phases), Failure> {
        let mut phases = Phases::default();
        let (stream, is_two) = net.connect(origin, &mut phases).await?;
        let connection = if is_two {
            Connection::Two(http2::Connection::open(stream).await?)
        } else {
            Connection::One(http1::Connection::new(stream))
        };
        Ok((connection, phases))
    }
}

// === impl Stage ===

impl Stage {
    /// The failure of an exchange that did not get further within `limit`.
    pub(crate) fn timed_out(self, limit: Duration) -> Failure {
        let (kind, what) = match self {
            Stage::Connecting => (Kind::ConnectTimeout, "no connection"),
            Stage::Waiting => (Kind::Timeout, "no answer"),
            Stage::Reading => (Kind::BodyTimeout, "no end of the answer"),
        };
        Failure::new(kind, format!("{what} within {}", duration::shown(limit)))
    }
}

// === impl Content ===

impl Content {
    fn new(keep: bool) -> Self {
        let (kept, bytes, whole) = (Vec::new(), 0, true);
        Self {
            keep,
            kept,
            bytes,
            whole,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.keep {
            let room = KEPT - self.kept.len();
            self.whole &= bytes.len() <= room;
            self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn check(&self, net: &Net) -> Result<(), Failure> {
        let most = net.http.max_body;
        if self.bytes <= most {
            return Ok(());
        }
        Err(Failure::new(
            Kind::TooLarge,
            format!("the answer is longer than {}", Bytes(most)),
        ))
    }

    fn answer(self, status: u16, headers: HeaderMap) -> Answer {
        Answer {
            status,
            headers,
            body: self.kept,
            bytes: self.bytes,
            whole: self.whole,
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Decompresses the body.
    fn opened(mut self) -> Result<Self, Failure> {
        use std::io::Read as _;
        let body = &*self.body;
        let mut decoder: Box<dyn std::io::Read> =
            match self.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
                _ if body.is_empty() => return Ok(self),
                Some(b"gzip") => Box::new(flate2::read::MultiGzDecoder::new(body)),
                Some(b"deflate") => Box::new(flate2::read::ZlibDecoder::new(body)),
                _ => return Ok(self),
            };
        let mut opened = Vec::new();
        let read = decoder.by_ref().take(KEPT as u64 + 1).read_to_end(&mut opened);
        drop(decoder);
        match read {
            Ok(_) => {}
            // The rest of the body was not kept.
            Err(_) if !self.whole => {}
            Err(error) => {
                return Err(Failure::new(
                    Kind::Protocol,
                    format!("can't decompress the body: {error}"),
                ));
            }
        }
        if opened.len() > KEPT {
            opened.truncate(KEPT);
            self.whole = false;
        }
        self.body = opened;
        Ok(self)
    }
}
