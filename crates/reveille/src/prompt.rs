//! Asking the operator for what must not be seen.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Longest answer.
const LIMIT: usize = 4096;

/// Asks on the terminal, which does not show what is typed. `instead` says what to do where there is no terminal.
pub(crate) fn hidden(words: &str, instead: &str) -> Result<String, Failure> {
    let refused = |why: String| Failure::usage(format!("can't ask for {words}: {why}; {instead}"));
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| refused("there is no terminal".to_owned()))?;
    let quiet = Quiet::new(&terminal).map_err(|error| refused(error.to_string()))?;
    let answer = ask(&terminal, words);
    drop(quiet);
    let answer = answer.map_err(|error| refused(error.to_string()))?;
    match answer.strip_suffix('\n') {
        Some(line) => Ok(line.strip_suffix('\r').unwrap_or(line).to_owned()),
        None => Err(refused("the input ended".to_owned())),
    }
}

fn ask(mut terminal: &File, words: &str) -> io::Result<String> {
    write!(terminal, "{words}: ")?;
    let mut line = Vec::new();
    BufReader::new(io::Read::take(terminal, LIMIT as u64)).read_until(b'\n', &mut line)?;
    // What ended the line was not shown either.
    writeln!(terminal)?;
    String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// A terminal that does not show what is typed, until it is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
