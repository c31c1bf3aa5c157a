//! One request and its answer on a connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::decoder::Decoder;
use super::head::{Head, Request};
use crate::engine::stream::{Failure, Stream};
use crate::stats::Kind;

/// The most bytes of an answer that are read at once.
const BUFFER: usize = 64 << 10;
/// Bodies of requests up to this size, in bytes, are copied, so that they are sent together with their heads.
const COPIED: usize = 16 << 10;

/// The buffer that all connections of a shard read through, and a spare one for requests.
#[derive(Debug)]
pub(crate) struct Buffers {
    read: RefCell<Box<[u8]>>,
    spare: RefCell<Vec<u8>>,
}

/// A connection that has not ended, as far as is known.
pub(crate) struct Connection {
    stream: Stream,
}

/// A request and its answer.
///
/// Both are transferred at the same time: a service may answer, and close, before it has read all of a long body.
pub(crate) struct Exchange<'a> {
    stream: &'a mut Stream,
    buffers: &'a Buffers,
    request: &'a Request,
    /// The head, and a small body.
    front: Vec<u8>,
    /// The bytes of the front and the body that were written; none once everything is flushed.
    written: Option<usize>,
    /// Why writing failed.
    broken: Option<io::Error>,
    decoder: Decoder,
    /// The most bytes that are read at once, for a simulated line.
    most: usize,
}

// === impl Buffers ===

impl Default for Buffers {
    fn default() -> Self {
        Self {
            read: RefCell::new(vec![0; BUFFER].into()),
            spare: RefCell::default(),
        }
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream }
    }

    /// Whether it can take a request: it is open, and no unexpected data came.
    pub(crate) async fn is_idle(&mut self) -> bool {
        let mut byte = [0];
        poll_fn(|context| {
            let read = Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte));
            Poll::Ready(read.is_pending())
        })
        .await
    }

    /// Begins a request with this user's `cookie`. At most `most` bytes are read at once.
    pub(crate) fn begin<'a>(
        &'a mut self,
        buffers: &'a Buffers,
        request: &'a Request,
        cookie: Option<&str>,
        most: Option<usize>,
    ) -> Exchange<'a> {
        let mut front = buffers.spare.take();
        front.clear();
        front.extend_from_slice(&request.head);
        if let Some(cookie) = cookie {
            front.extend_from_slice(b"cookie: ");
            front.extend_from_slice(cookie.as_bytes());
            front.extend_from_slice(b"\r\n");
        }
        front.extend_from_slice(b"\r\n");
        if request.body.len() <= COPIED {
            front.extend_from_slice(&request.body);
        }
        Exchange {
            stream: &mut self.stream,
            buffers,
            request,
            front,
            written: Some(0),
            broken: None,
            decoder: Decoder::new(request.is_head),
            most: most.unwrap_or(BUFFER).clamp(1, BUFFER),
        }
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Reads one piece of the answer, and passes its content to `sink`.
    pub(crate) async fn advance(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        poll_fn(|context| self.poll(context, sink)).await
    }

    fn poll(&mut self, context: &mut Context<'_>, sink: &mut dyn FnMut(&[u8])) -> Poll<Result<(), Failure>> {
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_write(context)
        {
            // The service may have sent an answer that says why.
            self.broken = Some(error);
        }
        let buffers = self.buffers;
        let mut shared = buffers.read.borrow_mut();
        let mut buffer = ReadBuf::new(&mut shared[..self.most]);
        match ready!(Pin::new(&mut *self.stream).poll_read(context, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => Poll::Ready(if self.decoder.end() {
                Ok(())
            } else {
                Err(self.cut(None))
            }),
            Ok(()) => Poll::Ready(
                self.decoder
                    .take(buffer.filled(), sink)
                    .map_err(|wrong| Failure::new(Kind::Protocol, wrong.to_string())),
            ),
            Err(error) => Poll::Ready(Err(self.cut(Some(error)))),
        }
    }

    /// Writes as much as the stream takes.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(written) = self.written {
            let piece = match self.front.get(written..) {
                Some(front) if !front.is_empty() => front,
                _ if self.request.body.len() > COPIED => &self.request.body[written - self.front.len()..],
                _ => &[],
            };
            if piece.is_empty() {
                ready!(Pin::new(&mut *self.stream).poll_flush(context))?;
                self.written = None;
                self.give_back();
                break;
            }
            match ready!(Pin::new(&mut *self.stream).poll_write(context, piece))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written = Some(written + count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The failure of a connection that ended too early.
    fn cut(&mut self, error: Option<io::Error>) -> Failure {
        let ended = if self.decoder.has_begun() {
            Kind::Incomplete
        } else {
            Kind::Closed
        };
        // The first error tells more than the end that followed from it.
        match self.broken.take().or(error) {
            Some(error) => Failure::new(
                Failure::stream_kind(&error, ended),
                format!("{}: {error}", ended.meaning()),
            ),
            None => Failure::new(ended, ended.meaning()),
        }
    }

    /// The answer's head, once it is there.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.decoder.head()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether the service may have seen a part of the request.
    pub(crate) fn was_sent(&self) -> bool {
        self.written != Some(0)
    }

    /// Whether the connection can be used again.
    pub(crate) fn keeps(&self) -> bool {
        self.decoder.keeps() && self.written.is_none() && self.broken.is_none() && !self.request.closes
    }

    pub(crate) fn into_head(self) -> Option<Head> {
        self.decoder.into_head()
    }

    /// Returns the buffer, which is not needed while the answer is waited for.
    fn give_back(&mut self) {
        self.buffers.spare.replace(std::mem::take(&mut self.front));
    }
}
