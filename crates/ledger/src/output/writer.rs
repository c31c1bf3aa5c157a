//! Writes a host's output.
//!
//! The first bytes of each attempt go straight to the file. Beyond the cap's head, the writer keeps only the last
//! bytes, in memory, and writes them when the attempt ends, after a frame that records the gap. An idle writer, or one
//! whose command stays below the head, needs no buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reveille_account::{HostName, Stream};

use super::caps::take;
use super::frame::{Frame, Header, LONGEST};
use super::tail::Tail;
use super::{OutputCaps, OutputShare, file_name};
use crate::disk::{self, Disk};
use crate::{Error, Result};

/// How much output an attempt had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepOutput {
    /// Bytes that the command wrote to standard output.
    pub stdout_bytes: u64,
    /// Bytes that the command wrote to standard error.
    pub stderr_bytes: u64,
    /// Bytes that the caps dropped.
    pub dropped_bytes: u64,
}

/// Where the record of one stream of one attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// Position of the step in the job, from 0.
    pub step: u32,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The stream.
    pub stream: Stream,
    /// The remote offset of the first byte that is not recorded.
    pub offset: u64,
}

/// Appends to a host's file for one round. Its methods block for as long as a write to the page cache takes.
#[derive(Debug)]
pub struct OutputWriter {
    path: PathBuf,
    file: Option<File>,
    /// The length of the file's intact part.
    length: u64,
    caps: OutputCaps,
    share: OutputShare,
    disk: Option<Arc<Disk>>,
    current: Option<Attempt>,
    /// Some written bytes may not be durable.
    dirty: bool,
    /// Where the streams of earlier attempts end.
    found: Vec<Resumption>,
    /// The next frame fails after this many bytes.
    #[cfg(test)]
    fails_after: Option<usize>,
}

/// The attempt being written.
#[derive(Debug)]
struct Attempt {
    step: u32,
    number: u32,
    /// The bytes left of the head.
    head: u64,
    /// The next expected offset of stdout and stderr.
    seen: [u64; 2],
    /// The end of the record in the file, for stdout and stderr.
    written: [u64; 2],
    dropped: u64,
    tail: Option<Tail>,
}

/// Makes the output of a host durable.
#[derive(Debug)]
#[must_use = "nothing is durable until `now` returns"]
pub struct Sync {
    path: PathBuf,
    /// `None` if it was closed; syncing through another descriptor works as well.
    file: Option<File>,
}

// === impl Sync ===

impl Sync {
    /// Waits until the output is on disk.
    pub fn now(self) -> Result<()> {
        let file = match self.file {
            Some(file) => file,
            None => File::open(&self.path).map_err(Error::io("open", &self.path))?,
        };
        file.sync_data().map_err(Error::io("sync", &self.path))
    }
}

// === impl OutputWriter ===

impl OutputWriter {
    pub(crate) fn new(
        run_directory: &Path,
        host: &HostName,
        round: u32,
        caps: OutputCaps,
        share: OutputShare,
        disk: Option<Arc<Disk>>,
    ) -> Self {
        Self {
            path: run_directory.join("out").join(file_name(host, round)),
            file: None,
            length: 0,
            caps,
            share,
            disk,
            current: None,
            dirty: false,
            found: Vec::new(),
            #[cfg(test)]
            fails_after: None,
        }
    }

    /// Opens the file if necessary, cuts off a torn frame, and returns where each stream ends.
    pub fn recover(&mut self) -> Result<&[Resumption]> {
        self.file()?;
        Ok(&self.found)
    }

    /// Records bytes of a stream of an attempt that start at `offset` in the remote stream.
    ///
    /// Skips bytes that are on record. A new step or attempt ends the one before. After an error the same bytes can be
    /// written again.
    pub fn write(
        &mut self,
        step: u32,
        attempt: u32,
        stream: Stream,
        offset: u64,
        bytes: &[u8],
    ) -> Result<()> {
        self.begin(step, attempt)?;
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let seen = current.seen[index(stream)];
        let known = usize::try_from(seen.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(mut bytes) = bytes.get(known..).filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        let mut offset = offset.max(seen);

        if current.tail.is_none() {
            let granted = take(&self.share.left, (bytes.len() as u64).min(current.head));
            let (head, rest) = bytes.split_at(usize::try_from(granted).unwrap_or(bytes.len()));
            let result = self.append(stream, offset, head);
            let written = self.settle(stream, offset, granted, &result);
            if let Some(current) = &mut self.current {
                current.head -= written;
            }
            result?;
            bytes = rest;
            offset += granted;
        }
        if let (false, Some(current)) = (bytes.is_empty(), &mut self.current) {
            let (limit, share) = (self.caps.tail, &self.share);
            let tail = current.tail.get_or_insert_with(|| Tail::new(limit, share));
            current.dropped += tail.push(stream, offset, bytes);
            current.seen[index(stream)] = offset.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }

    /// Ends the attempt: writes its tail and returns its totals.
    pub fn finish(&mut self, step: u32, attempt: u32) -> Result<StepOutput> {
        self.begin(step, attempt)?;
        self.finish_attempt()
    }

    /// Returns the work that makes everything written so far durable, even if the file was closed since; `None` if all
    /// of it is. Another thread may do it, and it takes as long as the disk does. Call [`synced`](Self::synced) when it
    /// is done, before the next write.
    pub fn sync(&self) -> Option<Sync> {
        self.dirty.then(|| Sync {
            path: self.path.clone(),
            file: self.file.as_ref().and_then(|file| file.try_clone().ok()),
        })
    }

    /// Records that the last [`sync`](Self::sync) is done.
    pub fn synced(&mut self) {
        self.dirty = false;
        #[cfg(feature = "memory")]
        self.share.synced(&self.path, self.length);
    }

    /// Closes the file until the next write. For silent hosts, and to save descriptors.
    pub fn release(&mut self) {
        self.file = None;
    }

    fn begin(&mut self, step: u32, attempt: u32) -> Result<()> {
        if self
            .current
            .as_ref()
            .is_some_and(|current| (current.step, current.number) == (step, attempt))
        {
            return Ok(());
        }
        self.finish_attempt()?;
        self.file()?;
        let offset = |stream| {
            self.found
                .iter()
                .find(|found| (found.step, found.attempt, found.stream) == (step, attempt, stream))
                .map_or(0, |found| found.offset)
        };
        let seen = [offset(Stream::Stdout), offset(Stream::Stderr)];
        self.current = Some(Attempt {
            step,
            number: attempt,
            head: self.caps.head.saturating_sub(seen[0] + seen[1]),
            seen,
            written: seen,
            dropped: 0,
            tail: None,
        });
        Ok(())
    }

    /// Settles an append at `offset`, for which `granted` bytes of the run's cap were taken. Returns the bytes written
    /// and gives the rest back. Failed bytes do not count as seen, so that the caller can write them again.
    fn settle(&mut self, stream: Stream, offset: u64, granted: u64, result: &Result<()>) -> u64 {
        let Some(current) = &mut self.current else {
            return 0;
        };
        let reached = current.written[index(stream)];
        let written = if result.is_ok() {
            granted
        } else {
            reached.saturating_sub(offset).min(granted)
        };
        if current.tail.is_none() {
            let seen = &mut current.seen[index(stream)];
            *seen = reached.max(*seen);
        }
        self.share.left.fetch_add(granted - written, Ordering::Relaxed);
        written
    }

    fn finish_attempt(&mut self) -> Result<StepOutput> {
        let Some(current) = &mut self.current else {
            return Ok(StepOutput::default());
        };
        if let Some(mut tail) = current.tail.take() {
            let result = self.append_tail(&mut tail);
            if let (Err(_), Some(current)) = (&result, &mut self.current) {
                // Keep it for another try.
                current.tail = Some(tail);
            } else {
                tail.give_back(&self.share);
            }
            result?;
        }
        // Record a gap at the very end as well.
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Some(attempt) = &self.current else {
                continue;
            };
            let (written, seen) = (attempt.written[index(stream)], attempt.seen[index(stream)]);
            if seen > written {
                self.append_gap(attempt.step, attempt.number, stream, written, seen - written)?;
                self.wrote(stream, seen);
            }
        }
        let Some(attempt) = self.current.take() else {
            return Ok(StepOutput::default());
        };
        for stream in [Stream::Stdout, Stream::Stderr] {
            let seen = attempt.seen[index(stream)];
            self.found.retain(|found| {
                (found.step, found.attempt, found.stream) != (attempt.step, attempt.number, stream)
            });
            self.found.push(Resumption {
                step: attempt.step,
                attempt: attempt.number,
                stream,
                offset: seen,
            });
        }
        Ok(StepOutput {
            stdout_bytes: attempt.seen[0],
            stderr_bytes: attempt.seen[1],
            dropped_bytes: attempt.dropped,
        })
    }

    /// Appends the pieces of a tail, removing each from it.
    fn append_tail(&mut self, tail: &mut Tail) -> Result<()> {
        while let Some((stream, offset, bytes)) = tail.pieces.front() {
            let (stream, offset, size) = (*stream, *offset, bytes.len() as u64);
            let granted = take(&self.share.left, size);
            // The run's cap keeps the last bytes, as the attempt's does.
            let left_out = size - granted;
            let kept = bytes.get(usize::try_from(left_out).unwrap_or(usize::MAX)..);
            let result = self.append(stream, offset + left_out, kept.unwrap_or_default());
            if result.is_err() {
                // A piece is at most one frame, which is written as a whole or not at all.
                self.share.left.fetch_add(granted, Ordering::Relaxed);
                return result;
            }
            if let Some(current) = &mut self.current {
                current.dropped += left_out;
            }
            tail.pieces.pop_front();
        }
        Ok(())
    }

    /// Appends bytes of the current attempt, after a gap if some were dropped.
    fn append(&mut self, stream: Stream, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let (step, attempt) = (current.step, current.number);
        let written = current.written[index(stream)];
        if offset > written {
            self.append_gap(step, attempt, stream, written, offset - written)?;
            self.wrote(stream, offset);
        }
        let mut offset = offset;
        for piece in bytes.chunks(LONGEST) {
            let header = Header {
                step,
                attempt,
                stream,
                gap: false,
                offset,
            };
            self.append_frame(header, piece)?;
            offset += piece.len() as u64;
            self.wrote(stream, offset);
        }
        Ok(())
    }

    fn wrote(&mut self, stream: Stream, end: u64) {
        if let Some(current) = &mut self.current {
            current.written[index(stream)] = end;
        }
    }

    fn append_gap(&mut self, step: u32, attempt: u32, stream: Stream, offset: u64, size: u64) -> Result<()> {
        let header = Header {
            step,
            attempt,
            stream,
            gap: true,
            offset,
        };
        self.append_frame(header, &size.to_le_bytes())
    }

    fn append_frame(&mut self, header: Header, bytes: &[u8]) -> Result<()> {
        let header = header.encode(bytes);
        self.file()?;
        let mut result = self.append_bytes(&header, bytes);
        if let (Err(error), Some(disk)) = (&result, self.disk.clone())
            && disk::is_full(error)
        {
            disk.release();
            result = self.append_bytes(&header, bytes);
        }
        result.map_err(|error| match &self.disk {
            Some(disk) if disk::is_full(&error) => disk.full(),
            _ => Error::io("write", &self.path)(error),
        })
    }

    /// Appends a whole frame or nothing.
    fn append_bytes(&mut self, header: &[u8], bytes: &[u8]) -> io::Result<()> {
        self.dirty = true;
        let Some(file) = &mut self.file else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        let result = write_both(file, header, bytes);
        #[cfg(test)]
        let result = match self.fails_after.take() {
            Some(written) => {
                let whole = (header.len() + bytes.len()) as u64;
                let written = (written as u64).min(whole - 1);
                file.set_len(self.length + written)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            None => result,
        };
        match result {
            Ok(()) => self.length += (header.len() + bytes.len()) as u64,
            // Half a frame would hide everything after it from readers.
            Err(_) => file.set_len(self.length)?,
        }
        result
    }

    /// Opens the file and cuts it to its last intact frame.
    fn file(&mut self) -> Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let mut file = match open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(directory) = self.path.parent() {
                    disk::private_directory(directory)?;
                }
                open(&self.path)
            }
            result => result,
        }
        .map_err(Error::io("open", &self.path))?;
        let length = file.metadata().map_err(Error::io("read", &self.path))?.len();
        // This is the only writer, so another length means that an earlier controller wrote.
        if length != self.length {
            // Its bytes may not be durable.
            self.dirty = true;
            let (whole, found) = scan(&mut file).map_err(Error::io("read", &self.path))?;
            if whole < length {
                file.set_len(whole).map_err(Error::io("cut", &self.path))?;
            }
            self.length = whole;
            self.found = found;
        }
        self.file = Some(file);
        Ok(())
    }
}

impl Drop for OutputWriter {
    fn drop(&mut self) {
        if let Err(error) = self.finish_attempt() {
            tracing::warn!(%error, "the end of an output is lost");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Almost always a single write.
fn write_both(file: &mut File, header: &[u8], bytes: &[u8]) -> io::Result<()> {
    let written = file.write_vectored(&[IoSlice::new(header), IoSlice::new(bytes)])?;
    if let Some(rest) = header.get(written..) {
        file.write_all(rest)?;
    }
    file.write_all(
        bytes
            .get(written.saturating_sub(header.len())..)
            .unwrap_or_default(),
    )
}

/// Returns the length of a file's intact frames, and where each stream ends.
fn scan(file: &mut File) -> io::Result<(u64, Vec<Resumption>)> {
    let mut found: Vec<Resumption> = Vec::new();
    let mut whole = 0;
    file.seek(SeekFrom::Start(0))?;
    let mut source = BufReader::new(file);
    while let Some(frame) = Frame::read(&mut source)? {
        whole += frame.file_bytes();
        let key = (frame.step, frame.attempt, frame.stream);
        match found
            .iter_mut()
            .rev()
            .find(|found| (found.step, found.attempt, found.stream) == key)
        {
            Some(found) => found.offset = found.offset.max(frame.end()),
            None => found.push(Resumption {
                step: frame.step,
                attempt: frame.attempt,
                stream: frame.stream,
                offset: frame.end(),
            }),
        }
    }
    Ok((whole, found))
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
