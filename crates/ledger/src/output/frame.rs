//! Reads and writes frames.

use std::io::{self, Read};

use reveille_account::Stream;

/// The size of a frame's header.
pub(super) const HEADER_BYTES: usize = 32;

/// The longest frame. A longer one is damage, for which no memory is allocated.
pub(super) const LONGEST: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"RVF1";
const GAP: u8 = 1;

/// A piece of a command's output, or a gap that marks dropped bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Position of the step in the job, from 0.
    pub step: u32,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The stream.
    pub stream: Stream,
    /// Where the bytes start in the remote stream.
    pub offset: u64,
    /// The number of bytes dropped here; 0 if the frame contains bytes.
    pub gap: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) step: u32,
    pub(super) attempt: u32,
    pub(super) stream: Stream,
    pub(super) gap: bool,
    pub(super) offset: u64,
}

// === impl Frame ===

impl Frame {
    /// The offset of this stream's next frame.
    pub fn end(&self) -> u64 {
        self.offset
            .saturating_add(self.gap)
            .saturating_add(self.bytes.len() as u64)
    }

    /// Reads the next frame; `None` at the end of the file or at a damaged or torn frame.
    pub(super) fn read(source: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut header = [0; HEADER_BYTES];
        if !fill(source, &mut header)? || header[..4] != MAGIC {
            return Ok(None);
        }
        let length = u32::from_le_bytes(field(&header, 28)) as usize;
        let stream = match header[16] {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return Ok(None),
        };
        if length > LONGEST {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        if !fill(source, &mut bytes)? {
            return Ok(None);
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&header[8..]);
        checksum.update(&bytes);
        if checksum.finalize().to_le_bytes() != header[4..8] {
            return Ok(None);
        }
        let mut gap = 0;
        if header[17] & GAP != 0 {
            let Ok(left_out) = <[u8; 8]>::try_from(bytes.as_slice()) else {
                return Ok(None);
            };
            gap = u64::from_le_bytes(left_out);
            if gap == 0 {
                return Ok(None);
            }
            bytes = Vec::new();
        }
        Ok(Some(Frame {
            step: u32::from_le_bytes(field(&header, 8)),
            attempt: u32::from_le_bytes(field(&header, 12)),
            stream,
            offset: u64::from_le_bytes(field(&header, 20)),
            gap,
            bytes,
        }))
    }

    /// The size of this frame in the file.
    pub(super) fn file_bytes(&self) -> u64 {
        let payload = if self.gap > 0 { 8 } else { self.bytes.len() };
        (HEADER_BYTES + payload) as u64
    }
}

// === impl Header ===

impl Header {
    /// Encodes the header for a frame with these bytes, at most [`LONGEST`].
    pub(super) fn encode(&self, bytes: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&self.step.to_le_bytes());
        header[12..16].copy_from_slice(&self.attempt.to_le_bytes());
        header[16] = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        header[17] = if self.gap { GAP } else { 0 };
        header[20..28].copy_from_slice(&self.offset.to_le_bytes());
        // The writer's frames are at most LONGEST bytes, which fits.
        header[28..].copy_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&header[8..]);
        checksum.update(bytes);
        header[4..8].copy_from_slice(&checksum.finalize().to_le_bytes());
        header
    }
}

fn field<const SIZE: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes.copy_from_slice(&header[at..at + SIZE]);
    bytes
}

/// Fills the buffer; returns false if the source ends before.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
