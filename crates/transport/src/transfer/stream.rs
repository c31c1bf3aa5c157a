//! Connects a thread that packs or unpacks an archive to the task that talks to the host.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The size of a piece of an archive, in bytes.
const PIECE: usize = 32 * 1024;
/// How many pieces may be queued.
const WAITING: usize = 4;

/// A writer for a thread, and the receiver of its pieces for a task.
pub(crate) fn pipe() -> (Writer, Receiver<Bytes>) {
    let (sender, receiver) = channel(WAITING);
    let writer = Writer {
        sender,
        held: BytesMut::new(),
    };
    (writer, receiver)
}

/// A sender of pieces for a task, and the reader for a thread.
pub(crate) fn intake() -> (Sender<Bytes>, Reader) {
    let (sender, receiver) = channel(WAITING);
    let reader = Reader {
        receiver,
        held: Bytes::new(),
    };
    (sender, reader)
}

/// Collects written bytes into pieces.
pub(crate) struct Writer {
    sender: Sender<Bytes>,
    held: BytesMut,
}

/// Reads pieces as a stream.
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
