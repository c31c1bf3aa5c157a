//! Logs of lines. Threads that answer add lines to a buffer, and a thread of the log writes it to the file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reveille_text::harmless::is_harmless;

use super::start_error::StartError;
use crate::answer::LogLine;

/// How long a line of a log waits at most.
const EVERY: Duration = Duration::from_millis(200);

/// Most bytes of a log that wait to be written. Further lines are dropped and counted, because a slow disk must not
/// stop answers.
const WAITING: usize = 8 << 20;

/// A log that lines are appended to.
#[derive(Debug)]
pub(crate) struct LineLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    buffer: Mutex<Buffer>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    text: Vec<u8>,
    /// Lines that were not written, because the disk was too slow or full.
    dropped: u64,
    reopen: bool,
    writing: bool,
    ended: bool,
}

// === impl LineLog ===

impl LineLog {
    pub(crate) fn open(path: &PathBuf) -> Result<Self, StartError> {
        let file = append(path).map_err(|error| StartError::Log {
            path: path.clone(),
            error,
        })?;
        let inner = Arc::new(Inner {
            path: path.clone(),
            buffer: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write(file))?;
        Ok(Self { inner })
    }

    /// Adds a line in MirrorManager's format, for its statistics.
    pub(crate) fn repository(&self, line: &LogLine) {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
        self.line(format_args!(
            "IP: {}; DATE: {date}; COUNTRY: {}; REPO: {}; ARCH: {}",
            line.address,
            Word::before(&line.country, ';'),
            Word::before(&line.repo, ';'),
            Word::before(&line.arch, ';')
        ));
    }

    /// Adds a line.
    pub(crate) fn line(&self, line: fmt::Arguments<'_>) {
        let mut buffer = self.inner.lock();
        if buffer.text.len() >= WAITING {
            buffer.dropped += 1;
            return;
        }
        // Writing to memory does not fail.
        let _ = writeln!(buffer.text, "{line}");
    }

    /// Lines that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }

    /// Reopens the file, after it was moved away.
    pub(crate) fn reopen(&self) {
        self.inner.lock().reopen = true;
        self.inner.changed.notify_all();
    }

    /// Waits until everything is written, but not longer than `until`: nobody may read from a pipe.
    pub(crate) fn flush(&self, until: Instant) {
        let mut buffer = self.inner.lock();
        self.inner.changed.notify_all();
        while !buffer.text.is_empty() || buffer.writing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(buffer);
                tracing::warn!(
                    "can't write the last lines of the log {} in time",
                    self.inner.path.display()
                );
                return;
            }
            buffer = self
                .inner
                .changed
                .wait_timeout(buffer, left.min(EVERY))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        self.inner.lock().ended = true;
        self.inner.changed.notify_all();
    }
}

// === impl Inner ===

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut file: File) {
        let mut text = Vec::new();
        let mut failing = false;
        loop {
            let reopen = {
                let buffer = self.lock();
                let (mut buffer, _) = self
                    .changed
                    .wait_timeout(buffer, EVERY)
                    .unwrap_or_else(PoisonError::into_inner);
                if buffer.ended && buffer.text.is_empty() {
                    return;
                }
                std::mem::swap(&mut text, &mut buffer.text);
                buffer.writing = true;
                std::mem::take(&mut buffer.reopen)
            };
            // Without the lock, because a file that is slow to open must not stop answers.
            if reopen {
                match append(&self.path) {
                    Ok(opened) => file = opened,
                    Err(error) => tracing::warn!("can't reopen the log {}: {error}", self.path.display()),
                }
            }
            let mut lost = 0;
            match file.write_all(&text) {
                Ok(()) if text.is_empty() => {}
                Ok(()) => failing = false,
                Err(error) => {
                    lost = text.split(|byte| *byte == b'\n').count() as u64 - 1;
                    // Once only, and not five times a second while the disk is full.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "can't write the log {}; its lines are lost until this works again: {error}",
                            self.path.display()
                        );
                    }
                }
            }
            text.clear();
            {
                let mut buffer = self.lock();
                buffer.writing = false;
                buffer.dropped += lost;
            }
            self.changed.notify_all();
        }
    }
}

/// A client's text in a line, with the characters replaced that would end the line or the field.
pub(super) struct Word<'a> {
    text: &'a str,
    end: char,
}

// === impl Word ===

impl<'a> Word<'a> {
    /// In a field that ends with this character.
    pub(super) fn before(text: &'a str, end: char) -> Self {
        Self { text, end }
    }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaks = |c: char| !is_harmless(c) || c == self.end;
        if self.text.contains(breaks) {
            formatter.write_str(&self.text.replace(breaks, "?"))
        } else {
            formatter.write_str(self.text)
        }
    }
}

fn append(path: &PathBuf) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Later than any of these tests takes.
    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    /// `flush` does not wait for a pipe that nobody reads.
    #[test]
    fn a_pipe_that_nobody_reads_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = LineLog::open(&path).unwrap();
        for _ in 0..2000 {
            log.line(format_args!("{}", "x".repeat(100)));
        }
        log.flush(Instant::now());
        assert!(log.inner.lock().writing || !log.inner.lock().text.is_empty());
        drop(log);
        // The writer ends with its pipe.
        drop(reader);
    }

    /// A pipe without a reader can't be opened; only the log's own thread waits for it.
    #[test]
    fn a_log_that_can_not_be_reopened_stops_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = LineLog::open(&path).unwrap();
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        log.reopen();
        let (done, added) = std::sync::mpsc::channel();
        let adding = std::thread::spawn(move || {
            // Once the writer has taken the order, it opens the pipe.
            while log.inner.lock().reopen && Instant::now() < later() {
                std::thread::yield_now();
            }
            log.line(format_args!("line"));
            done.send(log).unwrap();
        });
        let log = added.recv_timeout(Duration::from_mins(1));
        let log = log.expect("a line is added while the pipe is not open");
        adding.join().unwrap();
        let mut text = String::new();
        let mut pipe = std::io::BufReader::new(File::open(&path).unwrap());
        std::io::BufRead::read_line(&mut pipe, &mut text).unwrap();
        assert_eq!(text, "line\n");
        log.flush(later());
    }

    #[test]
    fn lines_that_a_full_disk_lost_are_counted() {
        let log = LineLog::open(&PathBuf::from("/dev/full")).unwrap();
        for _ in 0..3 {
            log.line(format_args!("lost"));
        }
        log.flush(later());
        assert_eq!(log.dropped(), 3);
    }

    #[test]
    fn lines_are_written_and_the_file_is_reopened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirrorlist.log");
        let log = LineLog::open(&path).unwrap();
        log.repository(&LogLine {
            address: "192.0.2.1".parse().unwrap(),
            country: "DE".to_owned(),
            repo: "epel-9\nIP: forged".to_owned(),
            arch: "x86_64".to_owned(),
        });
        log.flush(later());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("IP: 192.0.2.1; DATE: 20") && text.lines().count() == 1,
            "{text}"
        );
        assert!(
            text.ends_with("; COUNTRY: DE; REPO: epel-9?IP: forged; ARCH: x86_64\n"),
            "{text}"
        );
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        log.reopen();
        log.line(format_args!("second"));
        log.flush(later());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
    }
}
