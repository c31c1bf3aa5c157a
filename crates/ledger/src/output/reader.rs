//! Reads a host's output.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::path::{Path, PathBuf};

use reveille_account::{HostName, Stream};

use super::{Frame, file_name};
use crate::{Error, Ledger, Result};

/// Reads a host's frames of one round, one at a time, up to the last intact frame.
#[derive(Debug)]
pub struct OutputReader {
    /// `None` if the host never wrote.
    source: Option<BufReader<File>>,
    path: PathBuf,
}

// === impl OutputReader ===

impl OutputReader {
    /// Opens the file; without a file there are no frames.
    pub(crate) fn open(run_directory: &Path, host: &HostName, round: u32) -> Result<Self> {
        let path = run_directory.join("out").join(file_name(host, round));
        let source = match File::open(&path) {
            Ok(file) => Some(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        Ok(Self { source, path })
    }

    /// Returns the next frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        match &mut self.source {
            Some(source) => Frame::read(source).map_err(Error::io("read", &self.path)),
            None => Ok(None),
        }
    }

    /// Returns the last bytes, at most `limit`, of one stream of one attempt, and whether there were more.
    ///
    /// Starts again from the beginning of the file.
    pub fn tail(&mut self, step: u32, attempt: u32, stream: Stream, limit: usize) -> Result<(Vec<u8>, bool)> {
        if let Some(source) = &mut self.source {
            source.rewind().map_err(Error::io("read", &self.path))?;
        }
        let mut tail = VecDeque::new();
        let mut cut = false;
        while let Some(frame) = self.next_frame()? {
            if (frame.step, frame.attempt, frame.stream) != (step, attempt, stream) {
                continue;
            }
            cut |= frame.gap > 0;
            tail.extend(&frame.bytes);
            if tail.len() > limit {
                cut = true;
                tail.drain(..tail.len() - limit);
            }
        }
        Ok((tail.into(), cut))
    }
}

impl Iterator for OutputReader {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        self.next_frame().transpose()
    }
}

// === impl Ledger ===

impl Ledger {
    /// Reads a host's output of a round.
    pub fn read_output(
        &self,
        run: reveille_account::RunId,
        host: &HostName,
        round: u32,
    ) -> Result<OutputReader> {
        OutputReader::open(&self.run_directory(run), host, round)
    }
}
