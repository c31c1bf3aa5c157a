//! A step's output: recorded in frames, judged as it arrives, its last lines kept for the outcome.

use bytes::Bytes;
use reveille_account::{Class, HostName, Status, Stream};
use reveille_history::Rule;
use reveille_job::{Judge, Step, Verdict};
use reveille_ledger::RunHandle;
use reveille_ledger::output::{OutputWriter, StepOutput};

use crate::ended::{Over, SPOOL_CAP};
use crate::plan::Settings;
use crate::world::Hear;

/// Bytes of each stream shown in an outcome.
pub(crate) const TAIL_LIMIT: usize = 4 * 1024;
/// Bytes of each stream that `register` keeps.
const REGISTER_LIMIT: usize = 64 * 1024;

/// Bytes of a line shown in a message.
const LINE_LIMIT: usize = 400;

/// The output of one attempt of a step.
pub(crate) struct Output<'a> {
    writer: &'a mut OutputWriter,
    step: u32,
    attempt: u32,
    judge: Judge<'a>,
    offsets: [u64; 2],
    tails: [Tail; 2],
    registers: bool,
    /// Close the file after each write.
    frugal: bool,
    host: &'a HostName,
    hear: Option<&'a Hear>,
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

/// The last line of an attempt's output so far.
#[derive(Debug, Clone)]
pub(crate) struct LastLine {
    pub(crate) text: String,
    /// It has not ended, as after a question.
    pub(crate) is_open: bool,
}

/// An attempt's output after its end.
pub(crate) struct Said {
    pub(crate) stdout: Tail,
    pub(crate) stderr: Tail,
    pub(crate) record: StepOutput,
    /// Whether the step has a `register` name.
    pub(crate) registers: bool,
}

// === impl Output ===

impl<'a> Output<'a> {
    pub(crate) fn new(
        writer: &'a mut OutputWriter,
        step: &'a Step,
        index: u32,
        attempt: u32,
        host: &'a HostName,
        settings: &'a Settings,
    ) -> Self {
        let limit = if step.register.is_some() {
            REGISTER_LIMIT
        } else {
            TAIL_LIMIT
        };
        let tail = || Tail {
            limit,
            ..Tail::default()
        };
        let tails = [tail(), tail()];
        let registers = step.register.is_some();
        Self {
            writer,
            step: index,
            attempt,
            judge: step.judging(),
            offsets: [0; 2],
            tails,
            registers,
            frugal: settings.frugal,
            host,
            hear: settings.world.hear.as_ref(),
        }
    }

    /// Reads back the recorded output of this attempt, so that judgement and tails are as if nothing had been lost. The
    /// host must send the rest again, so that patterns see every byte exactly once.
    pub(crate) fn recover(
        &mut self,
        handle: &RunHandle,
        host: &HostName,
    ) -> Result<(), reveille_ledger::Error> {
        let mut reader = handle.read_output(host)?;
        while let Some(frame) = reader.next_frame()? {
            let slot = slot(frame.stream);
            let follows = frame.gap == 0 && frame.offset == self.offsets[slot];
            if (frame.step, frame.attempt) == (self.step, self.attempt) && follows {
                self.offsets[slot] += frame.bytes.len() as u64;
                if Rule::JudgedOnce.demands(true) {
                    self.judge.feed(frame.stream, &frame.bytes);
                }
                self.tails[slot].push(&frame.bytes);
            }
        }
        Ok(())
    }

    /// Whether the output already contains a fatal line.
    pub(crate) fn is_fatal(&self) -> bool {
        self.judge.is_fatal()
    }

    /// The last line of output on either stream.
    pub(crate) fn last_line(&self) -> LastLine {
        let [stdout, stderr] = &self.tails;
        let last = |tail: &Tail| {
            let (text, _) = tail.text(LINE_LIMIT);
            LastLine {
                is_open: !text.ends_with('\n'),
                text: text.trim_end().lines().next_back().unwrap_or_default().to_owned(),
            }
        };
        let line = last(stderr);
        if line.text.is_empty() { last(stdout) } else { line }
    }

    /// The bytes of stdout and stderr judged so far; the next ones must follow them.
    pub(crate) fn offsets(&self) -> [u64; 2] {
        self.offsets
    }

    pub(crate) fn take(&mut self, stream: Stream, bytes: &Bytes) -> Result<(), reveille_ledger::Error> {
        let slot = slot(stream);
        self.writer
            .write(self.step, self.attempt, stream, self.offsets[slot], bytes)?;
        if self.frugal {
            self.writer.release();
        }
        self.offsets[slot] += bytes.len() as u64;
        self.judge.feed(stream, bytes);
        self.tails[slot].push(bytes);
        if let Some(hear) = self.hear {
            hear(self.host, stream, bytes);
        }
        Ok(())
    }

    /// Ends the record and judges the attempt.
    pub(crate) fn finish(mut self, over: &Over) -> Result<(Verdict, Said), reveille_ledger::Error> {
        // An attempt without output leaves nothing to record, not even a file.
        let record = match self.offsets {
            [0, 0] => StepOutput::default(),
            _ => self.writer.finish(self.step, self.attempt)?,
        };
        let [stdout, stderr] = self.tails;
        // Above the spool cap, patterns see only what the host keeps, as documented. Below it, they missed output.
        let mut missed = false;
        if over.missed && self.offsets.iter().all(|offset| *offset < SPOOL_CAP) {
            self.judge.miss();
            missed = self.registers;
        }
        let mut verdict = self.judge.finish(over.exit_status, over.signal.as_deref());
        if missed && verdict.class.status() == Status::Success {
            // An incomplete output must not be registered.
            verdict.class = Class::ResultUnknown;
            "some of the output to register was lost".clone_into(&mut verdict.message);
        }
        Ok((
            verdict,
            Said {
                stdout,
                stderr,
                record,
                registers: self.registers,
            },
        ))
    }
}

/// Makes the written output durable. With `beside` a separate thread waits for the disk.
pub(crate) async fn sync(writer: &mut OutputWriter, beside: bool) -> Result<(), reveille_ledger::Error> {
    let Some(sync) = writer.sync() else { return Ok(()) };
    if !beside {
        sync.now()?;
        writer.synced();
        return Ok(());
    }
    match tokio::task::spawn_blocking(move || sync.now()).await {
        Ok(Ok(())) => {
            writer.synced();
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        },
    }
}

fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Cut rarely, so that a flood costs one copy per `limit` bytes.
        if self.bytes.len() > self.limit * 2 {
            self.bytes.drain(..self.bytes.len() - self.limit);
            self.cut = true;
        }
    }

    /// The last `limit` bytes as text, and whether more came before them.
    pub(crate) fn text(&self, limit: usize) -> (String, bool) {
        let start = self.bytes.len().saturating_sub(limit.min(self.limit));
        let mut bytes = &self.bytes[start..];
        if start > 0 || self.cut {
            // Do not start inside a character.
            while bytes.first().is_some_and(|byte| byte & 0xc0 == 0x80) {
                bytes = &bytes[1..];
            }
        }
        (String::from_utf8_lossy(bytes).into_owned(), self.cut || start > 0)
    }
}
