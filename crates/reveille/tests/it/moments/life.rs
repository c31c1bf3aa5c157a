//! The life of a controller, and its end.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// When a controller is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// After so many events.
    Events(usize),
    /// After this time.
    After(Duration),
    /// Not at all.
    Never,
}

/// What a controller did.
#[derive(Debug)]
pub(crate) struct Life {
    /// Events that it wrote.
    pub(crate) events: usize,
    /// The exit status, if it ended by itself.
    pub(crate) code: Option<i32>,
    /// Its standard error.
    pub(crate) said: String,
}

// === impl Life ===

impl Life {
    /// Runs a controller that writes events to its standard output, until it ends or its moment comes. Standard error goes to
    /// the file `said`; `seen` gets the number of events so far after each.
    pub(crate) fn lead(mut command: Command, said: &Path, when: When, mut seen: impl FnMut(usize)) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(File::create(said).unwrap())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            for line in lines {
                // The receiver is gone once the controller is to be killed.
                let _ = sender.send(line.unwrap().len());
            }
        });
        let mut events = 0;
        let killed = loop {
            let next = match when {
                When::Events(most) if events >= most => break true,
                When::Events(_) | When::Never => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                When::After(time) => receiver.recv_timeout(time.saturating_sub(began.elapsed())),
            };
            match next {
                Ok(_) => events += 1,
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
            seen(events);
        };
        if killed {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        reading.join().unwrap();
        Self {
            events,
            code: status.code(),
            said: std::fs::read_to_string(said).unwrap(),
        }
    }
}
