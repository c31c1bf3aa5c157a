//! The byte stream under an SSH connection, which can be cut.
//!
//! An SSH library drives a connection in its own task. If a server stalls during the handshake, dropping the *future*
//! that waits for the handshake leaves the task and its socket behind for ever. So the stream can be cut from outside:
//! reads and writes then fail, and the task ends.
//!
//! The library reads a packet in two or three small pieces, each with a system call. The wire reads as much as the
//! socket has and returns the rest later; leftovers are kept in a buffer of just their size, so that an idle connection
//! needs no buffer.
//!
//! The wire also keeps the peer's introduction, which distinguishes a limit on new connections (closed before a banner)
//! from a stall and from a service other than SSH.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes of the peer's introduction to keep for messages.
const INTRODUCTION_LIMIT: usize = 512;
/// How many bytes to read from the socket at a time.
const READ_AHEAD: usize = 8 * 1024;
/// How many bytes to accept before the identification line; RFC 4253 allows lines there without a bound.
const PRE_BANNER_LIMIT: usize = 64 * 1024;

/// A stream that can be cut, and that keeps the peer's introduction.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    switch: Switch,
    introduced: bool,
    received: usize,
    line: Vec<u8>,
    /// Bytes read from the stream and not returned yet.
    ahead: Bytes,
}

/// Controls a [`Wire`] from outside; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    introduction: Mutex<Introduction>,
}

/// The peer's bytes before the protocol.
#[derive(Debug, Clone, Default)]
pub struct Introduction {
    /// The first bytes, at most 512.
    pub bytes: Vec<u8>,
    /// When its identification line was complete.
    pub banner_at: Option<Instant>,
}

// === impl Switch ===

impl Switch {
    /// Cuts the connection: all reads and writes fail from now on.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    /// Whether the connection was cut.
    pub fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }

    /// The peer's introduction so far.
    pub fn introduction(&self) -> Introduction {
        self.0
            .introduction
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

// === impl Wire ===

impl<S> Wire<S> {
    /// Wraps `stream`; returns the switch for it.
    pub fn new(stream: S) -> (Self, Switch) {
        let switch = Switch::default();
        (
            Self {
                stream,
                switch: switch.clone(),
                introduced: false,
                received: 0,
                line: Vec::new(),
                ahead: Bytes::new(),
            },
            switch,
        )
    }

    /// Watches the bytes up to the identification line (`SSH-…`).
    fn watch(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut introduction = self
            .switch
            .0
            .introduction
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let room = INTRODUCTION_LIMIT.saturating_sub(introduction.bytes.len());
        introduction
            .bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.received += bytes.len();
        for byte in bytes {
            if *byte != b'\n' {
                // Only the start of a line decides whether it is the identification.
                if self.line.len() < 4 {
                    self.line.push(*byte);
                }
            } else if self.line == b"SSH-" {
                introduction.banner_at = Some(Instant::now());
                self.introduced = true;
                self.line = Vec::new();
                return Ok(());
            } else {
                self.line.clear();
            }
        }
        if self.received > PRE_BANNER_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too much text before the SSH banner",
            ));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.switch.0.reader.register(context.waker());
        wire.switch.check()?;
        if !wire.ahead.is_empty() {
            let piece = wire.ahead.split_to(wire.ahead.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if wire.ahead.is_empty() {
                wire.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        // A caller with room for a whole packet gets it without a copy.
        if buffer.remaining() >= READ_AHEAD {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut wire.stream).poll_read(context, buffer))?;
            if !wire.introduced
                && let Err(error) = wire.watch(&buffer.filled()[before..])
            {
                buffer.set_filled(before);
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [MaybeUninit::uninit(); READ_AHEAD];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut wire.stream).poll_read(context, &mut scratch))?;
        if !wire.introduced {
            wire.watch(scratch.filled())?;
        }
        let (now, later) = scratch
            .filled()
            .split_at(scratch.filled().len().min(buffer.remaining()));
        buffer.put_slice(now);
        if !later.is_empty() {
            wire.ahead = Bytes::copy_from_slice(later);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.switch.0.writer.register(context.waker());
        wire.switch.check()?;
        Pin::new(&mut wire.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.switch.0.writer.register(context.waker());
        wire.switch.check()?;
        Pin::new(&mut wire.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.switch.0.writer.register(context.waker());
        if wire.switch.is_cut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut wire.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_cut_wakes_a_waiting_reader() {
        let (near, _far) = tokio::io::duplex(64);
        let (mut wire, switch) = Wire::new(near);
        let reading = tokio::spawn(async move { wire.read_u8().await });
        tokio::task::yield_now().await;
        switch.cut();
        assert_eq!(
            reading.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
    }

    #[tokio::test]
    async fn finds_the_banner_behind_other_lines() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut wire, switch) = Wire::new(near);
        assert!(switch.introduction().banner_at.is_none());
        far.write_all(b"welcome\r\nSSH-2.0-x\r\n\0\0rest").await.unwrap();
        let mut buffer = [0; 26];
        wire.read_exact(&mut buffer[..3]).await.unwrap();
        wire.read_exact(&mut buffer[3..]).await.unwrap();
        assert_eq!(&buffer, b"welcome\r\nSSH-2.0-x\r\n\0\0rest");
        assert!(switch.introduction().banner_at.is_some());
        assert!(switch.introduction().bytes.starts_with(b"welcome\r\nSSH-2.0"));
    }

    #[tokio::test]
    async fn endless_text_before_the_banner_is_refused() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut wire, _switch) = Wire::new(near);
        let writing = tokio::spawn(async move { while far.write_all(b"noise\r\n").await.is_ok() {} });
        let mut sink = Vec::new();
        let error = wire.read_to_end(&mut sink).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(sink.len() <= PRE_BANNER_LIMIT + 1024);
        drop(wire);
        writing.await.unwrap();
    }
}
