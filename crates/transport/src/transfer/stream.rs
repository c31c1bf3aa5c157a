//! Between a thread that packs or unpacks an archive and the task that talks to the host.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of an archive in one piece.
const PIECE: usize = 32 * 1024;
/// Pieces that wait on their way.
const WAITING: usize = 4;

/// An end to write into from a thread, and the end that a task receives pieces from.
pub(crate) fn pipe() -> (Writer, Receiver<Bytes>) {
    let (sender, receiver) = channel(WAITING);
    let writer = Writer {
        sender,
        held: BytesMut::new(),
    };
    (writer, receiver)
}

/// An end that a task sends pieces to, and the end to read from in a thread.
pub(crate) fn intake() -> (Sender<Bytes>, Reader) {
    let (sender, receiver) = channel(WAITING);
    let reader = Reader {
        receiver,
        held: Bytes::new(),
    };
    (sender, reader)
}

/// Collects what is written into pieces.
pub(crate) struct Writer {
    sender: Sender<Bytes>,
    held: BytesMut,
}

/// Hands out pieces as a stream.
pub(crate) struct Reader {
    receiver: Receiver<Bytes>,
    held: Bytes,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            self.held.reserve(PIECE);
        }
        let taken = bytes.len().min(PIECE - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        if self.held.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.sender
            .blocking_send(self.held.split().freeze())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.held.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.held = piece,
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.held.len());
        self.held.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
