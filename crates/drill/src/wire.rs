//! A TCP stream that can be cut from elsewhere, be slow, or lose everything.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::cut::Cut;
use crate::host::Host;
use crate::kind::FaultKind;

/// The connection of a session; it breaks when its [`Cut`] says so.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    cut: Cut,
    host: Arc<Host>,
    way: Way,
}

/// The fault of a connection.
#[derive(Debug)]
enum Way {
    Free,
    /// Drops everything after a time without traffic, like a NAT that has forgotten the connection.
    Forgetful {
        after: Duration,
        last: Instant,
        forgotten: bool,
    },
    Narrow {
        input: Line,
        output: Line,
    },
}

/// One direction of a slow connection.
#[derive(Debug)]
struct Line {
    bytes_per_second: u32,
    /// When the bytes so far are through.
    free: Instant,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// How many pieces per second a slow line carries.
const PIECES: u32 = 20;

// === impl Way ===

impl Way {
    fn of(host: &Host) -> Self {
        match host.fault() {
            Some(FaultKind::IdleNatDrop(seconds)) => Way::Forgetful {
                after: Duration::from_secs(seconds.into()),
                last: Instant::now(),
                forgotten: false,
            },
            Some(FaultKind::Bandwidth(kibibytes)) => {
                host.exercise();
                Way::Narrow {
                    input: Line::new(kibibytes),
                    output: Line::new(kibibytes),
                }
            }
            _ => Way::Free,
        }
    }

    /// Whether bytes that arrive now are dropped.
    fn swallows(&mut self, host: &Host) -> bool {
        let Way::Forgetful {
            after,
            last,
            forgotten,
        } = self
        else {
            return false;
        };
        if !*forgotten && last.elapsed() >= *after {
            *forgotten = true;
            host.exercise();
        }
        *last = Instant::now();
        *forgotten
    }
}

// === impl Line ===

impl Line {
    fn new(kibibytes: u32) -> Self {
        Self {
            bytes_per_second: kibibytes.saturating_mul(1024).max(64),
            free: Instant::now(),
            waiting: None,
        }
    }

    /// The size of one piece, in bytes.
    fn piece(&self) -> usize {
        usize::try_from(self.bytes_per_second / PIECES)
            .unwrap_or(usize::MAX)
            .max(16)
    }

    /// Waits until earlier bytes are through.
    fn poll_free(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.free > Instant::now() {
            let until = self.free;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(waiting.as_mut().poll(context));
        }
        self.waiting = None;
        Poll::Ready(())
    }

    fn carried(&mut self, bytes: usize) {
        let takes = Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second));
        self.free = self.free.max(Instant::now()) + takes;
    }
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(stream: TcpStream, cut: Cut, host: Arc<Host>) -> Self {
        Self {
            stream,
            cut,
            way: Way::of(&host),
            host,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            cut,
            host,
            way,
        } = self.get_mut();
        if cut.poll(context) {
            // Otherwise the system would still deliver queued bytes.
            let _ = stream.set_zero_linger();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let stream = Pin::new(stream);
        match way {
            Way::Free => stream.poll_read(context, buffer),
            Way::Forgetful { .. } => {
                let stream = stream.get_mut();
                let before = buffer.filled().len();
                loop {
                    ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
                    // Nobody would notice that the client left, so give the connection up.
                    if buffer.filled().len() == before || !way.swallows(host) {
                        return Poll::Ready(Ok(()));
                    }
                    buffer.set_filled(before);
                }
            }
            Way::Narrow { input, .. } => {
                ready!(input.poll_free(context));
                let most = input.piece().min(buffer.remaining());
                let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(most));
                ready!(stream.poll_read(context, &mut piece))?;
                let bytes = piece.filled().len();
                buffer.advance(bytes);
                input.carried(bytes);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            cut,
            host,
            way,
        } = self.get_mut();
        if cut.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if way.swallows(host) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let stream = Pin::new(stream);
        let Way::Narrow { output, .. } = way else {
            return stream.poll_write(context, bytes);
        };
        ready!(output.poll_free(context));
        let most = output.piece().min(bytes.len());
        let written = ready!(stream.poll_write(context, &bytes[..most]))?;
        output.carried(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.way, Way::Forgetful { forgotten: true, .. }) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
